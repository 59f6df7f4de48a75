"""How a measurement goes, wherever its batches run: processes, loads, warm-up, turns, until its interval is narrow."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

from harness.measure.latency import Latency

PROCESSES = 6  # at least; two processes differ by half a per cent in how they lie in memory
SLOW_PROCESSES = 3  # of an engine that takes long to load
NARROW = 0.006  # half an interval, as a share, that needs no more of them
PATIENCE = 4  # times the seconds, while the interval would be refused
BATCH_S = 0.0004  # long enough for the clock's own cost to vanish, short enough to fall between interruptions
LOAD_S = 0.02  # CPU time of the turns after one load
LOADS = 3  # a process; where the weights lie in memory matters as much, so they are laid out anew
TURNS = 4  # after a load, at least
WARM_UP_S = 0.02  # at least, in a new process: its first runs find everything cold

Batch = Callable[[], tuple[float, float]]
"""Runs one short batch: CPU ms and wall ms of one image."""
Loads = list[list[list[float]]]
"""For each load, the four lists of a `Load`, in its order."""


def repeated(process: Callable[[float], dict[str, Any]], seconds: float, noisy: float, begin: float) -> dict[str, Any]:
    """Time in one process after another, until the interval is narrow or the time up.

    process: given the time (since 1970) at which it should end, returns its `loads` and what was `seen` meanwhile.
    noisy: half an interval, as a share, that is worth up to `PATIENCE` times the seconds. begin: of the seconds, by the
    monotonic clock.
    """
    processes, seen = [], []
    while True:
        found = process(time.time() + seconds / PROCESSES)
        processes.append(found["loads"])
        seen.append(found["seen"])
        count, spent_s = len(processes), time.monotonic() - begin
        if count >= PROCESSES or (count >= SLOW_PROCESSES and spent_s > 2 * seconds):
            doubt = Latency.of(processes).doubt
            most_s = seconds * (PATIENCE if doubt > noisy else 1)
            if doubt < NARROW or spent_s * (count + 1) / count > most_s:
                return {"processes": processes, "seen": {name: sum(s[name] for s in seen) for name in seen[0]}}


def loads(fresh: Callable[[float], Sequence[Batch]], until: float, cpu_s: Callable[[], float]) -> Loads:
    """Load model and reference several times over and time them by turns, until the process's time is up.

    fresh: loads both and warms them for at least so many seconds. cpu_s: of both together.
    """
    found: Loads = []
    batches: Sequence[Batch] = ()
    while len(found) < LOADS and (not found or time.time() < until):
        # The last load is let go only after the new one has its memory: else it would get the same again.
        batches = fresh(0.0 if found else WARM_UP_S)
        found.append(_turns(*batches, cpu_s))
    return found


def _turns(model: Batch, reference: Batch, cpu_s: Callable[[], float]) -> list[list[float]]:
    """Time both by turns: CPU ms and wall ms of the model, CPU ms and wall ms of the reference, as four lists."""
    rows: list[tuple[float, ...]] = []
    stop = cpu_s() + LOAD_S
    while len(rows) < TURNS or cpu_s() < stop:
        if len(rows) % 2 == 0:  # A B B A: a drift meets both alike
            mine, other = model(), reference()
        else:
            other, mine = reference(), model()
        rows.append(mine + other)
    return [list(column) for column in zip(*rows, strict=True)]


def warm_up(run: Callable[[], object], clock: Callable[[], int], least_s: float) -> float:
    """Run until three runs on end are no faster than the best before them; return the best's seconds.

    clock: of what is run, in ns.
    """
    begin, best, idle = time.perf_counter(), float("inf"), 0
    while idle < 3 or time.perf_counter() - begin < least_s:
        start = clock()
        run()
        took = max(clock() - start, 1) / 1e9
        idle = 0 if took < 0.98 * best else idle + 1
        best = min(best, took)
    return best
