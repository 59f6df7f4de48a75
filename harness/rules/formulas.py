"""How F1 and time become points: one rule for the search, the judge and the board."""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from harness.errors import HarnessError, pick
from harness.record.result import Cost
from harness.rules.competition import Competition


@dataclass(frozen=True)
class Figures:
    """What is measured of one model.

    f1: macro, 0..1. ratio: time over the reference network's. latency_ms: of one image. macs: of one image.
    """

    f1: float
    ratio: float
    latency_ms: float
    macs: float


@dataclass(frozen=True)
class Formula:
    """A scoring rule: `score` looks at one entry, `board` needs all of them; one of the two is set.

    direction: "lower" or "higher" points are better.
    """

    direction: str
    score: Callable[[Figures, Competition], float] | None = None
    board: Callable[[Sequence[Figures], Competition], list[float]] | None = None


def boostcamp2021b(figures: Figures, competition: Competition) -> float:
    """Half the time ratio and a smooth step at the F1 target."""
    return 0.5 * figures.ratio / competition.time_base + 1 / (1 + math.exp(-20 * (competition.f1_target - figures.f1)))


def boostcamp2021a(figures: Figures, competition: Competition) -> float:
    """MACs over the base network's and what is missing from its F1; below F1 0.5 nothing counts."""
    missing = 1 - figures.f1 / competition.f1_base
    if figures.f1 < 0.5:
        missing = 1.0
    elif figures.f1 >= competition.f1_base:
        missing *= 0.5
    return figures.macs / competition.macs_base + missing


def f1_squared_fps(figures: Figures, competition: Competition) -> float:
    """F1 squared times frames a second; 0.0, the worst there is, below the floor."""
    return figures.f1**2 * 1000 / figures.latency_ms if figures.f1 >= competition.f1_floor else 0.0


def ranks(values: Sequence[float]) -> list[float]:
    """Rank from 1, the least first; equal values share the mean of their ranks."""
    order = sorted(values)
    return [(bisect_left(order, v) + 1 + bisect_right(order, v)) / 2 for v in values]


def rank_mean(entries: Sequence[Figures], competition: Competition) -> list[float]:
    """Mean of the rank by F1 and the rank by latency."""
    by_f1, by_time = ranks([-e.f1 for e in entries]), ranks([e.latency_ms for e in entries])
    return [(q + t) / 2 for q, t in zip(by_f1, by_time, strict=True)]


FORMULAS: dict[str, Formula] = {
    "boostcamp2021b": Formula("lower", score=boostcamp2021b),
    "boostcamp2021a": Formula("lower", score=boostcamp2021a),
    "f1_squared_fps": Formula("higher", score=f1_squared_fps),
    "rank_mean": Formula("lower", board=rank_mean),
}


def formula_of(competition: Competition) -> Formula:
    """Return the competition's formula.

    Raises:
        HarnessError: its name is unknown.
    """
    return pick(FORMULAS, competition.formula, "competition.formula")


def direction(competition: Competition) -> str:
    """Say which points are better: "lower" or "higher"."""
    return formula_of(competition).direction


def points(competition: Competition, figures: Figures) -> float:
    """Score one model.

    Raises:
        HarnessError: the formula ranks whole boards and has no points for a model alone.
    """
    score = formula_of(competition).score
    if score is None:
        alone = ", ".join(name for name, formula in FORMULAS.items() if formula.score)
        raise HarnessError(
            f"competition.formula: '{competition.formula}' scores a whole board, never a model alone",
            f"search with one of: {alone}; the standings rank by '{competition.formula}'",
        )
    return score(figures, competition)


def figures(cost: Cost, f1: float) -> Figures:
    """Return what the formulas take of a network's cost and F1: the one place where they are fed."""
    return Figures(f1=f1, ratio=cost.ratio, latency_ms=cost.latency_ms, macs=cost.macs)


def scored(competition: Competition, cost: Cost, f1: float) -> float | None:
    """Score an F1 at a network's cost; None where the formula ranks whole boards."""
    return points(competition, figures(cost, f1)) if formula_of(competition).score else None


def earned(competition: Competition, cost: Cost, f1: float) -> float:
    """Return the share, 0..1, that an F1 has earned of what the formula gives for F1 at this cost.

    Raises:
        HarnessError: the formula ranks whole boards.
    """
    none, mine, all_ = (points(competition, figures(cost, value)) for value in (0.0, f1, 1.0))
    return (mine - none) / (all_ - none) if all_ != none else 0.0


def points_of_board(competition: Competition, entries: Sequence[Figures]) -> list[float]:
    """Score every entry of a board."""
    board = formula_of(competition).board
    return board(entries, competition) if board else [points(competition, e) for e in entries]


def optimistic(competition: Competition, figures: Figures) -> float:
    """Score a model as if its F1 were 1: the best that its time and size can still reach."""
    return points(competition, replace(figures, f1=1.0))


def better(competition: Competition, a: float, b: float) -> bool:
    """Say whether points `a` beat points `b`; equal points don't."""
    return a < b if direction(competition) == "lower" else a > b
