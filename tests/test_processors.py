"""What this process is given of its machine: affinity, control groups' quotas, OMP_NUM_THREADS."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from pathlib import Path

import pytest

from harness import processors
from harness.errors import HarnessError
from harness.processors import Given, check_threads, given, listed, quota, threads

V2 = "31 23 0:28 / /sys/fs/cgroup rw,relatime shared:9 - cgroup2 cgroup2 rw,nsdelegate\n"
V1 = (
    "31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755\n"
    "32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime - cgroup cgroup rw,cpu,cpuacct\n"
    "33 31 0:30 / /sys/fs/cgroup/cpuset rw,relatime - cgroup cgroup rw,cpuset\n"
    "34 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n"
)


def tree(root: Path, groups: str, mounts: str, **limits: str) -> Path:
    """Make up a system: /proc/self/cgroup, /proc/self/mountinfo, and files of control groups by their path."""
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/self/cgroup").write_text(groups)
    (root / "proc/self/mountinfo").write_text("21 1 8:1 / / rw - ext4 /dev/vda rw\n" + mounts)
    for name, text in limits.items():
        path = root / "sys/fs/cgroup" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")
    return root


def give(monkeypatch: pytest.MonkeyPatch, present: int, allowed: int, share: float = math.inf) -> None:
    """Have this process be given so much."""
    monkeypatch.setattr(processors, "given", lambda: Given(present, tuple(range(allowed)), share))


@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        ({"a/b/cpu.max": "200000 100000"}, 2.0),
        ({"a/b/cpu.max": "max 100000"}, math.inf),
        ({"a/b/cpu.max": "max 100000", "a/cpu.max": "150000 100000"}, 1.5),
        ({"a/b/cpu.max": "400000 100000", "a/cpu.max": "50000 100000"}, 0.5),
        ({"a/b/cpu.max": "50000 50000", "a/cpu.max": "400000 100000"}, 1.0),
        ({"a/b/c/cpu.max": "50000 100000", "d/cpu.max": "50000 100000"}, math.inf),
        ({}, math.inf),
        ({"a/b/cpu.max": "nonsense"}, math.inf),
    ],
)
def test_the_quota_is_the_least_on_the_way_up(limits: dict[str, str], expected: float, tmp_path: Path) -> None:
    """Of the process's own groups, not of those below or beside them."""
    assert quota(tree(tmp_path, "0::/a/b\n", V2, **limits)) == expected


def test_within_a_container_the_limit_lies_at_the_top(tmp_path: Path) -> None:
    """With a namespace of control groups, and without: the path is the host's, and the mount shows a part of it."""
    limit = {"cpu.max": "300000 100000"}
    assert quota(tree(tmp_path / "with", "0::/\n", V2, **limit)) == 3
    hosts = V2.replace("0:28 / ", "0:28 /docker/abc ")
    assert quota(tree(tmp_path / "without", "0::/docker/abc\n", hosts, **limit)) == 3
    assert quota(tree(tmp_path / "elsewhere", "0::/../other\n", hosts, **limit)) == 3


def test_version_1_has_a_quota_too(tmp_path: Path) -> None:
    """Of the hierarchy that has the cpu controller; -1 is none."""
    groups = "4:cpuset:/x\n3:cpu,cpuacct:/a/b\n0::/\n"
    limits = {
        "cpu,cpuacct/a/b/cpu.cfs_quota_us": "-1",
        "cpu,cpuacct/a/b/cpu.cfs_period_us": "100000",
        "cpu,cpuacct/a/cpu.cfs_quota_us": "250000",
        "cpu,cpuacct/a/cpu.cfs_period_us": "100000",
    }
    assert quota(tree(tmp_path / "limited", groups, V1, **limits)) == 2.5
    assert quota(tree(tmp_path / "free", groups, V1)) == math.inf


def test_a_groups_name_may_hold_a_blank(tmp_path: Path) -> None:
    """In octal where mounts are listed."""
    mounts = "31 23 0:28 / /sys/fs/cgroup/of\\040ours rw - cgroup2 cgroup2 rw\n"
    assert quota(tree(tmp_path, "0::/a b\n", mounts, **{"of ours/a b/cpu.max": "100000 100000"})) == 1


def test_where_there_is_no_proc_there_is_no_limit(tmp_path: Path) -> None:
    """As on other systems."""
    assert quota(tmp_path) == math.inf


@pytest.mark.parametrize(
    ("here", "cores", "words"),
    [
        (Given(8, tuple(range(8))), 8, "8 processors"),
        (Given(1, (0,)), 1, "1 processor"),
        (Given(8, tuple(range(8)), 16.0), 8, "8 processors"),
        (Given(8, (2, 3)), 2, "2 of 8 processors (the others aren't allowed)"),
        (Given(8, tuple(range(8)), 2.5), 2, "2 of 8 processors (a CPU quota of 2.5)"),
        (Given(8, tuple(range(4)), 0.5), 1, "1 of 8 processors (a CPU quota of 0.5)"),
        (Given(1, (0,), 0.5), 1, "1 of 1 processor (a CPU quota of 0.5)"),
    ],
)
def test_what_is_given_is_counted_and_said(here: Given, cores: int, words: str) -> None:
    """Whole processors, at least one, and why not all."""
    assert (here.cores, str(here)) == (cores, words)


def test_a_processs_affinity_counts() -> None:
    """Of a real process that is pinned to one processor."""
    code = "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})\n"
    code += "from harness.processors import cores; print(cores())"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "1\n"
    assert set(given().allowed) == os.sched_getaffinity(0)


GIVES = "this machine gives 4 of 16 processors (a CPU quota of 4)"


@pytest.mark.parametrize(
    ("asked", "workers", "environment", "expected", "said"),
    [
        (0, 1, "", 4, ""),
        (0, 2, "", 2, ""),
        (0, 9, "", 1, ""),
        (3, 1, "", 3, ""),
        (999, 1, "", 4, f"threads=999: uses 4 threads; {GIVES}"),
        (0, 1, "1", 1, f"OMP_NUM_THREADS=1: uses 1 thread; {GIVES}"),
        (0, 1, "64", 4, f"OMP_NUM_THREADS=64: uses 4 threads; {GIVES}"),
        (0, 2, "2", 2, ""),
        (0, 2, "1,4", 1, f"OMP_NUM_THREADS=1: each of 2 workers uses 1 thread; {GIVES}"),
        (2, 1, "1", 2, ""),
        (0, 1, "many", 4, ""),
        (0, 1, "0", 4, ""),
    ],
)
def test_threads_are_what_is_asked_for_and_given(
    monkeypatch: pytest.MonkeyPatch, asked: int, workers: int, environment: str, expected: int, said: str
) -> None:
    """A setting goes before the environment; neither takes more than is given, nor less in silence."""
    give(monkeypatch, 16, 16, 4.0)
    monkeypatch.setenv("OMP_NUM_THREADS", environment)
    assert threads(asked, workers) == (expected, said)


def test_no_network_is_timed_on_more_threads_than_processors(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor by more judges than have that many each; one thread is never too many, however small the quota."""
    give(monkeypatch, 8, 8, 3.0)
    check_threads(3)
    check_threads(1, workers=3)
    with pytest.raises(HarnessError, match=r"competition.threads=4: .* 3 of 8 processors \(a CPU quota of 3\)") as e:
        check_threads(4)
    assert "gives it 4" in e.value.fix and "competition.threads=3" in e.value.fix
    with pytest.raises(HarnessError, match="shared by workers=2") as e:
        check_threads(2, workers=2)
    assert "gives it 4, or fewer workers" in e.value.fix
    give(monkeypatch, 1, 1, 0.2)
    check_threads(1)


@pytest.mark.parametrize(("text", "expected"), [("0\n", (0,)), ("0-2,7", (0, 1, 2, 7)), ("", ()), ("3,1", (3, 1))])
def test_lists_of_processors_are_read(text: str, expected: tuple[int, ...]) -> None:
    """As the kernel writes them."""
    assert listed(text) == expected
