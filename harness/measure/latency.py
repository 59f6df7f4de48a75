"""From raw timings to a latency with an interval."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import numpy as np

LOW = 0.1
"""The quantile that stands for a load: noise only ever adds time, so the low end is the model's own."""

T95 = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131, 2.120)
"""Student's 97.5 % quantiles for 1, 2, .. degrees of freedom; beyond, the last is a little too wide."""

APART = 0.002
"""Standard deviation, as a share, of the ratio between measurements beyond what their processes show: by experiment."""


@dataclass(frozen=True)
class Load:
    """Timings of model and reference by turns, after both were loaded afresh.

    Ms for one image, one value for each short batch of runs, in pairs; CPU time with one thread, else wall time.
    """

    model_ms: tuple[float, ...]
    model_wall_ms: tuple[float, ...]
    reference_ms: tuple[float, ...]
    reference_wall_ms: tuple[float, ...]


@dataclass(frozen=True)
class Latency:
    """Loads of a model beside the reference network, in at least two fresh processes; all figures derive from them.

    seen: what the machine did meanwhile: cpu_s, wall_s, steal_s, interruptions, load (of `/proc/loadavg`), waited_s.
    """

    processes: tuple[tuple[Load, ...], ...]
    threads: int
    machine: dict[str, Any]
    seen: dict[str, float]

    @classmethod
    def of(
        cls,
        processes: Sequence[Sequence[Sequence[Sequence[float]]]],
        threads: int = 1,
        machine: dict[str, Any] | None = None,
        seen: dict[str, float] | None = None,
    ) -> Latency:
        """Build from each process's loads, each the four lists of a `Load` in its order."""
        timed = tuple(tuple(Load(*map(tuple, load)) for load in loads) for loads in processes)
        return cls(timed, threads, machine or {}, seen or {})

    @cached_property
    def _logs(self) -> np.ndarray:
        """One row a process: the mean over its loads of log ms and log ratio."""
        return np.array([np.mean([_logs_of(load) for load in loads], axis=0) for loads in self.processes])

    def _figure(self, column: int, side: int, apart: float = 0.0) -> float:
        """Return the estimate (side 0) or an end of its 95 % interval (-1, 1): Student's, over the processes."""
        values = self._logs[:, column]
        n = len(values)
        half = np.hypot(T95[min(n - 2, len(T95) - 1)] * values.std(ddof=1) / np.sqrt(n), 1.96 * apart) if side else 0.0
        return float(np.exp(values.mean() + side * half))

    @property
    def ms(self) -> float:
        """Estimated CPU ms for one image."""
        return self._figure(0, 0)

    @property
    def low_ms(self) -> float:
        """Lower end of the 95 % interval, of the time at this moment: the processor's clock moves more than that."""
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
        return self._figure(1, -1, APART)

    @property
    def ratio_high(self) -> float:
        """Upper end of the ratio's 95 % interval."""
        return self._figure(1, 1, APART)

    @property
    def doubt(self) -> float:
        """Half of the ratio's interval as a share of the ratio."""
        return self.ratio_high / self.ratio - 1

    @property
    def wall_ms(self) -> float:
        """Median wall ms for one image: what a clock on the wall sees, neighbours included."""
        return float(np.median([ms for loads in self.processes for load in loads for ms in load.model_wall_ms]))

    def to_dict(self) -> dict[str, Any]:
        """Return what derives from the raw samples, and the samples, as plain JSON values."""
        names = ("ms", "low_ms", "high_ms", "ratio", "ratio_low", "ratio_high", "wall_ms")
        loads = [[{name: list(ms) for name, ms in asdict(load).items()} for load in loads] for loads in self.processes]
        raw = {"threads": self.threads, "machine": self.machine, "seen": self.seen, "processes": loads}
        return {name: round(getattr(self, name), 6) for name in names} | raw

    @classmethod
    def from_dict(cls, raw: dict[str, Any]) -> Latency:
        """Rebuild from the raw samples."""
        processes = tuple(
            tuple(Load(**{name: tuple(ms) for name, ms in load.items()}) for load in loads)
            for loads in raw["processes"]
        )
        return cls(processes, threads=raw["threads"], machine=raw["machine"], seen=raw["seen"])


def _logs_of(load: Load) -> Sequence[float]:
    """Return the logarithms of a load's ms and ratio."""
    model, reference = (np.log(np.quantile(ms, LOW)) for ms in (load.model_ms, load.reference_ms))
    return model, model - reference
