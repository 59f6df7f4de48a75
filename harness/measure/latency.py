"""From raw timings to a latency with an interval."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

LOW = 0.2
"""The quantile that stands for a model: noise only ever adds time, so the low end is the model's own."""


@dataclass(frozen=True)
class Latency:
    """Interleaved timings of a model and the reference network; medians, ratios and intervals derive from them.

    samples_ms, reference_ms: CPU ms for one image, one value per short batch of runs, in pairs.
    wall_ms: the same batches of the model by the wall clock.
    """

    samples_ms: tuple[float, ...]
    reference_ms: tuple[float, ...]
    wall_ms: tuple[float, ...]
    threads: int
    machine: dict[str, Any]

    @property
    def ms(self) -> float:
        """Estimated CPU ms for one image."""
        return float(np.quantile(self.samples_ms, LOW))

    @property
    def ratio(self) -> float:
        """Estimated time as a multiple of the reference's."""
        return self.ms / float(np.quantile(self.reference_ms, LOW))

    @cached_property
    def _resampled(self) -> np.ndarray:
        """Bootstrap the pairs: rows of (ms, ratio)."""
        pairs = np.array([self.samples_ms, self.reference_ms])
        index = np.random.default_rng(0).integers(0, pairs.shape[1], (200, pairs.shape[1]))
        model, reference = np.quantile(pairs[:, index], LOW, axis=2)
        return np.stack([model, model / reference], axis=1)

    @property
    def low_ms(self) -> float:
        """Lower end of the 95 % interval."""
        return float(np.quantile(self._resampled[:, 0], 0.025))

    @property
    def high_ms(self) -> float:
        """Upper end of the 95 % interval."""
        return float(np.quantile(self._resampled[:, 0], 0.975))

    @property
    def ratio_low(self) -> float:
        """Lower end of the ratio's 95 % interval."""
        return float(np.quantile(self._resampled[:, 1], 0.025))

    @property
    def ratio_high(self) -> float:
        """Upper end of the ratio's 95 % interval."""
        return float(np.quantile(self._resampled[:, 1], 0.975))

    def to_dict(self) -> dict[str, Any]:
        """Return raw samples and what derives from them as plain JSON values."""
        raw = {
            "samples_ms": list(self.samples_ms),
            "reference_ms": list(self.reference_ms),
            "wall_ms": list(self.wall_ms),
            "threads": self.threads,
            "machine": self.machine,
        }
        names = ("ms", "low_ms", "high_ms", "ratio", "ratio_low", "ratio_high")
        return raw | {name: round(getattr(self, name), 6) for name in names}

    @classmethod
    def from_dict(cls, raw: dict[str, Any]) -> Latency:
        """Rebuild from the raw samples."""
        samples = (tuple(raw[k]) for k in ("samples_ms", "reference_ms", "wall_ms"))
        return cls(*samples, threads=raw["threads"], machine=raw["machine"])
