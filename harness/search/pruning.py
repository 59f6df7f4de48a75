"""Stop a trial that is heading for less than half of the finished ones reached."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from statistics import median

from harness.record.result import Cost
from harness.search.forecast import forecast
from harness.search.gate import Known

ENOUGH = 6  # finished trials before any is stopped

Worth = Callable[[Cost, float], float]
"""What an F1 at a cost is worth: the study's objective."""


def below_median(
    worth: Worth, lower: bool, cost: Cost, rungs: Mapping[int, float], known: Sequence[Known]
) -> str | None:
    """Say so if even the best forecast of a trial is worse than the median of the finished ones' at its last rung.

    All are forecast now, by one function and of the same finished trials, each at its own cost: its own at the fast end
    of its interval, the others' at the slow end. lower: less is better. rungs: the trial's F1, by epoch.

    Source: the rule is that of Golovin et al., Google Vizier, section 3.4,
        https://dl.acm.org/doi/10.1145/3097983.3098043
    """
    epoch = max(rungs)
    others = [k.result for k in known if epoch in k.result.rungs]
    if len(known) < ENOUGH or not others:
        return None
    own = [worth(cost.fastest(), forecast(f1, at, known)) for at, f1 in rungs.items()]
    best = min(own) if lower else max(own)
    half = median(worth(other.cost.slowest(), forecast(other.rungs[epoch], epoch, known)) for other in others)
    if not (best > half if lower else best < half):
        return None
    return f"heading for {best:.4f} after {epoch} epochs, half of the finished trials for {half:.4f} or better"


Pruner = Callable[[Worth, bool, Cost, Mapping[int, float], Sequence[Known]], str | None]
PRUNERS: dict[str, Pruner] = {"median": below_median, "none": lambda *_: None}
"""Each says why a trial is to be stopped at a rung; None lets it go on."""
