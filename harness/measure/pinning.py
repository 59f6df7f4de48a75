"""Which processors a measurement is pinned to: idle ones, and of a core that nobody else works on."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from harness.processors import ROOT, given, listed

LATELY_S = 0.1
"""How long is looked to find who is idle: ten of the system's ticks."""
Ticks = Mapping[int, tuple[int, int]]
"""By processor: ticks since boot that it worked, or the host had it, and all."""


def chosen(threads: int, root: Path = ROOT) -> list[int]:
    """Choose from the processors of this process, after a short look at which are idle, where there is a choice."""
    allowed = given(root).allowed
    if threads >= len(allowed):
        return list(allowed)
    before = ticks(root)
    if before:
        time.sleep(LATELY_S)
    return choose(allowed, siblings(allowed, root), threads, busy(before, ticks(root)))


def choose(
    allowed: Sequence[int], siblings: Mapping[int, Sequence[int]], threads: int, busy: Mapping[int, float]
) -> list[int]:
    """Choose a processor for each thread, sorted; all that are allowed where they are too few.

    Each is of a core of its own, as long as there are cores: hyper-threads of one core slow each other down. Cores
    whose processors have been idle come first, those that this process may not use among them; then the last ones,
    where systems put least by themselves.

    siblings: all hyper-threads of a processor's core, itself among them; a processor that isn't there is alone. busy:
    the share of the last time that each worked, 0..1; 0 where nobody knows.
    """
    cores = {tuple(sorted(siblings.get(number, ()))) or (number,) for number in allowed}
    ranked = sorted(cores, key=lambda core: (round(max(busy.get(n, 0.0) for n in core), 1), -core[-1]))
    free = [
        sorted((n for n in core if n in allowed), key=lambda n: (round(busy.get(n, 0.0), 1), -n)) for core in ranked
    ]
    turns = range(max(map(len, free), default=0))  # a second thread on a core only when each core has one
    order = [mine[turn] for turn in turns for mine in free if turn < len(mine)]
    return sorted(order[:threads])


@contextmanager
def away_from(pid: int) -> Iterator[None]:
    """Keep the calling thread off the processors of a process that it asks and waits for, where it may use others.

    A system likes to wake who is answered where the answer was made; there its turns empty the caches that the next
    answer needs. What is started meanwhile is kept off them, too.
    """
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    mine = os.sched_getaffinity(0)
    try:
        theirs = os.sched_getaffinity(pid)
    except ProcessLookupError:  # it has died, which who waits for it will hear
        theirs = set()
    os.sched_setaffinity(0, mine - theirs or mine)
    try:
        yield
    finally:
        os.sched_setaffinity(0, mine)


def siblings(allowed: Sequence[int], root: Path = ROOT) -> dict[int, tuple[int, ...]]:
    """Read which processors are hyper-threads of one core, as far as the system shows them.

    Source: https://www.kernel.org/doc/html/latest/admin-guide/cputopology.html
    """
    found = {}
    for number in allowed:
        path = root / f"sys/devices/system/cpu/cpu{number}/topology/thread_siblings_list"
        try:
            found[number] = listed(path.read_text())
        except (OSError, ValueError):  # not Linux, or a container that hides it
            found[number] = (number,)
    return found


def shares(allowed: Sequence[int], siblings: Mapping[int, Sequence[int]], parts: int) -> list[list[int]]:
    """Deal processors out in so many even parts (at most one a processor); few cores are in two of them."""
    cores = {tuple(n for n in sorted(siblings.get(number, (number,))) if n in allowed) for number in allowed}
    row = [number for core in sorted(cores) for number in core]
    return [row[part * len(row) // parts : (part + 1) * len(row) // parts] for part in range(parts)]


def ticks(root: Path = ROOT) -> Ticks:
    """Read how much each processor has worked since boot; empty where nobody counts.

    Source: https://man7.org/linux/man-pages/man5/proc_stat.5.html (its columns: user, nice, system, idle, iowait, irq,
        softirq, steal; what the host took counts as work)
    """
    try:
        rows = [line.split() for line in (root / "proc/stat").read_text().splitlines()]
    except OSError:
        return {}
    found = {}
    for name, *figures in rows:
        if name.startswith("cpu") and name != "cpu":
            counts = [int(figure) for figure in figures[:8]]
            found[int(name[3:])] = (sum(counts) - counts[3] - counts[4], sum(counts))
    return found


def busy(before: Ticks, after: Ticks) -> dict[int, float]:
    """Return the share of the time between two looks in which each processor worked, 0..1."""
    shared = before.keys() & after.keys()
    spans = {n: (after[n][0] - before[n][0], after[n][1] - before[n][1]) for n in shared}
    return {n: worked / whole if whole > 0 else 0.0 for n, (worked, whole) in spans.items()}
