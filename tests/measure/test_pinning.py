"""A measurement gets processors of its own: idle ones, of cores that nobody else works on."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.measure.pinning import away_from, busy, choose, chosen, shares, siblings, ticks

NEXT = {n: (n - n % 2, n - n % 2 + 1) for n in range(8)}
"""Four cores whose two threads have numbers next to each other, as in most clouds."""
FAR = {n: (n % 4, n % 4 + 4) for n in range(8)}
"""Four cores, the second threads after all first ones, as on most own machines."""
ALONE = {n: (n,) for n in range(8)}
ALL = tuple(range(8))


@pytest.mark.parametrize(
    ("allowed", "topology", "threads", "working", "expected"),
    [
        (ALL, ALONE, 1, {}, [7]),
        (ALL, ALONE, 3, {}, [5, 6, 7]),
        (ALL, {}, 2, {}, [6, 7]),
        (ALL, ALONE, 1, {7: 1.0}, [6]),
        (ALL, ALONE, 2, {7: 1.0, 5: 0.5}, [4, 6]),
        (ALL, NEXT, 1, {}, [7]),
        (ALL, NEXT, 1, {6: 1.0}, [5]),
        (ALL, NEXT, 2, {}, [5, 7]),
        (ALL, FAR, 1, {}, [7]),
        (ALL, FAR, 1, {3: 1.0}, [6]),
        (ALL, FAR, 4, {}, [4, 5, 6, 7]),
        (ALL, NEXT, 4, {}, [1, 3, 5, 7]),
        (ALL, NEXT, 5, {}, [1, 3, 5, 6, 7]),
        (ALL, NEXT, 8, {}, list(ALL)),
        (ALL, NEXT, 9, {}, list(ALL)),
        ((0, 2, 4), NEXT, 1, {5: 0.9}, [2]),
        (ALL, ALONE, 1, dict.fromkeys(ALL, 1.0), [7]),
        (ALL, ALONE, 1, {7: 0.04, 6: 0.0}, [7]),
    ],
)
def test_idle_cores_come_first_and_each_thread_has_one(
    allowed: tuple[int, ...], topology: dict, threads: int, working: dict[int, float], expected: list[int]
) -> None:
    """A sibling that works counts, also one that this process may not use; a few per cent don't."""
    assert choose(allowed, topology, threads, working) == expected


@given(
    allowed=st.sets(st.integers(0, 15), min_size=1),
    width=st.sampled_from([1, 2, 4]),
    threads=st.integers(1, 20),
    working=st.dictionaries(st.integers(0, 15), st.floats(0, 1)),
)
def test_any_choice_is_of_what_is_allowed(
    allowed: set[int], width: int, threads: int, working: dict[int, float]
) -> None:
    """As many as asked for, or all; and two of one core only where each core has one."""
    topology = {n: tuple(range(n - n % width, n - n % width + width)) for n in range(16)}
    found = choose(sorted(allowed), topology, threads, working)
    assert set(found) <= allowed and len(set(found)) == len(found) == min(threads, len(allowed))
    cores = {topology[n] for n in allowed}
    assert len({topology[n] for n in found}) == min(len(cores), len(found))


@pytest.mark.parametrize(
    ("topology", "parts", "expected"),
    [
        (ALONE, 2, [[0, 1, 2, 3], [4, 5, 6, 7]]),
        (NEXT, 2, [[0, 1, 2, 3], [4, 5, 6, 7]]),
        (FAR, 2, [[0, 4, 1, 5], [2, 6, 3, 7]]),
        (FAR, 4, [[0, 4], [1, 5], [2, 6], [3, 7]]),
        (NEXT, 8, [[n] for n in ALL]),
    ],
)
def test_judges_share_processors_and_no_core_while_there_are_enough(
    topology: dict, parts: int, expected: list[list[int]]
) -> None:
    """All processors are dealt out."""
    assert shares(ALL, topology, parts) == expected


@given(st.sets(st.integers(0, 31), min_size=1), st.integers(1, 32), st.sampled_from([1, 2]))
def test_any_share_is_even(allowed: set[int], parts: int, width: int) -> None:
    """Each processor once, and no judge has two more than another."""
    parts = min(parts, len(allowed))
    topology = {n: tuple(range(n - n % width, n - n % width + width)) for n in range(32)}
    found = shares(sorted(allowed), topology, parts)
    assert sorted(n for part in found for n in part) == sorted(allowed)
    assert max(map(len, found)) - min(map(len, found)) <= 1


def test_siblings_are_read_where_the_system_shows_them(tmp_path: Path) -> None:
    """Where it doesn't, each processor is alone."""
    for number, text in ((0, "0,4\n"), (1, "1-2\n"), (2, "what\n")):
        path = tmp_path / f"sys/devices/system/cpu/cpu{number}/topology/thread_siblings_list"
        path.parent.mkdir(parents=True)
        path.write_text(text)
    assert siblings((0, 1, 2, 3), tmp_path) == {0: (0, 4), 1: (1, 2), 2: (2,), 3: (3,)}


STAT = """cpu  30 0 10 60 0 0 0 0 0 0
cpu0 {} 0 10 {} 5 1 1 {} 0 0
cpu1 10 0 0 {} 0 0 0 0 0 0
intr 1 2
"""


def test_who_worked_lately_is_the_systems_count(tmp_path: Path) -> None:
    """What the host took is work; waiting for a disk isn't."""
    (tmp_path / "proc").mkdir()
    stat = tmp_path / "proc/stat"
    stat.write_text(STAT.format(20, 100, 0, 100))
    before = ticks(tmp_path)
    stat.write_text(STAT.format(23, 105, 2, 110))
    assert busy(before, ticks(tmp_path)) == {0: 0.5, 1: 0.0}
    assert busy(before, before) == {0: 0.0, 1: 0.0}
    assert ticks(tmp_path / "nothing") == {}


def test_a_processor_that_works_now_is_left_alone() -> None:
    """The real ones: a program that spins on the last is avoided."""
    mine = sorted(os.sched_getaffinity(0))
    if len(mine) < 2:
        pytest.skip("one processor here")
    assert set(chosen(len(mine))) == set(mine)
    code = f"import os; os.sched_setaffinity(0, {{{mine[-1]}}}); print(flush=True)\nwhile True: pass"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as spinner:
        try:
            spinner.stdout.readline()
            working = busy_now()
            found = [chosen(1) for _ in range(10)]  # the others may be busy for a moment
        finally:
            spinner.kill()
    if min(working.get(n, 0.0) for n in mine[:-1]) > 0.7:
        pytest.skip("nobody is idle here")
    assert any(one != [mine[-1]] for one in found)


def busy_now() -> dict[int, float]:
    """Look for a fifth of a second, as another would."""
    import time

    before = ticks()
    time.sleep(0.2)
    return busy(before, ticks())


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="there is nowhere else to be")
def test_who_waits_for_a_process_keeps_off_its_processors() -> None:
    """Until it is over, whatever becomes of it; who has no others stays, and one that has died is nowhere."""
    mine = os.sched_getaffinity(0)
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as other:
        os.sched_setaffinity(other.pid, {max(mine)})
        with pytest.raises(KeyError), away_from(other.pid):
            assert os.sched_getaffinity(0) == mine - {max(mine)}
            raise KeyError
        os.sched_setaffinity(other.pid, mine)
        with away_from(other.pid):
            assert os.sched_getaffinity(0) == mine
        other.communicate(b"\n")
    with away_from(other.pid):
        assert os.sched_getaffinity(0) == mine
    assert os.sched_getaffinity(0) == mine
