"""Refuse a candidate before it trains: it is too dear, or can't win any more."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from harness.errors import within
from harness.record.result import Cost, Result
from harness.rules.competition import Competition
from harness.rules.formulas import better, figures, optimistic, points

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

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            within(value, 0, 1e18, f"gate.{name}")


@dataclass(frozen=True)
class Known:
    """A trial that went to its end earlier."""

    number: int
    result: Result


def refuse_dear(gate: Gate, **figures: float) -> None:
    """Refuse what exceeds a limit. figures: `macs`, `parameters`, or `latency_ms`, the lower end of its interval.

    Raises:
        Refused: it does; the message names the limit.
    """
    for name, value in figures.items():
        limit = getattr(gate, f"max_{name}")
        if limit and value > limit:
            raise Refused("too dear", f"gate: {name} {value:g} over the limit {limit:g}", value / limit - 1)


def refuse_hopeless(competition: Competition, cost: Cost, known: Sequence[Known]) -> None:
    """Refuse what could not beat the best finished trial even with F1 = 1.

    Both were timed with an error: the candidate may be as fast as its interval allows, and each other as slow.

    Raises:
        Refused: it couldn't; the message has both points.
    """
    if not known:
        return
    limit = optimistic(competition, figures(cost.fastest(), f1=1.0))
    floors = [points(competition, figures(k.result.cost.slowest(), k.result.f1)) for k in known]
    best = 0
    for i, floor in enumerate(floors):
        best = i if better(competition, floor, floors[best]) else best
    if not better(competition, limit, floors[best]):
        other = f"trial {known[best].number} has {floors[best]:.4f} at worst"
        why = f"gate: at best {limit:.4f} points at this latency, {other}"
        raise Refused("hopeless", why, max(abs(limit - floors[best]), 1e-9))
