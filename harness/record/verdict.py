"""What the judge found of an entry."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from rich.table import Table

from harness.record.result import Result

BULKY = ("samples", "machine", "checks", "predicted", "f1_draws", "f1_public_draws", "f1_private_draws")
"""Fields that are no figures to look at: neither the log nor `score` repeats them."""


@dataclass(frozen=True)
class Verdict:
    """What the judge found.

    f1: macro, of the recomputed predictions; f1_public, f1_private: on the two parts of the test images. ratio: time
    over the reference network's, with its 95 % interval. points (of all, of the public and of the private part): None
    where the formula scores whole boards. agreement: share of submitted labels found again. checks: the figures of each
    audit, by its reason. sandbox: "strict" or "unsafe". samples: the engine that was timed and its raw timings.
    seconds: what judging took. predicted: the class of each test image; f1_draws and those of the parts: what F1 would
    have been with other images of the kind (packed: `judge.bootstrap`); None of an older verdict.
    """

    entry: str
    model_sha256: str
    size_bytes: int
    f1: float
    f1_public: float
    f1_private: float
    ratio: float
    ratio_low: float
    ratio_high: float
    latency_ms: float
    latency_low_ms: float
    latency_high_ms: float
    macs: int
    points: float | None
    points_public: float | None
    points_private: float | None
    competition: str
    competition_digest: str
    formula: str
    agreement: float
    checks: dict[str, dict[str, Any]]
    sandbox: str
    samples: dict[str, Any]
    machine: dict[str, Any]
    created: str
    seconds: float
    predicted: str | None = None
    f1_draws: str | None = None
    f1_public_draws: str | None = None
    f1_private_draws: str | None = None

    @classmethod
    def of(cls, whole: Result, public: Result, private: Result, **rest: Any) -> Verdict:
        """Make a verdict of what was measured on all test images, the public and the private ones.

        rest: the other fields.
        """
        cost = whole.cost
        return cls(
            f1=whole.f1, f1_public=public.f1, f1_private=private.f1,
            points=whole.points, points_public=public.points, points_private=private.points,
            ratio=cost.ratio, ratio_low=cost.ratio_low, ratio_high=cost.ratio_high,
            latency_ms=cost.latency_ms, latency_low_ms=cost.latency_low_ms, latency_high_ms=cost.latency_high_ms,
            macs=cost.macs, **rest,
        )  # fmt: skip

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, raw: dict[str, Any]) -> Verdict:
        """Rebuild from plain JSON values."""
        return cls(**raw)


@dataclass(frozen=True)
class Session:
    """What the judge found when it timed an entry once more: its time alone, for predictions and F1 stay.

    ratio, latency_ms: of this session, with their 95 % intervals. checks: the figures of each audit of time. samples,
    machine, created, seconds: as a `Verdict`'s.
    """

    ratio: float
    ratio_low: float
    ratio_high: float
    latency_ms: float
    latency_low_ms: float
    latency_high_ms: float
    checks: dict[str, dict[str, Any]]
    samples: dict[str, Any]
    machine: dict[str, Any]
    created: str
    seconds: float

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, raw: dict[str, Any]) -> Session:
        """Rebuild from plain JSON values."""
        return cls(**raw)


def table(checks: Mapping[str, Mapping[str, Any]]) -> Table:
    """Draw the figures of each check for a terminal; an entry that fails one has no verdict."""
    drawn = Table("check", "figures", title="audit: all passed")
    for name, figures in checks.items():
        cells = (
            f"{key} {value:.4g}" if isinstance(value, float) else f"{key} {value}" for key, value in figures.items()
        )
        drawn.add_row(name, ", ".join(cells))
    return drawn
