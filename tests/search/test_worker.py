"""N trials are N, whatever happens to the workers."""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest
from cheap import ended, figures, opened, start, until
from optuna.trial import FrozenTrial, TrialState

from harness.errors import HarnessError
from harness.search import budget
from harness.search.study import Shared
from harness.search.worker import work
from harness.train.loop import Diverged

LEASE_S = 2.0


@pytest.fixture(params=["sqlite", "postgres", "mariadb"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty database of each kind."""
    return (
        f"sqlite:///{tmp_path}/x.db" if request.param == "sqlite" else request.getfixturevalue(f"{request.param}_url")
    )


@pytest.fixture
def lite(tmp_path: Path) -> str:
    """An empty SQLite database, where the kind of database makes no difference."""
    return f"sqlite:///{tmp_path}/x.db"


def alone(shared: Shared, folder: Path, run: Callable[[optuna.Trial], dict[str, Any]]) -> int:
    """Work in this process."""
    return work(shared, lambda trial, known: run(trial), lambda number: folder / str(number))


def check(shared: Shared, trials: int) -> list[FrozenTrial]:
    """Make sure that exactly `trials` trials finished, each counted once, and that none is left half-way."""
    found = shared.optuna.get_trials(deepcopy=False)
    states = Counter(t.state for t in found)
    counts = budget.counts(shared.engine, "cheap", trials)
    assert counts == {"free": 0, "leased": 0, "done": trials, "given_up": 0}, f"budget unfinished: {counts}"
    assert states[TrialState.COMPLETE] + states[TrialState.PRUNED] == trials
    assert not states[TrialState.RUNNING] and not states[TrialState.WAITING]
    assert all(t.user_attrs["reason"] for t in found if t.state == TrialState.FAIL)
    return found


def failed(trials: list[FrozenTrial]) -> list[str]:
    """The reasons of the trials that failed."""
    return [t.user_attrs["reason"] for t in trials if t.state == TrialState.FAIL]


def test_a_budget_of_n_is_n_with_four_workers(url: str, tmp_path: Path) -> None:
    """Over 5 s where both cores are busy: four processes. More than one has a share; none suggests what another did."""
    workers = [start(url, 13, tmp_path, behaviour="steady") for _ in range(4)]
    assert [ended(w) for w in workers] == [0] * 4
    trials = check(opened(url, 13), 13)
    assert len({t.user_attrs["worker"] for t in trials}) > 1
    assert len({t.params["x"] for t in trials}) == 13


def test_a_worker_that_joins_a_finished_study_runs_none(lite: str, tmp_path: Path) -> None:
    """And one that comes with a larger budget runs the difference, never more."""
    assert alone(opened(lite, 3), tmp_path, figures) == 3
    assert alone(opened(lite, 3), tmp_path, figures) == 0
    assert alone(opened(lite, 2), tmp_path, figures) == 0
    assert alone(opened(lite, 5), tmp_path, figures) == 2
    check(opened(lite, 5), 5)


def test_pruned_trials_count_and_keep_their_reason(lite: str, tmp_path: Path) -> None:
    """A trial that was stopped early has told what it had to tell."""

    def run(trial: optuna.Trial) -> dict[str, Any]:
        if trial.number % 2:
            raise optuna.TrialPruned("gate: too dear")
        return figures(trial)

    shared = opened(lite, 4)
    assert alone(shared, tmp_path, run) == 4
    trials = check(shared, 4)
    assert [t.user_attrs.get("reason") for t in trials] == [None, "gate: too dear"] * 2


def test_failed_trials_do_not_count_and_say_why(lite: str, tmp_path: Path) -> None:
    """The worker goes on after each, and the traceback lies in the trial's folder."""
    errors = [
        ValueError("channels must be above 0\nand more"),
        MemoryError("12 GB"),
        RuntimeError("[enforce fail] DefaultCPUAllocator: not enough memory: you tried to allocate 9 bytes"),
        Diverged("loss is nan in epoch 1, step 2"),
        HarnessError("model: no stages", "list one"),
    ]

    def run(trial: optuna.Trial) -> dict[str, Any]:
        if trial.number < len(errors):
            raise errors[trial.number]
        return figures(trial)

    shared = opened(lite, 5)
    assert alone(shared, tmp_path, run) == 5
    assert failed(check(shared, 5)) == [
        "ValueError: channels must be above 0",
        "out of memory: 12 GB",
        f"out of memory: {errors[2]}",
        "Diverged: loss is nan in epoch 1, step 2",
        "model: no stages",
    ]
    for number, error in enumerate(errors):
        assert str(error).splitlines()[0] in (tmp_path / str(number) / "error.txt").read_text()


def test_a_slot_is_tried_three_times(lite: str, tmp_path: Path) -> None:
    """What always fails ends the study instead of running for ever."""
    shared, tried = opened(lite, 2), []

    def run(trial: optuna.Trial) -> dict[str, Any]:
        tried.append(trial.number)
        raise ValueError("never")

    assert alone(shared, tmp_path, run) == 0
    assert len(tried) == 6
    assert budget.counts(shared.engine, "cheap", 2)["given_up"] == 2
    assert failed(shared.optuna.get_trials()) == ["ValueError: never"] * 6


def test_a_killed_worker_costs_no_trial(url: str, tmp_path: Path) -> None:
    """Over 5 s: a lease has to run out. The others finish the budget; nothing stays running."""
    victim = start(url, 5, tmp_path, LEASE_S, "hang")
    until((tmp_path / "inside").exists)
    others = [start(url, 5, tmp_path, LEASE_S) for _ in range(2)]
    victim.kill()
    assert [ended(w) for w in others] == [0, 0]
    assert failed(check(opened(url, 5), 5)) == ["its worker died"]


def test_the_check_notices_a_lease_that_never_ends(lite: str, tmp_path: Path) -> None:
    """The control of the test above, so over 5 s like it: without leases the dead worker's trial is never run again."""
    victim = start(lite, 5, tmp_path, 1e6, "hang")
    until((tmp_path / "inside").exists)
    other = start(lite, 5, tmp_path, 1e6)
    victim.kill()
    assert ended(other, 3 * LEASE_S) is None
    with pytest.raises(AssertionError, match="budget unfinished: .*'leased': 1, 'done': 4"):
        check(opened(lite, 5), 5)
    other.kill()
    other.join()


def test_a_worker_killed_between_telling_and_settling_is_counted_once(lite: str, tmp_path: Path) -> None:
    """Over 5 s: a lease has to run out. Its result stands and isn't run again."""
    assert ended(start(lite, 3, tmp_path, LEASE_S, dies_at="settle")) == -signal.SIGKILL
    (told,) = opened(lite, 3).optuna.get_trials()
    assert ended(start(lite, 3, tmp_path, LEASE_S)) == 0
    trials = check(opened(lite, 3), 3)
    assert len(trials) == 3 and trials[0].values == told.values


def test_a_worker_killed_before_its_trial_has_a_slot_leaves_nothing_running(lite: str, tmp_path: Path) -> None:
    """Over 5 s: a lease has to run out. No slot knows of the trial, and yet it ends as failed."""
    assert ended(start(lite, 2, tmp_path, LEASE_S, dies_at="attach")) == -signal.SIGKILL
    assert ended(start(lite, 2, tmp_path, LEASE_S)) == 0
    assert failed(check(opened(lite, 2), 2)) == ["its worker died"]


def test_a_trial_that_kills_three_workers_is_given_up(lite: str, tmp_path: Path) -> None:
    """Over 5 s: three leases have to run out. The fourth worker does what can be done and ends."""
    for _ in range(3):
        assert ended(start(lite, 1, tmp_path, LEASE_S / 2, "die")) == -signal.SIGKILL
    assert ended(start(lite, 1, tmp_path, LEASE_S / 2)) == 0
    shared = opened(lite, 1)
    assert budget.counts(shared.engine, "cheap", 1)["given_up"] == 1
    reasons = ["its worker died", "its worker died", "its worker died, as two before it"]
    assert failed(shared.optuna.get_trials()) == reasons


@pytest.mark.parametrize(
    ("kind", "behaviour"), [("lite", "hang"), ("postgres_url", "hang"), ("lite", "hang_then_prune")]
)
def test_a_worker_that_wakes_too_late_is_not_counted(
    kind: str, behaviour: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """Over 5 s: a lease has to run out. A laptop's lid was closed; another has run the slot's trial meanwhile."""
    url = request.getfixturevalue(kind)
    sleeper = start(url, 3, tmp_path, LEASE_S, behaviour)
    until((tmp_path / "inside").exists)
    os.kill(sleeper.pid, signal.SIGSTOP)
    try:
        assert ended(start(url, 3, tmp_path, LEASE_S)) == 0
        (tmp_path / "go").touch()
    finally:
        os.kill(sleeper.pid, signal.SIGCONT)
    assert ended(sleeper) == 0
    assert failed(check(opened(url, 3), 3)) == ["its worker died"]
    assert "another worker has taken it up; dropped" in (tmp_path / f"{behaviour}.txt").read_text()


def test_an_interrupted_worker_gives_its_slot_back(url: str, tmp_path: Path) -> None:
    """At once, and without counting a failure: another needn't wait for a lease."""
    stopped = start(url, 2, tmp_path, behaviour="hang")
    until((tmp_path / "inside").exists)
    os.kill(stopped.pid, signal.SIGINT)
    assert ended(stopped) == 1  # the interrupt goes on to whoever started the worker
    shared = opened(url, 2)
    assert budget.counts(shared.engine, "cheap", 2) == {"free": 2, "leased": 0, "done": 0, "given_up": 0}
    begin = time.monotonic()
    assert alone(shared, tmp_path, figures) == 2
    assert time.monotonic() - begin < 30  # the lease is 60 s
    assert failed(check(shared, 2)) == ["interrupted"]


@pytest.mark.parametrize("moment", ["attach", "settle"])
def test_an_interrupt_beside_the_trial_gives_the_slot_back_too(
    lite: str, moment: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C may come while the worker is in the database."""
    shared, real = opened(lite, 2), getattr(budget, moment)

    def interrupt(*_: Any) -> bool:
        monkeypatch.setattr(budget, moment, real)
        raise KeyboardInterrupt

    monkeypatch.setattr(budget, moment, interrupt)
    with pytest.raises(KeyboardInterrupt):
        alone(shared, tmp_path, figures)
    assert budget.counts(shared.engine, "cheap", 2)["leased"] == 0
    assert alone(shared, tmp_path, figures) == (2 if moment == "attach" else 1)
    assert failed(check(shared, 2)) == (["interrupted"] if moment == "attach" else [])
