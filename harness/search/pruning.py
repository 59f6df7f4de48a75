"""Stop a trial that is heading for less than half of the finished ones reached."""

from __future__ import annotations

from collections.abc import Callable
from statistics import median

import optuna
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial

from harness.search.gate import Known

ENOUGH = 6  # finished trials before any is stopped


class Median(optuna.pruners.BasePruner):
    """Optuna's rule of the median, on what the worker knows: Optuna's own pruner reads the whole study at each step.

    Source: Golovin et al., Google Vizier, section 3.4, https://dl.acm.org/doi/10.1145/3097983.3098043
    """

    def __init__(self, known: Callable[[], list[Known]]) -> None:
        self.known = known

    def prune(self, study: optuna.Study, trial: FrozenTrial) -> bool:
        """Tell whether the best report so far is worse than the median of the others at the last step."""
        known, step = self.known(), trial.last_step
        there = [k.reports[step] for k in known if step in k.reports]
        if len(known) < ENOUGH or not there:
            return False
        mine = trial.intermediate_values.values()
        if study.direction == StudyDirection.MINIMIZE:
            return min(mine) > median(there)
        return max(mine) < median(there)
