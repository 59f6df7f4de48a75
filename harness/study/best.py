"""Which trial of a study is best: by its objective, by F1, by F1 under a latency; and whether that is worth much."""

from __future__ import annotations

import math
from collections.abc import Sequence

import optuna
from optuna.trial import FrozenTrial

from harness.errors import HarnessError, nearest
from harness.record.result import Result
from harness.rules.competition import Competition
from harness.rules.formulas import earned
from harness.search.attributes import result_of
from harness.study.study import finished

UNDER = "best_under_ms"
NAMED = ("best", "best_f1", UNDER)
FLAT = 0.01
"""The share of what F1 can earn below which a trial's points are those of its time alone."""
SIGMAS = 2.0
"""How many standard errors of their difference one F1 must be above another to be clearly higher."""


def chosen(study: optuna.Study, which: str) -> FrozenTrial:
    """Return a finished trial: by number, or `best`, `best_f1` or `best_under_ms=MS` (the highest F1 up to a latency).

    Raises:
        HarnessError: there is no such finished trial.
    """
    trials = finished(study)
    if not trials:
        raise HarnessError(
            f"study={study.study_name}: no finished trial yet", "run `python tune.py` with this study.name first"
        )
    name, _, value = which.partition("=")
    if name == UNDER:
        return _best_f1(_under(trials, value, study.study_name))
    if which == "best_f1":
        return _best_f1(trials)
    if which == "best":
        if len(study.directions) > 1:
            raise HarnessError(
                f"trial=best: study {study.study_name} has two objectives and so no single best",
                "trial=best_f1, trial=best_under_ms=MS, or a number from `python -m harness front study=...`",
            )
        return trials[0]
    return _numbered(trials, which, study.study_name)


def _best_f1(trials: Sequence[FrozenTrial]) -> FrozenTrial:
    """Return the trial of the highest F1; of equal ones the fastest."""
    return min(trials, key=lambda t: (-result_of(t).f1, result_of(t).cost.ratio))


def _under(trials: Sequence[FrozenTrial], value: str, study: str) -> list[FrozenTrial]:
    """Return the trials whose latency, as it was measured, is at most so many ms."""
    try:
        cap = float(value)
    except ValueError:
        cap = math.nan
    if not 0 < cap < math.inf:
        raise HarnessError(f"trial={UNDER}={value}: allowed: a number of ms above 0", f"write trial={UNDER}=0.5")
    found = [t for t in trials if result_of(t).cost.latency_ms <= cap]
    if not found:
        fastest = min(trials, key=lambda t: result_of(t).cost.latency_ms)
        raise HarnessError(
            f"trial={UNDER}={value}: no finished trial of {study} is that fast; the fastest, trial {fastest.number}, "
            f"takes {result_of(fastest).cost.latency_ms:.6g} ms",
            "allow more ms, or search with gate.max_latency_ms and study.objective=f1",
        )
    return found


def _numbered(trials: Sequence[FrozenTrial], which: str, study: str) -> FrozenTrial:
    numbers = {str(t.number): t for t in trials}
    if which not in numbers:
        listed = ", ".join(sorted(numbers, key=int))
        close = "" if which.isdigit() else nearest(which, NAMED)
        raise HarnessError(
            f"trial={which}: not a finished trial of {study}; finished: {listed}",
            f"{close}give trial=best, trial=best_f1, trial={UNDER}=MS or one of these numbers",
        )
    return numbers[which]


def doubt(study: optuna.Study, competition: Competition) -> str | None:
    """Say that a study's best trial is the best whatever its F1; None where its points count it.

    So it is where its F1 has earned next to nothing of what the formula gives for F1, and another finished trial has a
    clearly higher one: far below the target the formula is flat, and the cheapest network wins.
    """
    trials = finished(study)
    if len(study.directions) > 1 or not trials:
        return None
    best, rival = trials[0], _best_f1(trials)
    mine, other = result_of(best), result_of(rival)
    if mine.points is None or earned(competition, mine.cost, mine.f1) >= FLAT or not _clearly_higher(other, mine):
        return None
    return (
        f"trial {best.number} is best whatever its F1: at {mine.f1:.4f} {competition.formula} hardly counts it, and "
        f"trial {rival.number} has F1 {other.f1:.4f} at {other.cost.latency_ms / mine.cost.latency_ms:.3g} "
        "times its latency; trial=best_f1 or trial=best_under_ms=MS chooses by F1"
    )


def _clearly_higher(one: Result, other: Result) -> bool:
    """Tell whether an F1 is above another by more than the images they are of let it vary, as a share of them would."""

    def variance(result: Result) -> float:
        return result.f1 * (1 - result.f1) / result.images if result.images else 0.0

    return one.f1 - other.f1 > SIGMAS * math.sqrt(variance(one) + variance(other))
