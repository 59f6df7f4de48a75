"""The median pruner decides as Optuna's own, on what all trials are heading for at one moment."""

from __future__ import annotations

from statistics import median

import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_gate import cost

from harness.record.result import Cost, Result
from harness.search.forecast import forecast
from harness.search.gate import Known
from harness.search.pruning import ENOUGH, PRUNERS, below_median

RUNGS = st.dictionaries(st.integers(1, 3), st.sampled_from([0.1, 0.2, 0.3, 0.4, 0.5]), max_size=3)
ONE = cost(1.0)


def finished(number: int, rungs: dict[int, float], f1: float = 0.5, its: Cost = ONE) -> Known:
    """A trial that went to its end."""
    return Known(number, Result(its, f1=f1, confusion=None, points=None, rungs=rungs))


def worth(sign: int, per_ratio: float = 0.0):
    """F1, up or down, and a price on time."""
    return lambda its, f1: sign * (f1 - per_ratio * its.ratio)


def stops(lower: bool, others: list[dict[int, float]], mine: dict[int, float], f1: float = 0.5) -> bool:
    """Whether a trial with these rungs is stopped; all cost the same."""
    known = [finished(number, rungs, f1) for number, rungs in enumerate(others)]
    return below_median(worth(-1 if lower else 1), lower, ONE, mine, known) is not None


def optuna_stops(lower: bool, others: list[dict[int, float]], mine: dict[int, float], f1: float = 0.5) -> bool:
    """Whether Optuna's own would, if all trials had reported what they head for by what is known now."""
    known = [finished(number, rungs, f1) for number, rungs in enumerate(others)]
    sign = -1 if lower else 1

    def reports(rungs: dict[int, float]) -> dict[int, float]:
        return {epoch: sign * forecast(f1, epoch, known) for epoch, f1 in rungs.items()}

    study = optuna.create_study(direction="minimize" if lower else "maximize")
    study.add_trials([optuna.trial.create_trial(value=0.5, intermediate_values=reports(rungs)) for rungs in others])
    running = optuna.trial.TrialState.RUNNING
    trial = optuna.trial.create_trial(state=running, intermediate_values=reports(mine), params={}, distributions={})
    return optuna.pruners.MedianPruner(n_startup_trials=ENOUGH, n_warmup_steps=0).prune(study, trial)


@given(st.booleans(), st.lists(RUNGS, min_size=3, max_size=12), RUNGS.filter(bool))
def test_it_decides_as_optunas_own(lower: bool, others: list[dict[int, float]], mine: dict[int, float]) -> None:
    """For whatever the rungs are, of few trials or many, in either direction."""
    assert stops(lower, others, mine) == optuna_stops(lower, others, mine)


@pytest.mark.parametrize("lower", [True, False])
def test_the_worse_half_is_stopped(lower: bool) -> None:
    """The control of the test above: it has both answers to compare."""
    assert stops(lower, [{1: 0.4}] * ENOUGH, {1: 0.2}) and optuna_stops(lower, [{1: 0.4}] * ENOUGH, {1: 0.2})
    assert not stops(lower, [{1: 0.4}] * ENOUGH, {1: 0.4})
    assert not stops(lower, [{1: 0.4}] * (ENOUGH - 1), {1: 0.2})


def test_equal_trials_are_equal_though_the_gain_has_fallen_meanwhile() -> None:
    """Thirteen trials of F1 .45 at the rung; the early ones gained much by their end, and the median has since fallen.

    What each was heading for by what was known then, as the pruner once compared it, stops the fourteenth: the control.
    """
    ends = [0.75] * 4 + [0.5] * 9
    known = [finished(number, {4: 0.45}, f1) for number, f1 in enumerate(ends)]
    value = worth(1)
    then = [value(ONE, forecast(0.45, 4, known[:n])) for n in range(13)]
    now = value(ONE, forecast(0.45, 4, known))
    assert now < median(then)
    assert below_median(value, False, ONE, {4: 0.45}, known) is None
    assert below_median(value, False, ONE, {4: 0.44}, known) == (
        "heading for 0.4900 after 4 epochs, half of the finished trials for 0.5000 or better"
    )


def test_no_trial_is_stopped_for_the_noise_of_its_timing() -> None:
    """Its time reads 3 % longer than its equals', within the intervals; by the points alone it would be stopped."""
    value = worth(1, per_ratio=1.0)

    def known(low: float, high: float) -> list[Known]:
        return [finished(n, {4: 0.45}, 0.6, cost(1.0, low, high)) for n in range(ENOUGH)]

    assert below_median(value, False, cost(1.03, 0.95, 1.05), {4: 0.45}, known(0.98, 1.02)) is None
    assert below_median(value, False, cost(1.03), {4: 0.45}, known(1.0, 1.0))
    assert below_median(value, False, cost(1.2, 0.95, 1.05), {4: 0.45}, known(0.98, 1.02))


def test_none_lets_every_trial_go_on() -> None:
    """However bad it is."""
    known = [finished(n, {4: 0.9}, 0.9) for n in range(20)]
    assert PRUNERS["median"](worth(1), False, ONE, {4: 0.0}, known)
    assert PRUNERS["none"](worth(1), False, ONE, {4: 0.0}, known) is None
