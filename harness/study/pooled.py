"""What a study's trials cost by all measurements of their networks: Optuna's finished trials never change.

So what was pooled stands with the study, one attribute a timing, and whoever ranks trials reads them through here.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import optuna
from optuna.trial import FrozenTrial

from harness.record.result import Cost, Result
from harness.rules.formulas import scored
from harness.search.attributes import COST, RESULT, result_of
from harness.study.definition import Definition
from harness.study.objective import OBJECTIVES

TIMED = "timed "
"""How the names of such attributes of a study begin; the timing follows."""


def note(study: optuna.Study, cost: Cost) -> None:
    """Write what a network costs by all measurements so far, in the transaction of this thread."""
    study._storage.set_study_user_attr(study._study_id, f"{TIMED}{cost.timing}", cost.to_dict())


def with_pooled(study: optuna.Study, trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    """Return a study's trials with what they cost, and are worth, by all measurements of their networks.

    Trials of one network cost the same: what is known by the most measurements holds for all of them. Samplers still
    see the values of before, as a finished trial's can't change.
    """
    attributes = study.user_attrs
    costs = _costs(attributes, trials)
    if not costs:
        return list(trials)
    definition = Definition.from_dict(attributes["definition"])
    return [_with(t, costs[name], definition) if (name := _timing(t)) in costs else t for t in trials]


def _costs(attributes: Mapping[str, Any], trials: Iterable[FrozenTrial]) -> dict[str, Cost]:
    """Return what was timed more than once, by timing."""
    noted = [raw for name, raw in attributes.items() if name.startswith(TIMED)]
    raws = [*noted, *(t.user_attrs[RESULT]["cost"] for t in trials if _timing(t))]
    found: dict[str, Cost] = {}
    for raw in raws:
        name, sessions = raw["timing"], raw["sessions"]
        if sessions > (found[name].sessions if name in found else 1):
            found[name] = Cost.from_dict(raw)
    return found


def _timing(trial: FrozenTrial) -> str:
    """Return the timing of a finished trial's network; "" of one without, or of before there were names."""
    return trial.user_attrs.get(RESULT, {}).get("cost", {}).get("timing", "")


def _with(trial: FrozenTrial, cost: Cost, definition: Definition) -> FrozenTrial:
    """Return a finished trial as if its network had been timed so at once."""
    result = repriced(result_of(trial), cost, definition)
    changed = copy.copy(trial)
    changed.user_attrs = trial.user_attrs | {RESULT: result.to_dict(), COST: cost.to_dict()}
    changed.values = list(OBJECTIVES[definition.objective].values(result))
    return changed


def repriced(result: Result, cost: Cost, definition: Definition) -> Result:
    """Return a result at another cost, with the points of that."""
    return replace(result, cost=cost, points=scored(definition.rules(), cost, result.f1))
