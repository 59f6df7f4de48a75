"""A host whose truth is known: time goes on only by what runs on it, and neighbours come and go as told."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from harness.measure import paired_timing
from harness.measure.host_state import Best
from harness.measure.latency import Latency
from harness.measure.past import Past

BATCH_MS = 0.4
RULERS_MS = 0.03
LOAD_S = 0.012
START_S = 0.02
COLD_S = 0.001
BEST = Best(0.0012, 0.0015)


@dataclass
class Host:
    """A simulated host. The times of a network are its own, but for what the host adds.

    spells_s: how long its clean and its contended spells last at most (at least a tenth of it); none if it is None.
    contended: how much slower, as a share, all gets in a contended spell, at most (half of it at least), each its
    share. drift: how far the clock drifts, as a share, within some minutes. placement: standard deviation, as a share,
    of where the weights lie in memory, by load. spikes: share of the batches that an interruption meets. cold: how much
    slower, as a share, a network runs at most right after the other; less and less so for `COLD_S`.
    """

    seed: int
    spells_s: tuple[float, float] | None = None
    contended: float = 0.6
    drift: float = 0.0
    placement: float = 0.004
    spikes: float = 0.05
    cold: float = 0.0
    now_s: float = 0.0
    random: np.random.Generator = field(init=False)

    def __post_init__(self) -> None:
        self.random = np.random.default_rng(self.seed)
        self._ends_s, self._strength = 0.0, 0.0
        self._last: Callable | None = None
        self._ran_s = 0.0
        self._phase = self.random.random() * 2 * np.pi
        if self.spells_s and self.random.random() < 0.5:
            self._strength = self.contended

    def __getattr__(self, name: str) -> Callable[[], float]:
        """Stand in for the module `time`: all its clocks are this one."""
        if name.startswith("_"):
            raise AttributeError(name)
        return lambda: self.now_s

    def sleep(self, seconds: float) -> None:
        """Let time go by."""
        self.now_s += seconds

    def factor(self, share: float) -> float:
        """Return by how much the host slows what takes `share` of a contention, now."""
        while self.spells_s and self.now_s >= self._ends_s:
            was = self._strength
            longest = self.spells_s[0] if was else self.spells_s[1]
            self._strength = 0.0 if was else self.contended * self.random.uniform(0.5, 1)
            self._ends_s = max(self.now_s, self._ends_s) + longest * self.random.uniform(0.1, 1)
        slower = 1 + self.drift * (1 + np.sin(self.now_s / 40 + self._phase)) / 2
        return slower * (1 + share * self._strength)

    def batch(self, ms: float, share: float) -> paired_timing.Batch:
        """Return what times a batch of a network that has just been loaded."""
        here = ms * np.exp(self.random.normal(0, self.placement))

        def run(warm_s: float) -> tuple[float, float, int]:
            took = here * self.factor(share) * (1 + 0.004 * self.random.exponential())
            if self._last is not run:  # another's data lies in the caches
                self._last, self._ran_s = run, 0.0
            self._ran_s += max(warm_s, ms / 1e3)
            took *= 1 + self.cold * max(0.0, 1 - self._ran_s / COLD_S) * self.random.uniform()
            self._ran_s += max(BATCH_MS, ms) / 1e3
            if self.random.random() < self.spikes:
                took *= 1 + self.random.exponential()
            self.now_s += max(BATCH_MS, ms) / 1e3 * took / here + warm_s
            return took, took, 0

        return run

    def ruler(self) -> tuple[float, float]:
        """Time both rulers."""
        self.now_s += RULERS_MS / 1e3
        chain, vector = (1 + 0.01 * self.random.exponential(size=2)) * (self.factor(0.5), self.factor(0.9))
        return BEST.chain_ms * chain, BEST.vector_ms * vector

    def measure(
        self, ms: float, share: float, past: Past, monkeypatch: Any, *, seconds: float = 3.0, patience_s: float = 20.0
    ) -> Latency:
        """Measure a network beside a reference of 0.1 ms, as `process.measure` does."""
        monkeypatch.setattr(paired_timing, "time", self)
        best, apart = past.best or BEST, past.apart("reference")

        def fresh(_: float) -> Sequence[paired_timing.Batch]:
            self.now_s += LOAD_S
            return [self.batch(ms, share), self.batch(0.1, 1.1)]

        def process(until: float, patience_s: float) -> dict[str, Any]:
            self.now_s += START_S
            waited_s = paired_timing.wait_for_clean(self.ruler, lambda: 0, best, patience_s, lambda: None)
            found = paired_timing.loads(fresh, self.ruler, until + waited_s, lambda: self.now_s)
            return {"loads": found, "seen": {"cpu_s": 0.1}, "waited_s": waited_s}

        raw = paired_timing.repeated(
            process, seconds=seconds, patience_s=patience_s, noisy=0.1, begin=self.now_s, best=best, apart=apart
        )
        return Latency.of(raw["processes"], seen=raw["seen"], best=best, apart=apart)
