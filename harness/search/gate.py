"""Refuse a trial before it trains: it is too dear, or can't win any more."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from harness.rules.competition import Competition
from harness.rules.formulas import Figures, better, optimistic


@dataclass
class Gate:
    """What no candidate may exceed; 0 for no limit."""

    max_macs: int = 0
    max_parameters: int = 0
    max_latency_ms: float = 0.0


@dataclass(frozen=True)
class Known:
    """A trial that finished earlier.

    rungs: its F1 after each epoch at which it was looked at. reports: the points it was heading for then.
    """

    number: int
    points: float | None
    f1: float | None = None
    rungs: Mapping[int, float] = field(default_factory=dict)
    reports: Mapping[int, float] = field(default_factory=dict)


def too_dear(gate: Gate, macs: int, parameters: int, latency_ms: float) -> str | None:
    """Say which limit a candidate exceeds."""
    figures = {"macs": macs, "parameters": parameters, "latency_ms": latency_ms}
    for name, value in figures.items():
        limit = getattr(gate, f"max_{name}")
        if limit and value > limit:
            return f"{name} {value:g} over the limit {limit:g}"
    return None


def hopeless(competition: Competition, figures: Figures, known: Sequence[Known]) -> str | None:
    """Say if even a perfect F1 could not beat the best trial at this latency."""
    scored = [k for k in known if k.points is not None]
    if not scored:
        return None
    best = scored[0]
    for trial in scored:
        best = trial if better(competition, trial.points, best.points) else best
    limit = optimistic(competition, figures)
    if better(competition, limit, best.points):
        return None
    return f"at best {limit:.4f} points at this latency, trial {best.number} has {best.points:.4f}"
