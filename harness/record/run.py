"""The record of a final training: all that packing and judging need."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from harness.record.result import Result


@dataclass(frozen=True)
class Run:
    """A finished training, beside `model.onnx` in its folder.

    candidate, data (name, options, fingerprint, classes, side_px), preprocessing, precision, competition: plain JSON
    values. metrics: what was measured of the artefact. train_s: seconds of training over all sittings.
    """

    candidate: dict[str, Any]
    data: dict[str, Any]
    preprocessing: dict[str, Any]
    precision: dict[str, Any]
    competition: dict[str, Any]
    seed: int
    metrics: Result
    versions: dict[str, str]
    train_s: float

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return asdict(self) | {"metrics": self.metrics.to_dict()}

    @classmethod
    def from_dict(cls, raw: dict[str, Any]) -> Run:
        """Rebuild from plain JSON values."""
        return cls(**raw | {"metrics": Result.from_dict(raw["metrics"])})
