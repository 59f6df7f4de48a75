"""The benchmarks' neighbours come and go as their seed says, and none outlives its benchmark."""

from __future__ import annotations

import importlib.util
import os
import sys
from itertools import islice, pairwise
from pathlib import Path

import psutil

PATH = Path(__file__).resolve().parents[1] / "benchmarks" / "neighbours.py"
spec = importlib.util.spec_from_file_location("neighbours", PATH)
neighbours = importlib.util.module_from_spec(spec)
sys.modules["neighbours"] = neighbours  # dataclasses look their module up by its name
spec.loader.exec_module(neighbours)


def test_spells_are_drawn_by_a_seed_and_last_1_to_10_s() -> None:
    """The same for the same seed; work and rest by turns, about half of the time each."""
    spells, again, other = (neighbours.Spells(100.0, seed) for seed in (1, 1, 2))
    first = list(islice(spells.work(), 200))
    assert first == list(islice(again.work(), 200)) != list(islice(other.work(), 200))
    moments = [100.0, *(moment for spell in first for moment in spell)]
    assert all(1 <= later - sooner <= 10 for sooner, later in pairwise(moments))
    assert 0.4 < spells.share(100.0, moments[-1]) < 0.6


def test_the_share_of_a_time_that_spells_take_is_theirs() -> None:
    """Nothing before the first, all within one, half of a time that is half within one."""
    spells = neighbours.Spells(100.0, 1)
    start, end = next(spells.work())
    assert spells.share(100.0, start) == 0
    assert spells.share(start, end) == 1
    assert abs(spells.share(start - 0.5, start + 0.5) - 0.5) < 1e-9


def test_neighbours_sit_on_their_processors_and_end_with_the_block() -> None:
    """One process on each."""
    processors = sorted(os.sched_getaffinity(0))[-2:]
    with neighbours.coming_and_going(processors, 1):
        started = [p for p in psutil.Process().children() if str(PATH) in p.cmdline()]
        assert sorted(p.cpu_affinity() for p in started) == [[n] for n in processors]
    assert not any(p.is_running() for p in started)
