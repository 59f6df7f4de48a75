"""How a measurement goes, wherever its batches run: processes, loads, warm-up, turns, until its interval is narrow."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

from harness.measure.host_state import Best, clean, lowest, slowdowns
from harness.measure.latency import Latency
from harness.measure.rulers import Ruler

PROCESSES = 8  # at least; two processes differ by half a per cent in how they lie in memory
SLOW_PROCESSES = 3  # of an engine that takes long to load
NARROW = 0.006  # half an interval, as a share, that needs no more of them
MORE = 4  # times the seconds, while the interval would be refused
BATCH_S = 0.0004  # long enough for the clock's own cost to vanish, short enough to fall between interruptions
LOAD_S = 0.02  # CPU time of the turns after one load
LOADS = 3  # a process; where the weights lie in memory matters as much, so they are laid out anew
TURNS = 8  # after a load, at least: of a network that takes milliseconds, few tell little
WARM_UP_S = 0.02  # at least, in a new process: its first runs find everything cold
RULER_MS = 0.05  # that both take with their warm-up, about
LOOK = 12  # runs of the rulers that tell whether the processor is all ours
PAUSE_S = 0.03  # between two looks
COLD = 0.1  # of what the other network took: how long a network runs uncounted until the caches are its own again
LONG_S = 2.0  # a wait of a process that is said
CALIBRATION_S = 0.3  # of rulers, on a machine that nothing is known of

Batch = Callable[[float], tuple[float, float, int]]
"""Runs one short batch, after runs that don't count, for so many seconds and at least one: CPU ms and wall ms of one
image, and whether another kept breaking in (1) or not (0)."""
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

    def timed(batch: Batch, warm_s: float) -> tuple[tuple[float, float, int], float]:
        begin = cpu_s()
        found = batch(warm_s)
        took_s = cpu_s() - begin
        rulers.append(ruler())
        return found, took_s

    while len(rows) < TURNS or cpu_s() < stop:
        if len(rows) % 2 == 0:  # A B B A: a drift meets both alike
            mine, took_s = timed(model, 0.0)
            other, _ = timed(reference, COLD * took_s)
        else:
            other, took_s = timed(reference, 0.0)
            mine, _ = timed(model, COLD * took_s)
        rows.append((*mine[:2], *other[:2], mine[2], other[2]))
    return [list(column) for column in (*zip(*rows, strict=True), *zip(*rulers, strict=True))]


def broken_into(interruptions: int, cpu_ms: float) -> int:
    """Tell (1) of work that another kept breaking in, who empties the caches each time, or not (0).

    interruptions: times that the system took the processor away. Once may happen to any, and a busy system's turns are
    of more than a millisecond. cpu_ms: of all the work.
    """
    return int(interruptions > 1 + cpu_ms)


def wait_for_clean(
    ruler: Ruler, interruptions: Callable[[], int], best: Best, patience_s: float, say: Callable[[], None]
) -> float:
    """Wait until the processor is all ours, by the rulers, or patience is over; return the seconds waited.

    interruptions: counts how often the system took the processor from where the rulers run. say: called once, of a wait
    that takes long.
    """
    begin, said = time.monotonic(), False
    while True:
        before = interruptions()
        chain, vector = zip(*(ruler() for _ in range(LOOK)), strict=True)
        broken = broken_into(interruptions() - before, LOOK * RULER_MS)
        ours = 2 * clean(chain, vector, best, *slowdowns([(chain, vector)], best)).sum() >= LOOK and not broken
        waited_s = time.monotonic() - begin
        if ours or waited_s >= patience_s:
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
