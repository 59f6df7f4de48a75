"""From raw timings to a latency with an interval."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from harness.measure.host_state import Best, clean, slowdowns

LOW = 0.1
"""The quantile of a load's clean batches that stands for it: noise only adds time, so the low end is the model's."""

FEW = 8
"""Clean batches of a load that are worth half of what many are: of fewer, some may have had an unseen neighbour."""

ODD = 1.5
"""Beyond so many standard deviations from the middle a process counts for less (Huber)."""

ODD_LEAST = 0.002
"""And as many of these, as a share, count in full whatever the others say: so far apart are any two processes."""

LEAST = 3
"""Clean batches of each network that a load needs to count."""

SURE = 3
"""Processes with such a load that make a clean measurement."""

SHARE = 0.25
"""Standard deviation of how contention moves a ratio, as a share of how it moves the rulers: by experiment."""

T95 = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131, 2.120)
"""Student's 97.5 % quantiles for 1, 2, .. degrees of freedom; beyond, the last is a little too wide."""

FIGURES = ("ms", "low_ms", "high_ms", "ratio", "ratio_low", "ratio_high", "wall_ms")


@dataclass(frozen=True)
class Load:
    """Timings of model and reference by turns (A B B A), after both were loaded afresh.

    Ms for one image, one value for each short batch of runs, in pairs; CPU time with one thread, else wall time.
    model_interrupted, reference_interrupted: 1 of a batch that another kept breaking into, else 0. chain_ms, vector_ms:
    of the two rulers, before the first batch and after each. These four are empty in records from before them.
    """

    model_ms: tuple[float, ...]
    model_wall_ms: tuple[float, ...]
    reference_ms: tuple[float, ...]
    reference_wall_ms: tuple[float, ...]
    model_interrupted: tuple[int, ...] = ()
    reference_interrupted: tuple[int, ...] = ()
    chain_ms: tuple[float, ...] = ()
    vector_ms: tuple[float, ...] = ()


@dataclass(frozen=True)
class Latency:
    """Loads of a model beside the reference network, in at least two fresh processes; all figures derive from them.

    best: the rulers' best times on this machine. apart: standard deviation, as a share, of the ratio between
    measurements beyond what their processes show. seen: what the machine did meanwhile: cpu_s, wall_s, steal_s,
    interruptions, load (of `/proc/loadavg`), waited_s. earlier: measurements of the same network in other minutes,
    oldest first; the figures pool all.
    """

    processes: tuple[tuple[Load, ...], ...]
    threads: int
    machine: dict[str, Any]
    seen: dict[str, float]
    best: Best | None = None
    apart: float = 0.002
    earlier: tuple[Latency, ...] = ()

    @classmethod
    def of(
        cls,
        processes: Sequence[Sequence[Sequence[Sequence[float]]]],
        threads: int = 1,
        machine: dict[str, Any] | None = None,
        seen: dict[str, float] | None = None,
        **rest: Any,
    ) -> Latency:
        """Build from each process's loads, each the lists of a `Load` in its order."""
        timed = tuple(tuple(Load(*map(tuple, load)) for load in loads) for loads in processes)
        return cls(timed, threads, machine or {}, seen or {}, **rest)

    @classmethod
    def pooled(cls, sessions: Sequence[Latency]) -> Latency:
        """Return one latency whose figures combine those of several measurements of a network, oldest first."""
        each = [session for latency in sessions for session in latency.sessions]
        return replace(each[-1], earlier=tuple(each[:-1]))

    @property
    def sessions(self) -> tuple[Latency, ...]:
        """The single measurements that this pools, oldest first; itself alone where it pools none."""
        return (*self.earlier, replace(self, earlier=()))

    @cached_property
    def _loads(self) -> list[list[tuple[float, float, int]]]:
        """For each process, each clean load's figures, see `_of`."""
        pairs = zip(self.processes, self._slowdowns, strict=True)
        return [[found for load in loads if (found := self._of(load, slow))] for loads, slow in pairs]

    def _of(self, load: Load, slow: float, *, contended: bool = False) -> tuple[float, float, int] | None:
        """Return log ms at the machine's best clock, log ratio, and how many batches of each network tell them.

        Of a load's clean batches, None where there are too few; or, if asked, of all.
        """
        mine, other = (np.asarray(ms) for ms in (load.model_ms, load.reference_ms))
        if load.vector_ms and self.best and not contended:
            turns = clean(load.chain_ms, load.vector_ms, self.best, slow).reshape(-1, 2)
            turns[1::2] = turns[1::2, ::-1]  # A B B A
            turns &= ~np.array([load.model_interrupted, load.reference_interrupted], dtype=bool).T
            mine, other = mine[turns[:, 0]], other[turns[:, 1]]
            if min(len(mine), len(other)) < LEAST:
                return None
        model, reference = (float(np.log(np.quantile(ms, LOW))) for ms in (mine, other))
        return model - float(np.log(slow)), model - reference, min(len(mine), len(other))

    @cached_property
    def _slowdowns(self) -> list[float]:
        """How many times slower than at best each process's clock went; 1.0 if unknown."""
        if not self.best or not all(loads[0].vector_ms for loads in self.processes):
            return [1.0] * len(self.processes)
        chain, vector = (
            [[ms for load in loads for ms in getattr(load, name)] for loads in self.processes]
            for name in ("chain_ms", "vector_ms")
        )
        return slowdowns(list(zip(chain, vector, strict=True)), self.best)

    @property
    def clean_processes(self) -> int:
        """Processes that were timed, at least in part, while no neighbour took part of the processor."""
        return sum(map(bool, self._loads))

    @property
    def is_clean(self) -> bool:
        """Whether there are enough of them."""
        return self.clean_processes >= min(SURE, len(self.processes))

    @cached_property
    def _logs(self) -> np.ndarray:
        """One row a process that has clean loads (all, where too few have): the means of its loads' figures, a weight.

        Loads weigh by their batches, and processes by their loads.
        """
        found = [loads for loads in self._loads if loads]
        if not self.is_clean:
            pairs = zip(self.processes, self._slowdowns, strict=True)
            found = [[self._of(load, slow, contended=True) for load in loads] for loads, slow in pairs]
        rows = []
        for loads in found:
            ms, ratio, count = np.array(loads).T
            weight = count / (count + FEW)
            rows.append([np.average(ms, weights=weight), np.average(ratio, weights=weight), weight.sum()])
        return np.array(rows)

    @cached_property
    def excess(self) -> float:
        """How much slower than clean the rulers were in what counts (log), where no clean time came; else 0.0."""
        if self.is_clean or not self.best:
            return 0.0
        vectors = [np.quantile(load.vector_ms, LOW) for loads in self.processes for load in loads if load.vector_ms]
        return max(0.0, float(np.log(np.mean(vectors) / self.best.vector_ms)))

    def _one(self, column: int) -> tuple[float, float, float]:
        """Return log estimate, half of its 95 % interval from the processes, and all of that half, of this session."""
        middle, error = robust_mean(self._logs[:, column], self._logs[:, 2])
        within = T95[min(len(self._logs) - 2, len(T95) - 1)] * error
        return (
            middle,
            within,
            float(np.hypot(within, 1.96 * np.hypot(self.apart, SHARE * self.excess))),
        )

    def _figure(self, column: int, side: int) -> float:
        """Return the estimate (side 0) or an end of its 95 % interval (-1, 1), of all sessions together."""
        ones = [session._one(column) for session in self.sessions]
        middles, halves = (np.array([one[i] for one in ones]) for i in (0, 2))
        weights = 1 / np.maximum(halves, 1e-9) ** 2
        middle = float(np.average(middles, weights=weights))
        half = float(weights.sum() ** -0.5)
        if len(ones) > 1:  # sessions that disagree by more than they should say that each was too sure (Birge's ratio)
            half *= max(1.0, 1.96 * float(np.sqrt((weights * (middles - middle) ** 2).sum() / (len(ones) - 1))))
        return float(np.exp(middle + side * half))

    @property
    def ms(self) -> float:
        """Estimated CPU ms for one image, at the machine's best clock."""
        return self._figure(0, 0)

    @property
    def low_ms(self) -> float:
        """Lower end of the 95 % interval."""
        return self._figure(0, -1)

    @property
    def high_ms(self) -> float:
        """Upper end of that interval."""
        return self._figure(0, 1)

    @property
    def ratio(self) -> float:
        """Estimated time as a multiple of the reference's."""
        return self._figure(1, 0)

    @property
    def ratio_low(self) -> float:
        """Lower end of the ratio's 95 % interval."""
        return self._figure(1, -1)

    @property
    def ratio_high(self) -> float:
        """Upper end of the ratio's 95 % interval."""
        return self._figure(1, 1)

    @property
    def doubt(self) -> float:
        """Half of the ratio's interval as a share of the ratio."""
        return self.ratio_high / self.ratio - 1

    @property
    def unsteady(self) -> float:
        """What more processes can narrow: half of the interval that they alone give, as a share; of this session."""
        return self._one(1)[1]

    @property
    def log_ratio(self) -> tuple[float, float]:
        """Logarithm of the ratio, and its standard error over the processes; of this session."""
        return robust_mean(self._logs[:, 1], self._logs[:, 2])

    @property
    def wall_ms(self) -> float:
        """Median wall ms for one image: what a clock on the wall sees, neighbours included."""
        return float(np.median([ms for loads in self.processes for load in loads for ms in load.model_wall_ms]))

    def to_dict(self) -> dict[str, Any]:
        """Return what derives from the raw samples, and the samples, as plain JSON values."""
        loads = [[{name: list(ms) for name, ms in asdict(load).items()} for load in loads] for loads in self.processes]
        raw = {"threads": self.threads, "machine": self.machine, "seen": self.seen, "processes": loads}
        raw |= {"best": asdict(self.best) if self.best else None, "apart": self.apart}
        if self.earlier:
            raw["earlier"] = [session.to_dict() for session in self.earlier]
        return {name: round(getattr(self, name), 6) for name in FIGURES} | raw

    @classmethod
    def from_dict(cls, raw: dict[str, Any]) -> Latency:
        """Rebuild from the raw samples."""
        processes = tuple(
            tuple(Load(**{name: tuple(ms) for name, ms in load.items()}) for load in loads)
            for loads in raw["processes"]
        )
        best = Best(**raw["best"]) if raw.get("best") else None
        earlier = tuple(cls.from_dict(session) for session in raw.get("earlier", ()))
        rest = {"best": best, "earlier": earlier} | ({"apart": raw["apart"]} if "apart" in raw else {})
        return cls(processes, threads=raw["threads"], machine=raw["machine"], seen=raw["seen"], **rest)


def robust_mean(values: np.ndarray, weights: np.ndarray) -> tuple[float, float]:
    """Return the weighted mean of two values or more, those far out counting for less, and its standard error.

    Source: Huber, Robust estimation of a location parameter, https://doi.org/10.1214/aoms/1177703732
    """
    quarter, middle, third = np.quantile(values, (0.25, 0.5, 0.75))
    far = ODD * max(float(third - quarter) / 1.349, ODD_LEAST)  # of a normal distribution's, a standard deviation
    for _ in range(20):
        heavy = weights * np.minimum(1.0, far / np.maximum(abs(values - middle), 1e-12))
        middle = np.average(values, weights=heavy)
    error = np.sqrt((heavy**2 * (values - middle) ** 2).sum() * len(values) / (len(values) - 1))
    error /= weights[abs(values - middle) <= far].sum() or heavy.sum()
    return float(middle), float(error)
