"""Refuse a candidate before it trains: it is too dear, or can't win any more."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from harness.rules.competition import Competition
from harness.rules.formulas import Figures, better, optimistic, points

KINDS = ("too dear", "hopeless", "too big", "duplicate")
"""Why candidates are refused before training."""


class Refused(Exception):
    """A candidate isn't worth its training; the message says why.

    kind: one of `KINDS`. excess: how far it is beyond what is allowed, in whatever unit, above 0; 0 where nothing is
    wrong with its like, as with a duplicate.
    """

    def __init__(self, kind: str, why: str, excess: float = 0.0) -> None:
        super().__init__(why)
        self.kind, self.excess = kind, excess


@dataclass
class Gate:
    """What no candidate may exceed; 0 for no limit. max_latency_ms: for the lower end of the measured interval."""

    max_macs: int = 0
    max_parameters: int = 0
    max_latency_ms: float = 0.0


@dataclass(frozen=True)
class Interval:
    """What is measured of a network before it trains, F1 apart, at both ends of the interval of its time."""

    fastest: Figures
    slowest: Figures


@dataclass(frozen=True)
class Known:
    """A trial that finished earlier.

    rungs: its F1 after each epoch at which it was looked at.
    """

    number: int
    f1: float
    cost: Interval
    rungs: Mapping[int, float] = field(default_factory=dict)


def refuse_dear(gate: Gate, **figures: float) -> None:
    """Refuse what exceeds a limit. figures: `macs`, `parameters`, or `latency_ms`, the lower end of its interval.

    Raises:
        Refused: it does; the message names the limit.
    """
    for name, value in figures.items():
        limit = getattr(gate, f"max_{name}")
        if limit and value > limit:
            raise Refused("too dear", f"gate: {name} {value:g} over the limit {limit:g}", value / limit - 1)


def refuse_hopeless(competition: Competition, cost: Interval, known: Sequence[Known]) -> None:
    """Refuse what could not beat the best finished trial even with F1 = 1.

    Both were timed with an error: the candidate may be as fast as its interval allows, and each other as slow.

    Raises:
        Refused: it couldn't; the message has both points.
    """
    if not known:
        return
    limit = optimistic(competition, cost.fastest)
    best, floor = known[0], worst(competition, known[0])
    for trial in known[1:]:
        if better(competition, found := worst(competition, trial), floor):
            best, floor = trial, found
    if not better(competition, limit, floor):
        words = f"at best {limit:.4f} points at this latency, trial {best.number} has {floor:.4f} at worst"
        raise Refused("hopeless", f"gate: {words}", max(abs(limit - floor), 1e-9))


def worst(competition: Competition, trial: Known) -> float:
    """Score a finished trial at the slow end of its interval."""
    return points(competition, replace(trial.cost.slowest, f1=trial.f1))
