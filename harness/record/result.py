"""What was measured of a network: by a trial, by the final training and by the judge."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any


@dataclass(frozen=True)
class Cost:
    """What a network costs to run, known before it is trained: weights don't matter for it.

    macs: multiply-accumulates of one image. parameters: stored numbers. latency_ms: of one
    image, on the machine that timed it. ratio: time over the reference network's. Both with their 95 % interval.
    runtime: the engine that was timed. sessions: how many measurements, minutes apart, the time is pooled of. timing:
    names the first of them, which a study's trials of one graph share; "" where nobody shares it.
    """

    macs: int
    parameters: int
    latency_ms: float
    latency_low_ms: float
    latency_high_ms: float
    ratio: float
    ratio_low: float
    ratio_high: float
    runtime: str
    sessions: int = 1
    timing: str = ""

    def fastest(self) -> Cost:
        """Return it at the lower end of its time's interval: the least that it may be in truth."""
        return replace(self, latency_ms=self.latency_low_ms, ratio=self.ratio_low)

    def slowest(self) -> Cost:
        """Return it at the upper end."""
        return replace(self, latency_ms=self.latency_high_ms, ratio=self.ratio_high)

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> Cost:
        """Rebuild from plain JSON values."""
        return cls(**raw)


@dataclass(frozen=True)
class Result:
    """What became of a network: its cost, how well it classifies, and what both are worth.

    f1: macro, 0..1, of the artefact on images that it hasn't learnt from; None where none were kept out.
    confusion: images by true class (row) and predicted class (column), C x C; None without f1. points: by the
    competition's formula; None where it scores whole boards, or without f1. rungs: the raw F1 on the rungs' images, by
    epochs trained. fidelity: how much was spent on it, `Proxy` as plain values; empty for all of the task.
    precision: layout and number format of the training. seconds: what training and measuring took.
    reused_from: number of the trial whose result this is, if the network was trained before.
    """

    cost: Cost
    f1: float | None
    confusion: tuple[tuple[int, ...], ...] | None
    points: float | None
    rungs: Mapping[int, float] = field(default_factory=dict)
    fidelity: Mapping[str, Any] = field(default_factory=dict)
    precision: Mapping[str, Any] = field(default_factory=dict)
    seconds: float = 0.0
    reused_from: int | None = None

    @property
    def images(self) -> int:
        """How many images f1 is of."""
        return sum(map(sum, self.confusion or ()))

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        counts = None if self.confusion is None else [list(row) for row in self.confusion]
        rungs = {str(epoch): f1 for epoch, f1 in self.rungs.items()}  # JSON makes keys text
        return asdict(self) | {"confusion": counts, "rungs": rungs}

    def figures(self) -> dict[str, Any]:
        """Return the figures that people look at, side by side: those of the cost, and what F1 and points came to."""
        cost = {name: value for name, value in self.cost.to_dict().items() if name != "timing"}
        return cost | {"f1": self.f1, "points": self.points, "seconds": self.seconds}

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> Result:
        """Rebuild from plain JSON values."""
        counts = raw["confusion"]
        return cls(**{
            **raw,
            "cost": Cost.from_dict(raw["cost"]),
            "confusion": None if counts is None else tuple(tuple(row) for row in counts),
            "rungs": {int(epoch): f1 for epoch, f1 in raw["rungs"].items()},
        })  # fmt: skip
