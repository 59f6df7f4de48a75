"""The median pruner decides as Optuna's own."""

from __future__ import annotations

import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.search.gate import Known
from harness.search.pruning import ENOUGH, Median

VALUES = st.dictionaries(st.integers(1, 3), st.sampled_from([0.1, 0.2, 0.3, 0.4, 0.5]), max_size=3)


def decisions(direction: str, others: list[dict[int, float]], mine: dict[int, float]) -> tuple[bool, bool]:
    """Ours, and Optuna's, on the same finished trials."""
    study = optuna.create_study(direction=direction)
    study.add_trials([optuna.trial.create_trial(value=0.5, intermediate_values=values) for values in others])
    known = [Known(number, 0.5, reports=values) for number, values in enumerate(others)]
    trial = optuna.trial.create_trial(
        state=optuna.trial.TrialState.RUNNING, intermediate_values=mine, params={}, distributions={}
    )
    theirs = optuna.pruners.MedianPruner(n_startup_trials=ENOUGH, n_warmup_steps=0)
    return Median(lambda: known).prune(study, trial), theirs.prune(study, trial)


@given(st.sampled_from(["minimize", "maximize"]), st.lists(VALUES, min_size=3, max_size=12), VALUES)
def test_it_decides_as_optunas_own(direction: str, others: list[dict[int, float]], mine: dict[int, float]) -> None:
    """For whatever was reported, by few trials or many, in either direction."""
    ours, theirs = decisions(direction, others, mine)
    assert ours == theirs


@pytest.mark.parametrize(("direction", "stopped"), [("minimize", True), ("maximize", False)])
def test_the_direction_counts(direction: str, stopped: bool) -> None:
    """The control of the test above: it has both answers to compare."""
    assert decisions(direction, [{1: 0.1}] * ENOUGH, {1: 0.5}) == (stopped, stopped)
    assert decisions(direction, [{1: 0.1}] * (ENOUGH - 1), {1: 0.5}) == (False, False)
