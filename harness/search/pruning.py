"""Stop a trial that is heading for less than half of the finished ones reached."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from statistics import median

from harness.rules.competition import Competition
from harness.rules.formulas import Figures, better, direction, points
from harness.search.forecast import forecast
from harness.search.gate import Interval, Known

ENOUGH = 6  # finished trials before any is stopped


def below_median(
    competition: Competition, cost: Interval, rungs: Mapping[int, float], known: Sequence[Known]
) -> str | None:
    """Say so if even the best forecast of a trial is worse than the median of the finished ones' at its last rung.

    All are forecast now, by one function and of the same finished trials, each at its own cost: its own at the fast end
    of its interval, the others' at the slow end. rungs: the trial's F1, by epoch.

    Source: the rule is that of Golovin et al., Google Vizier, section 3.4, https://dl.acm.org/doi/10.1145/3097983.3098043
    """
    epoch = max(rungs)
    there = [k for k in known if epoch in k.rungs]
    if len(known) < ENOUGH or not there:
        return None

    def heading(cost: Figures, f1: float, epoch: int) -> float:
        return points(competition, replace(cost, f1=forecast(f1, epoch, known)))

    bar = median(heading(k.cost.slowest, k.rungs[epoch], epoch) for k in there)
    own = [heading(cost.fastest, f1, epoch) for epoch, f1 in rungs.items()]
    best = min(own) if direction(competition) == "lower" else max(own)
    if not better(competition, bar, best):
        return None
    return f"heading for {best:.4f} points after {epoch} epochs, half of the finished trials for {bar:.4f} or better"


Pruner = Callable[[Competition, Interval, Mapping[int, float], Sequence[Known]], str | None]
PRUNERS: dict[str, Pruner] = {"median": below_median, "none": lambda *_: None}
"""Each says why a trial is to be stopped at a rung; None lets it go on."""
