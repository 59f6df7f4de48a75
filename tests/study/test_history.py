"""A worker knows every finished trial, and looks for more only when there are more."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
import pytest
import sqlalchemy as sa
from cheap import opened, result

from harness.record.result import Result
from harness.study.storage import together
from harness.study.worker import work


def commits(engine: sa.Engine) -> list[Any]:
    """List the commits of an engine from here on."""
    seen: list[Any] = []
    sa.event.listen(engine, "commit", seen.append)
    return seen


def test_the_trials_of_another_worker_are_known(tmp_path: Path) -> None:
    """Each once, by number, as soon as its slot is settled; a pruned one is none."""
    url = f"sqlite:///{tmp_path}/x.db"
    mine, other = opened(url, 6), opened(url, 6)

    def run(trial: optuna.Trial, earlier: Any) -> Result:
        assert [k.number for k in mine.known()] == [n for n in range(trial.number) if n != 2]
        if trial.number == 2:
            raise optuna.TrialPruned("gate: too dear")
        return replace(result(trial), rungs={4: 0.5})

    assert work(other, run, lambda number: tmp_path / str(number)) == 6
    known = mine.known()
    assert [k.number for k in known] == [0, 1, 3, 4, 5]
    assert all(k.result.rungs == {4: 0.5} and k.result.points == 1 - k.result.f1 for k in known)


def test_nothing_new_costs_one_short_reading(tmp_path: Path) -> None:
    """A count, instead of all that every running trial holds."""
    shared = opened(f"sqlite:///{tmp_path}/x.db", 3)
    work(shared, lambda trial, earlier: result(trial), lambda number: tmp_path / str(number))
    shared.known()
    statements: list[str] = []
    sa.event.listen(shared.engine, "before_cursor_execute", lambda *a: statements.append(a[2]))
    assert len(shared.known()) == 3
    assert [s.split()[0] for s in statements] == ["BEGIN", "SELECT"] and "harness_slots" in statements[1]


def test_what_is_said_together_is_one_transaction(url: str) -> None:
    """And it reads as what is said one by one, which takes one transaction each (the control)."""
    shared = opened(url, 1)
    one, other = (shared.optuna.ask() for _ in range(2))

    def say(trial: optuna.Trial) -> None:
        for i in range(5):
            trial.suggest_float(f"x{i}", 0, 1)
            trial.set_user_attr(f"a{i}", i)
            trial.report(i, i)

    counted = commits(shared.engine)
    together(one, 60, lambda: say(one))
    assert len(counted) == 1
    say(other)
    assert len(counted) == 16
    together_, alone = shared.optuna.get_trials()
    assert len(together_.params) == 5 and together_.params == one.params
    assert (together_.user_attrs, together_.intermediate_values) == (alone.user_attrs, alone.intermediate_values)


def test_an_error_in_between_leaves_what_was_said_before(url: str) -> None:
    """A space that makes no candidate fails its trial, and the parameters show why; later trials work as ever."""
    shared = opened(url, 1)
    trial = shared.optuna.ask()

    def act() -> None:
        trial.suggest_float("x", 0, 1)
        raise ValueError("no candidate")

    with pytest.raises(ValueError, match="no candidate"):
        together(trial, 60, act)
    (stored,) = shared.optuna.get_trials()
    assert stored.params == trial.params
    trial.set_user_attr("later", 1)
    assert shared.optuna.get_trials()[0].user_attrs == {"later": 1}


def test_a_trial_that_was_taken_away_leaves_nothing(url: str) -> None:
    """Its holder stopped for so long that another failed it: neither figures nor result are written."""
    shared = opened(url, 1)
    trial = shared.optuna.ask()
    trial.suggest_float("x", 0, 1)
    shared.optuna.tell(trial.number, state=optuna.trial.TrialState.FAIL)
    with pytest.raises(optuna.exceptions.UpdateFinishedTrialError):
        together(trial, 60, lambda: trial.set_user_attr("figures", {}))
    (stored,) = shared.optuna.get_trials()
    assert stored.user_attrs == {} and stored.state == optuna.trial.TrialState.FAIL
    shared.optuna.ask().set_user_attr("next", 1)
    assert shared.optuna.get_trials()[1].user_attrs == {"next": 1}
