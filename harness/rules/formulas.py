"""How F1 and time become points: one rule for the search, the judge and the board."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from harness.errors import HarnessError, pick
from harness.record.result import Cost
from harness.rules.competition import Competition


@dataclass(frozen=True)
class Figures:
    """What is measured of one model, or arrays of that.

    f1: macro, 0..1. ratio: time over the reference network's. macs: of one image.
    """

    f1: float | np.ndarray
    ratio: float | np.ndarray
    macs: float | np.ndarray


@dataclass(frozen=True)
class Formula:
    """A scoring rule: `score` looks at one entry, `board` needs all of them; one of the two is set.

    Both take arrays: `board` with the entries along the first axis. direction: "lower" or "higher" points are better.
    """

    direction: str
    score: Callable[[Figures, Competition], float | np.ndarray] | None = None
    board: Callable[[Figures, Competition], np.ndarray] | None = None


def boostcamp2021b(figures: Figures, competition: Competition) -> float | np.ndarray:
    """Half the time ratio and a smooth step at the F1 target."""
    return 0.5 * figures.ratio / competition.time_base + 1 / (1 + np.exp(-20 * (competition.f1_target - figures.f1)))


def boostcamp2021a(figures: Figures, competition: Competition) -> float | np.ndarray:
    """MACs over the base network's and what is missing from its F1; below F1 0.5 nothing counts."""
    missing = 1 - figures.f1 / competition.f1_base
    missing = np.where(figures.f1 >= competition.f1_base, 0.5 * missing, missing)
    return figures.macs / competition.macs_base + np.where(figures.f1 < 0.5, 1.0, missing)


def f1_squared_fps(figures: Figures, competition: Competition) -> float | np.ndarray:
    """F1 squared times frames a second; 0.0, the worst there is, below the floor.

    A frame takes the ratio times `reference_ms`.
    """
    fps = 1000 / (figures.ratio * competition.reference_ms)
    return np.where(figures.f1 >= competition.f1_floor, figures.f1**2 * fps, 0.0)


def ranks(values: np.ndarray) -> np.ndarray:
    """Rank along the first axis from 1, the least first; equal values share the mean of their ranks."""
    order = np.argsort(values, axis=0, kind="stable")
    ordered = np.take_along_axis(values, order, axis=0)
    place = np.broadcast_to(np.arange(len(values)).reshape(-1, *(1,) * (values.ndim - 1)), values.shape)
    differs = ordered[1:] != ordered[:-1]
    edge = np.ones_like(ordered[:1], dtype=bool)
    first = np.maximum.accumulate(np.where(np.concatenate([edge, differs]), place, 0), axis=0)
    backwards = np.where(np.concatenate([differs, edge]), place, len(values))[::-1]
    last = np.minimum.accumulate(backwards, axis=0)[::-1]
    found = np.empty(values.shape)
    np.put_along_axis(found, order, (first + last) / 2 + 1, axis=0)
    return found


def rank_mean(entries: Figures, competition: Competition) -> np.ndarray:
    """Mean of the rank by F1 and the rank by the time ratio."""
    return (ranks(-np.asarray(entries.f1)) + ranks(np.asarray(entries.ratio))) / 2


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
    return float(score(figures, competition))


def figures(cost: Cost, f1: float) -> Figures:
    """Return what the formulas take of a network's cost and F1: the one place where they are fed."""
    return Figures(f1=f1, ratio=cost.ratio, macs=cost.macs)


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
    columns = (np.array([getattr(e, name) for e in entries], dtype=float) for name in ("f1", "ratio", "macs"))
    return points_of_arrays(competition, Figures(*columns)).tolist()


def points_of_arrays(competition: Competition, entries: Figures) -> np.ndarray:
    """Score a board given as arrays, the entries along the first axis; along the others each is a board of its own."""
    formula = formula_of(competition)
    score = formula.board or formula.score
    return np.asarray(score(entries, competition), dtype=float)


def optimistic(competition: Competition, figures: Figures) -> float:
    """Score a model as if its F1 were 1: the best that its time and size can still reach."""
    return points(competition, replace(figures, f1=1.0))


def better(competition: Competition, a: float, b: float) -> bool:
    """Say whether points `a` beat points `b`; equal points don't."""
    return a < b if direction(competition) == "lower" else a > b
