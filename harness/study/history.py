"""What a worker knows of the finished trials, read again only when there are more of them."""

from __future__ import annotations

from collections.abc import Callable

import optuna
import sqlalchemy as sa
from optuna.trial import TrialState

from harness import database
from harness.search.attributes import RESULT, result_of
from harness.search.gate import Known
from harness.study import slots
from harness.study.pooled import with_pooled

EVERY_SLOT = 2**31 - 1  # also those of a worker that joined with a larger budget


def knowing(study: optuna.Study, engine: sa.Engine, patience_s: float) -> Callable[[], list[Known]]:
    """Return what lists the finished trials, by number.

    Optuna reads all of every running trial to learn that nothing is new; a count of the settled slots says it sooner.
    Trials that were timed again meanwhile cost what all their measurements say.
    """
    found: dict[int, Known] = {}
    settled, name = -1, study.study_name

    def listed() -> list[Known]:
        nonlocal settled
        counts = database.patiently(lambda: slots.counts(engine, name, EVERY_SLOT), patience_s, engine.url)
        now = counts["done"]
        if now != settled:
            settled = now
            for trial in with_pooled(study, study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))):
                before, raw = found.get(trial.number), trial.user_attrs.get(RESULT, {})
                known = before and before.result.cost.sessions == raw["cost"].get("sessions", 1)
                if not known and (result := result_of(trial)):
                    found[trial.number] = Known(trial.number, result)
        return [found[number] for number in sorted(found)]

    return listed
