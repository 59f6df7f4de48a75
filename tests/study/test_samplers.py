"""Any sampler of Optuna's works in our workers, and so do trials that somebody puts into the queue."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import Any

import optuna
import pytest
from cheap import COST, alone, check, ended, opened, result, start
from optuna.samplers import GridSampler, NSGAIISampler, QMCSampler, RandomSampler, TPESampler
from optuna.trial import FrozenTrial, TrialState

from harness.record.result import Result
from harness.study import ledger

GRID = {"x": [0.0, 0.25, 0.5], "block": ["conv", "ghost"]}


@pytest.fixture(params=["sqlite", "postgres"])
def two(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty database of two kinds."""
    return request.getfixturevalue("postgres_url") if request.param == "postgres" else f"sqlite:///{tmp_path}/x.db"


def point(trial: optuna.Trial) -> Result:
    """Draw a point of the grid."""
    found = result(trial)
    trial.suggest_categorical("block", GRID["block"])
    return found


def test_a_grid_is_walked_once_and_ends_the_work(two: str, tmp_path: Path) -> None:
    """Though the budget is larger: the sampler asks for the end when it has heard of the last point."""
    shared = opened(two, 20)
    shared.optuna.sampler = GridSampler(GRID, seed=0)
    assert alone(shared, tmp_path, point) == 6
    walked = [(t.params["x"], t.params["block"]) for t in shared.optuna.get_trials()]
    assert sorted(walked) == sorted(product(*GRID.values()))


def test_two_workers_share_a_grid(two: str, tmp_path: Path) -> None:
    """Each sampler sees in the database what the other has walked."""
    for number in range(2):
        shared = opened(two, 6)
        shared.optuna.sampler = GridSampler(GRID, seed=0)  # of one order, which a seed mixes
        shared.settings.trials = 3 * (number + 1)
        assert alone(shared, tmp_path, point) == 3
    assert len({(t.params["x"], t.params["block"]) for t in check(opened(two, 6), 6)}) == 6


def test_a_grid_s_point_is_gone_on_with_where_its_worker_stopped(two: str, tmp_path: Path) -> None:
    """It is the same point, and no other is walked twice for it. The sampler itself takes it for walked, and ends."""
    shared = opened(two, 6)
    shared.optuna.sampler = GridSampler(GRID, seed=0)

    def interrupted(trial: optuna.Trial) -> Result:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        alone(shared, tmp_path, interrupted)
    assert alone(shared, tmp_path, point) + alone(shared, tmp_path, point) == 6
    finished = [t for t in shared.optuna.get_trials() if t.state == TrialState.COMPLETE]
    assert len({(t.params["x"], t.params["block"]) for t in finished}) == 6


@pytest.mark.parametrize("sampler", [QMCSampler, TPESampler, NSGAIISampler])
def test_what_is_drawn_is_what_optuna_s_own_loop_draws(lite: str, tmp_path: Path, sampler: type) -> None:
    """A sampler that learns must see what has finished since it last looked; QMC keeps its place in the database."""
    more = {"population_size": 10} if sampler is NSGAIISampler else {}
    shared, own = opened(lite, 25), optuna.create_study()
    for study in (shared.optuna, own):
        study.sampler = sampler(seed=0, **more)

    def bowl(trial: optuna.Trial) -> float:
        return (trial.suggest_float("x", 0, 1) - 0.3) ** 2 + trial.suggest_float("y", 0, 1)

    alone(shared, tmp_path, lambda trial: Result(COST, f1=0.5, confusion=None, points=bowl(trial)))
    own.optimize(bowl, n_trials=25)
    assert [t.params for t in shared.optuna.get_trials()] == [t.params for t in own.trials]


class Listening(RandomSampler):
    """Notes what it hears of trials that end."""

    def __init__(self) -> None:
        super().__init__(seed=0)
        self.heard: list[tuple[int, str, Any, dict[str, Any]]] = []

    def after_trial(self, study: optuna.Study, trial: FrozenTrial, state: TrialState, values: Any) -> None:
        """Note it, here and in the trial, which is running until this is over."""
        assert trial.state == TrialState.RUNNING
        study._storage.set_trial_system_attr(trial._trial_id, "heard", state.name)
        self.heard.append((trial.number, state.name, values, trial.user_attrs))


def test_a_sampler_hears_of_each_trial_that_ends(two: str, tmp_path: Path) -> None:
    """Complete, pruned and failed, with its figures; what it notes is in the trial."""
    shared = opened(two, 2)
    shared.optuna.sampler = sampler = Listening()

    def run(trial: optuna.Trial) -> Result:
        found = result(trial)
        if trial.number == 0:
            raise ValueError("never")
        if trial.number == 1:
            raise optuna.TrialPruned("gate: too dear")
        return found

    alone(shared, tmp_path, run)
    trials = check(shared, 2)
    assert [(n, state, values) for n, state, values, _ in sampler.heard] == [
        (0, "FAIL", None),
        (1, "PRUNED", None),
        (2, "COMPLETE", trials[2].values),
    ]
    assert sampler.heard[2][3]["result"] == trials[2].user_attrs["result"]
    assert [t.system_attrs["heard"] for t in trials] == ["FAIL", "PRUNED", "COMPLETE"]


def test_trials_that_wait_are_run_first_and_within_the_budget(two: str, tmp_path: Path) -> None:
    """With the parameters that were given, by the numbers they were put in with."""
    shared = opened(two, 4)
    for x in (0.125, 0.375):
        shared.optuna.enqueue_trial({"x": x}, user_attrs={"from": "a person"})
    assert alone(opened(two, 4), tmp_path, result) == 4
    trials = check(shared, 4)
    assert [t.params["x"] for t in trials[:2]] == [0.125, 0.375]
    assert [t.user_attrs.get("from") for t in trials] == ["a person"] * 2 + [None] * 2
    assert all(t.user_attrs["worker"] for t in trials) and all(t.datetime_start for t in trials)


def test_a_trial_that_waits_is_taken_by_one_of_many_workers(two: str, tmp_path: Path) -> None:
    """Over 5 s where both cores are busy: four processes. Twelve wait, thirteen are wanted."""
    given = [i / 100 for i in range(12)]
    shared = opened(two, 13)
    for x in given:
        shared.optuna.enqueue_trial({"x": x})
    workers = [start(two, 13, tmp_path) for _ in range(4)]
    assert [ended(w) for w in workers] == [0] * 4
    drawn = [t.params["x"] for t in check(shared, 13)]
    assert sorted(drawn)[:1] == [0.0] and sorted(x for x in drawn if x in given) == given


def test_a_trial_that_waited_keeps_its_parameters_when_its_worker_stops_before_it_has_drawn_any(
    two: str, tmp_path: Path
) -> None:
    """They are in what Optuna noted of it, not yet in its parameters."""
    shared = opened(two, 1)
    shared.optuna.enqueue_trial({"x": 0.125})

    def interrupted(trial: optuna.Trial) -> Result:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        alone(shared, tmp_path, interrupted)
    assert alone(shared, tmp_path, result) == 1
    first, again = check(shared, 1)
    assert again.params == {"x": 0.125} and again.user_attrs["retry_of"] == first.number


def test_a_waiting_trial_that_somebody_failed_is_left(two: str, tmp_path: Path) -> None:
    """Another is begun."""
    shared = opened(two, 1)
    shared.optuna.enqueue_trial({"x": 0.125})
    (waiting,) = shared.optuna.get_trials()
    shared.optuna._storage.set_trial_state_values(waiting._trial_id, TrialState.FAIL)
    shared.optuna._storage.get_all_trials = lambda *_, **__: [waiting]  # as read before it was failed
    assert ledger._dequeued(shared) is None


def test_who_takes_a_trial_second_gets_the_next(two: str, tmp_path: Path) -> None:
    """Both had read that it waits; the first one's word holds."""
    one, other = opened(two, 2), opened(two, 2)
    one.optuna.enqueue_trial({"x": 0.125})
    stale = other.optuna.get_trials()
    turn = ledger.take(one, "one/1", lambda number: tmp_path / str(number))
    assert turn.trial.number == 0
    other.optuna._storage.get_all_trials = lambda *_, **__: stale
    other.optuna._storage._backend.get_all_trials = lambda *_, **__: stale
    assert ledger._dequeued(other) is None
