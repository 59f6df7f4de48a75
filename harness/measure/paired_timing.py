"""How a measurement goes, wherever its batches run: processes, loads, warm-up, turns, until its interval is narrow."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

from harness.measure.host_state import Best, clean, lowest, slowdown
from harness.measure.latency import Latency
from harness.measure.rulers import Ruler

PROCESSES = 6  # at least; two processes differ by half a per cent in how they lie in memory
SLOW_PROCESSES = 3  # of an engine that takes long to load
NARROW = 0.006  # half an interval, as a share, that needs no more of them
MORE = 4  # times the seconds, while the interval would be refused
BATCH_S = 0.0004  # long enough for the clock's own cost to vanish, short enough to fall between interruptions
LOAD_S = 0.02  # CPU time of the turns after one load
LOADS = 3  # a process; where the weights lie in memory matters as much, so they are laid out anew
TURNS = 4  # after a load, at least
WARM_UP_S = 0.02  # at least, in a new process: its first runs find everything cold
LOOK = 12  # runs of the rulers that tell whether the processor is all ours
PAUSE_S = 0.03  # between two looks
LONG_S = 2.0  # a wait of a process that is said
CALIBRATION_S = 0.3  # of rulers, on a machine that nothing is known of

Batch = Callable[[], tuple[float, float]]
"""Runs one short batch: CPU ms and wall ms of one image."""
Loads = list[list[list[float]]]
"""For each load, the lists of a `Load`, in its order."""
Process = Callable[[float, float], dict[str, Any]]
"""Given the time (since 1970) at which it should end and the seconds that it may wait for a clean machine: its `loads`,
what was `seen` meanwhile, and the `waited_s` of them."""


def repeated(
    process: Process,
    *,
    seconds: float,
    patience_s: float,
    noisy: float,
    begin: float,
    best: Best | None,
    apart: float,
) -> dict[str, Any]:
    """Time in one process after another, until the interval is narrow or the time up.

    seconds: for timing, from `begin` (by the monotonic clock) on. patience_s: beyond that, to wait for a time when the
    processor is all ours. noisy: half an interval, as a share, that is worth `MORE` times the seconds. best, apart: see
    `Latency`.
    """
    processes, seen, waited_s = [], [], 0.0
    while True:
        found = process(time.time() + seconds / PROCESSES, max(0.0, patience_s - waited_s))
        processes.append(found["loads"])
        seen.append(found["seen"])
        waited_s += found["waited_s"]
        count, all_s = len(processes), time.monotonic() - begin
        spent_s = all_s - waited_s
        if count >= PROCESSES or (count >= SLOW_PROCESSES and spent_s > 2 * seconds):
            latency = Latency.of(processes, best=best, apart=apart)
            least = PROCESSES if count >= PROCESSES else SLOW_PROCESSES
            quiet = latency.doubt <= noisy
            steady = latency.clean_processes >= least and latency.unsteady < NARROW and quiet
            most_s = seconds * (1 if quiet else MORE) if latency.is_clean else seconds + patience_s - waited_s
            over = spent_s * (count + 1) / count > most_s
            if steady or over:
                total = {name: sum(s[name] for s in seen) for name in seen[0]}
                return {"processes": processes, "seen": total | {"unclean_s": waited_s}}


def loads(fresh: Callable[[float], Sequence[Batch]], ruler: Ruler, until: float, cpu_s: Callable[[], float]) -> Loads:
    """Load model and reference several times over and time them by turns, until the process's time is up.

    fresh: loads both and warms them for at least so many seconds. cpu_s: of both together.
    """
    found: Loads = []
    batches: Sequence[Batch] = ()
    while len(found) < LOADS and (not found or time.time() < until):
        # The last load is let go only after the new one has its memory: else it would get the same again.
        batches = fresh(0.0 if found else WARM_UP_S)
        found.append(_turns(*batches, ruler, cpu_s))
    return found


def _turns(model: Batch, reference: Batch, ruler: Ruler, cpu_s: Callable[[], float]) -> list[list[float]]:
    """Time both by turns, the rulers between all batches; return the lists of a `Load`."""
    rows: list[tuple[float, ...]] = []
    rulers = [ruler()]
    stop = cpu_s() + LOAD_S

    def timed(batch: Batch) -> tuple[float, float]:
        found = batch()
        rulers.append(ruler())
        return found

    while len(rows) < TURNS or cpu_s() < stop:
        if len(rows) % 2 == 0:  # A B B A: a drift meets both alike
            mine, other = timed(model), timed(reference)
        else:
            other, mine = timed(reference), timed(model)
        rows.append(mine + other)
    return [list(column) for column in (*zip(*rows, strict=True), *zip(*rulers, strict=True))]


def wait_for_clean(ruler: Ruler, best: Best, patience_s: float, say: Callable[[], None]) -> float:
    """Wait until the rulers say that the processor is all ours, or patience is over; return the seconds waited.

    say: called once, of a wait that takes long.
    """
    begin, said = time.monotonic(), False
    while True:
        chain, vector = zip(*(ruler() for _ in range(LOOK)), strict=True)
        waited_s = time.monotonic() - begin
        if 2 * clean(chain, vector, best, slowdown(chain, vector, best)).sum() >= LOOK or waited_s >= patience_s:
            return waited_s
        if waited_s >= LONG_S and not said:
            say()
            said = True
        time.sleep(PAUSE_S)


def calibrate(ruler: Ruler) -> Best:
    """Return the rulers' low times of the moment, for a machine that nothing is known of yet."""
    samples, end = [], time.monotonic() + CALIBRATION_S
    while len(samples) < LOOK or time.monotonic() < end:
        samples.append(ruler())
    return lowest(*zip(*samples, strict=True))


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
