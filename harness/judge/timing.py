"""The judge's place for a measurement: entry and reference each in a sandboxed process, the clock in this one."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import chain, count, cycle, islice
from pathlib import Path

import numpy as np

from harness.judge.audit import KINDS, Witness, outside_share
from harness.judge.scoring import Entrant
from harness.measure import paired_timing, past
from harness.measure.control import PATIENCE_S as CONTROL_PATIENCE_S
from harness.measure.control import SECONDS, SIDE_PX, control_model
from harness.measure.host_state import Best
from harness.measure.latency import LOW, Latency
from harness.measure.lock import alone
from harness.measure.machine import steal_s
from harness.measure.pinning import away_from
from harness.measure.process import NOISY, PATIENCE_S, latency_of, say_waiting
from harness.sandbox.remote import RUNNER, Remote

BATCH_S = 0.001
"""More than twice a trial's: a batch follows a sleep, and what that costs is told with an error of its own."""
SESSION_S = 0.6
"""How long a process's loads go on at most: two to four times what its start takes, which would else be for little."""
WARM_S = 0.001
"""Of runs that don't count before each batch: who was away for the other's batch has lost the caches, the shared ones,
too, which only the fourth run has back."""
MOST_RUNS = 128
"""In a batch, of a network that takes no time, or says so."""
SIZED = 5
"""Trips of one run and of a batch that tell what a run takes, and what a trip does."""
ROUNDS = 6
"""Batches of each kind of image in an audit."""
RULER = 64
"""Images that the reference is shown, over and over: it is our own and remembers none."""


@dataclass(frozen=True)
class Duel:
    """Who is timed beside whom, and what they are shown.

    reference: ONNX file. private, plain: float32 (N, 3, R, R), private copies of test images, which time is taken of,
    and test images. reference_side: of the reference's images, in px.
    """

    entrant: Entrant
    reference: Path
    private: np.ndarray
    plain: np.ndarray
    reference_side: int

    def by(self, runtime: str) -> Duel:
        """Return the same with another engine for the entry; the reference is a ruler for all, and always on ONNX's."""
        return replace(self, entrant=replace(self.entrant, runtime=runtime))

    def control(self) -> Duel:
        """Return the same of the control network, which is ours, on images of noise."""
        noise = np.random.default_rng().standard_normal((RULER, 3, SIDE_PX, SIDE_PX), dtype=np.float32)
        entrant = replace(self.ruler, model=control_model(self.reference.parent))
        return replace(self, entrant=entrant, private=noise, plain=noise)

    @property
    def ruler(self) -> Entrant:
        """Return the reference on the entry's terms."""
        return replace(self.entrant, model=self.reference, runtime="onnx", program=RUNNER)


def measure(duel: Duel, seconds: float, patience_s: float = PATIENCE_S) -> tuple[Latency, list[Witness]]:
    """Time an entry beside the reference network, by turns, each on images that its process has never seen.

    The loop is `measure.paired_timing`'s, as for a trial. Each batch of runs is asked for over a pipe, and this reads
    the other's CPU clock before and after; what a trip takes beyond its runs, `Side.starts_ms`, is taken off. The
    rulers run in the reference's process, which can be trusted and is pinned to the same processor.

    seconds: about the most it takes, its sandboxes' start included. patience_s: beyond that, to wait for a time when
    nothing else shares the processor. Whether the machine was quiet enough is left to `measure.process.check_quiet`,
    after the audit: a cheat's time may be noise too.

    Raises:
        Refused: the entry fails or breaks a limit.
        HarnessError: there is no sandbox.
    """
    of = past.key(duel.reference, duel.entrant.threads, "judge")
    with alone() as waited_s:
        for _ in range(past.read(past.path()).due(of)):
            control = _timed(duel.control(), min(seconds, SECONDS), min(patience_s, CONTROL_PATIENCE_S), of, 0.0)[0]
            past.add(past.path(), control, of)
        latency, witnesses = _timed(duel, seconds, patience_s, of, waited_s)
        past.add(past.path(), latency)
    return latency, witnesses


def _timed(duel: Duel, seconds: float, patience_s: float, of: str, waited_s: float) -> tuple[Latency, list[Witness]]:
    witnesses: list[Witness] = []
    known = past.read(past.path())
    best = known.best or _calibrated(duel)

    def process(_: float, patience_s: float) -> dict:
        with duel.ruler.opened() as reference, duel.entrant.opened() as model:
            say = partial(say_waiting, str(duel.entrant.model), patience_s)
            with away_from(model.pid):
                clean_s = paired_timing.wait_for_clean(
                    reference.rulers, lambda: _interruptions(reference.pid), best, patience_s, say
                )
                before = steal_s(), time.perf_counter()
                loads, witness = _session(duel, model, reference, time.time() + SESSION_S)
            witnesses.append(witness)
            cpu_s = (model.cpu_ns() + reference.cpu_ns()) / 1e9
            interrupted = _interruptions(model.pid) + _interruptions(reference.pid)
        seen = {"cpu_s": cpu_s, "steal_s": steal_s() - before[0], "interruptions": interrupted}
        return {"loads": loads, "seen": seen | {"wall_s": time.perf_counter() - before[1]}, "waited_s": clean_s}

    raw = paired_timing.repeated(
        process, seconds=seconds, patience_s=patience_s, noisy=NOISY, begin=time.monotonic(), best=best,
        apart=known.apart(of),
    )  # fmt: skip
    return latency_of(raw, waited_s, duel.entrant.threads, best, known.apart(of)), witnesses


def _calibrated(duel: Duel) -> Best:
    with duel.ruler.opened() as reference:
        return paired_timing.calibrate(reference.rulers)


def _session(duel: Duel, model: Remote, reference: Remote, until: float) -> tuple[paired_timing.Loads, Witness]:
    """Time both in their fresh processes, then audit the entry's."""
    random = np.random.default_rng()
    noise = random.standard_normal((RULER, 3, duel.reference_side, duel.reference_side), dtype=np.float32)
    order = chain(random.permutation(len(duel.private)), count(len(duel.private)))
    mine = Side(model, duel.private, duel.entrant.threads, order)
    ruler = Side(reference, noise, duel.entrant.threads, cycle(range(RULER)))
    loads = paired_timing.loads(
        lambda least_s: [mine.warm(least_s), ruler.warm(least_s)],
        ruler.rulers,
        until,
        lambda: _cpu_s(model, reference),
    )
    ms, plain, logits = _by_kind(mine, duel.plain, random)
    witness = Witness(
        ms=ms,
        images=np.concatenate([*mine.shown, *plain]),
        logits=np.concatenate([*mine.logits, *logits]),
        outside=_outside(mine, ruler),
        busy=float(np.divide(*np.sum(mine.inside, axis=0))),
        threads=model.threads(),
        threads_allowed=reference.threads() if duel.entrant.runtime == "onnx" else 0,
    )
    return loads, witness


def _by_kind(mine: Side, plain: np.ndarray, random: np.random.Generator) -> tuple[dict[str, float], list, list]:
    """Time batches of each kind of image by turns: ms of one, by kind; the test images' positions and their logits."""
    order = random.permutation(len(plain))
    shown, logits, ms = [], [], {kind: [] for kind in KINDS}
    for number in range(ROUNDS):
        here = order[np.arange(number * mine.size, (number + 1) * mine.size) % len(order)]
        images = {
            "private": mine.take(mine.size)[0],
            "plain": plain[here],
            "noise": random.standard_normal((mine.size, *plain.shape[1:]), dtype=np.float32),
            "same": mine.take(1)[0],
        }
        for kind in KINDS if number % 2 else reversed(KINDS):
            spent_ms = mine.timed(images[kind])[mine.threads > 1] - mine.starts_ms[-1][int(mine.threads > 1)]
            ms[kind].append(max(spent_ms, 1e-6) / mine.size)
            if kind == "plain":
                shown.append(len(mine.images) + here)
                logits.append(mine.remote.logits())
    return {kind: float(np.quantile(each, LOW)) for kind, each in ms.items()}, shown, logits


def _outside(mine: Side, ruler: Side) -> float:
    """Return the entry's CPU time outside its runs, beyond what the protocol takes, as a share of all.

    What the protocol takes is seen in the reference's process, which can be trusted: what it needed for its own
    batches and their start, and how much more or less for the bytes of the entry's. So who makes its trips of one run
    long, to have much taken off its batches, has worked outside.
    """
    shown_ms = [np.median([_shown_ms(ruler.remote, s.images[: s.size]) for _ in range(ROUNDS)]) for s in (mine, ruler)]
    mine_ms, ruler_ms = (np.mean(side.starts_ms, axis=0)[0] for side in (mine, ruler))
    protocol_ms = np.mean(ruler.outside_ms) + ruler_ms + shown_ms[0] - shown_ms[1]
    outside_ms = np.mean(mine.outside_ms) + mine_ms
    inside_ms = np.mean(mine.inside, axis=0)[0] - mine_ms
    return outside_share(float(inside_ms), float(outside_ms - protocol_ms))


def _shown_ms(remote: Remote, images: np.ndarray) -> float:
    before = remote.cpu_ns()
    remote.images(images)
    return (remote.cpu_ns() - before) / 1e6


def _cpu_s(*remotes: Remote) -> float:
    return sum(remote.cpu_ns() for remote in remotes) / 1e9


def _interruptions(pid: int) -> int:
    """Count how often a process was made to wait. Source: https://man7.org/linux/man-pages/man5/proc_pid_status.5.html"""
    status = Path(f"/proc/{pid}/status")
    if not status.exists():  # no Linux
        return 0
    lines = status.read_text().splitlines()
    return int(next(line for line in lines if line.startswith("nonvoluntary_ctxt_switches")).split()[1])


@dataclass
class Side:
    """A network in its process: what is shown to it, and what was noted of it (CPU and wall time in ms).

    order: positions of images not shown yet; beyond the last they are shown again, altered. size: runs in a batch.
    each_s: what one takes, about. starts_ms: what a trip takes beyond its runs, told after each load: the round trip,
    and that who has slept finds everything cold, 0.02 ms for the smallest network and 0.1 for one of many weights.
    """

    remote: Remote
    images: np.ndarray
    threads: int
    order: Iterator[int]
    size: int = 1
    each_s: float = BATCH_S
    starts_ms: list[np.ndarray] = field(default_factory=list)
    seen_ms: float = 0.0
    inside: list[tuple[float, float]] = field(default_factory=list)
    outside_ms: list[float] = field(default_factory=list)
    shown: list[np.ndarray] = field(default_factory=list)
    logits: list[np.ndarray] = field(default_factory=list)

    def warm(self, least_s: float) -> paired_timing.Batch:
        """Load the network afresh and warm it; return the function that times a batch."""
        self.remote.load()
        self.remote.images(self.take(8)[0])
        number = count()
        clock = time.perf_counter_ns if self.threads > 1 else self.remote.cpu_ns
        about_s = paired_timing.warm_up(lambda: self.remote.run(next(number), 1), clock, least_s)
        more = min(MOST_RUNS, max(1, round(BATCH_S / about_s)))
        trips = [(self.remote.time(next(number), 1), self.remote.time(next(number), 1 + more)) for _ in range(SIZED)]
        one, many = np.median(trips, axis=0)
        each_ms = (many - one) / more
        self.starts_ms.append(np.maximum(one - each_ms, 0.0))
        self.each_s = max(each_ms[int(self.threads > 1)] / 1e3, BATCH_S / MOST_RUNS)
        self.size = max(1, round(BATCH_S / self.each_s))
        self.seen_ms = self._cpu_ms()
        return self.batch

    def batch(self, warm_s: float) -> tuple[float, float, int]:
        """Time a batch of images never shown before; return what `paired_timing.Batch` does."""
        images, index = self.take(self.size)
        idle_ms = self._cpu_ms() - self.seen_ms
        before = _interruptions(self.remote.pid)
        spent_ms, wall_ms = self.timed(images, warm_s)
        broken = paired_timing.broken_into(_interruptions(self.remote.pid) - before, 2 * spent_ms)
        self.shown.append(index)
        self.logits.append(self.remote.logits())
        now_ms = self._cpu_ms()
        self.inside.append((spent_ms, wall_ms))
        self.outside_ms.append(idle_ms + now_ms - self.seen_ms - spent_ms)
        self.seen_ms = now_ms
        pairs = zip((spent_ms, wall_ms), self.starts_ms[-1].tolist(), strict=True)
        each = [round(max(ms - start, 0.01 * ms) / self.size, 6) for ms, start in pairs]
        return each[self.threads > 1], each[1], broken

    def rulers(self) -> tuple[float, float]:
        """Run the rulers in its process, which is no work outside of its runs."""
        found = self.remote.rulers()
        self.seen_ms = self._cpu_ms()
        return found

    def timed(self, images: np.ndarray, warm_s: float = 0.0) -> tuple[float, float]:
        """Run another image uncounted, for the other network has just had the caches; then show these and time them.

        warm_s: for about how long at least; `WARM_S` and once at least.
        """
        self.remote.images(self.take(1)[0])
        self.remote.run(0, max(1, round(max(warm_s, WARM_S) / self.each_s)))
        self.seen_ms = self._cpu_ms()
        self.remote.images(images)
        return self.remote.time(0, self.size)

    def take(self, size: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the next images and their positions; -1 for one that was altered, for all others were shown."""
        index = np.fromiter(islice(self.order, size), dtype=np.int64, count=size)
        again = index >= len(self.images)
        images = self.images[index % len(self.images)]
        if again.any():
            images[again] += 1e-2 * np.random.default_rng().standard_normal(images[again].shape, dtype=np.float32)
        return images, np.where(again, -1, index)

    def _cpu_ms(self) -> float:
        return self.remote.cpu_ns() / 1e6
