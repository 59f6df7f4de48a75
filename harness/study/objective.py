"""What a study optimises: points, F1 alone, or F1 and time at once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from harness.record.result import Cost, Result
from harness.rules.competition import Competition
from harness.rules.formulas import direction, scored


@dataclass(frozen=True)
class Objective:
    """directions: of each value, as Optuna names them. values: what a trial's result is worth."""

    directions: Callable[[Competition], list[str]]
    values: Callable[[Result], tuple[float, ...]]


OBJECTIVES: dict[str, Objective] = {
    "points": Objective(
        lambda competition: ["minimize" if direction(competition) == "lower" else "maximize"], lambda r: (r.points,)
    ),
    "f1": Objective(lambda _: ["maximize"], lambda r: (r.f1,)),  # gate.max_latency_ms is the cap beside it
    "pareto": Objective(lambda _: ["maximize", "minimize"], lambda r: (r.f1, r.cost.ratio)),
}


def worth(objective: str, competition: Competition) -> Callable[[Cost, float], float]:
    """Return what an F1 at a cost is worth under an objective of one value."""
    values = OBJECTIVES[objective].values
    return lambda cost, f1: values(Result(cost, f1, confusion=None, points=scored(competition, cost, f1)))[0]
