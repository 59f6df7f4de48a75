"""The facts of a machine, as its own files tell them."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.measure.assessment import Assessment
from harness.measure.machine import frequencies, machine
from harness.verbs import _clock


def policy(root: Path, number: int, **values: str) -> None:
    """Make up what the system shows of a processor's frequency."""
    folder = root / f"sys/devices/system/cpu/cpu{number}/cpufreq"
    folder.mkdir(parents=True)
    for name, value in values.items():
        (folder / name).write_text(value + "\n")


def test_governor_limits_and_boost_are_facts(tmp_path: Path) -> None:
    """Of the processors that this process may use; one that is set otherwise shows."""
    limits = {"scaling_min_freq": "800000", "scaling_max_freq": "3600000"}
    policy(tmp_path, 0, scaling_governor="performance", **limits)
    policy(tmp_path, 1, scaling_governor="powersave", **limits | {"scaling_max_freq": "1200000"})
    assert frequencies((0,), tmp_path) == {"governor": "performance", "low_mhz": 800, "high_mhz": 3600}
    assert frequencies((0, 1), tmp_path)["governor"] == "performance+powersave"
    assert frequencies((1,), tmp_path)["high_mhz"] == 1200


@pytest.mark.parametrize(
    ("place", "text", "expected"),
    [
        ("cpufreq/boost", "1", True),
        ("cpufreq/boost", "0", False),
        ("intel_pstate/no_turbo", "1", False),
        ("intel_pstate/no_turbo", "0", True),
    ],
)
def test_boost_is_read_as_either_driver_writes_it(place: str, text: str, expected: bool, tmp_path: Path) -> None:
    """Intel's own says the opposite."""
    path = tmp_path / "sys/devices/system/cpu" / place
    path.parent.mkdir(parents=True)
    path.write_text(text)
    assert frequencies((0,), tmp_path) == {"boost": expected}


def test_a_machine_that_shows_nothing_has_no_such_facts(tmp_path: Path) -> None:
    """As virtual machines do."""
    assert frequencies((0, 1), tmp_path) == {}
    assert machine(tmp_path)["threads_a_core"] == 1 and "quota" not in machine(tmp_path)


def test_a_quota_is_among_the_facts(tmp_path: Path) -> None:
    """And the cores are no more than it allows."""
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/self/cgroup").write_text("0::/\n")
    (tmp_path / "proc/self/mountinfo").write_text("31 23 0:28 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n")
    (tmp_path / "sys/fs/cgroup").mkdir(parents=True)
    (tmp_path / "sys/fs/cgroup/cpu.max").write_text("100000 100000\n")
    found = machine(tmp_path)
    assert (found["quota"], found["cores"]) == (1.0, 1)


@pytest.mark.parametrize(
    ("clean", "spells_s", "ours", "shared"),
    [
        (0.56, (0.03, 0.0), "56% of the time, for less than 0.1 s", "44%, for less than 0.1 s"),
        (0.5, (12.34, 0.1), "50% of the time, for 12.3 s", "50%, for 0.1 s"),
        (1.0, (60.0, 0.0), "100% of the time, for 60.0 s", "never"),
        (0.0, (0.0, 60.0), "never", "100%, for 60.0 s"),
    ],
)
def test_a_spell_is_never_said_to_last_no_time(
    clean: float, spells_s: tuple[float, float], ours: str, shared: str
) -> None:
    """Of a few looks it is short, and what never was has no length."""
    found = Assessment(clean, spells_s, 0.2, (0.0, 0.0), {}, {}, 3, (0.0,))
    (_, values) = (column._cells for column in _clock(found, {"cpu": "x", "cores": 2}).columns)
    assert values[0].startswith(ours) and values[1].startswith(shared)
