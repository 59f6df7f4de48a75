"""Optuna's tables and ours change together or not at all, and no two trials get one number."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from multiprocessing import get_context

import optuna
import pytest
import sqlalchemy as sa
from optuna.exceptions import DuplicatedStudyError
from optuna.study import StudyDirection
from optuna.trial import TrialState, create_trial

from harness.study import storage
from harness.study.storage import JointStorage, Undone, step, together

METADATA = sa.MetaData()
OURS = sa.Table("ours", METADATA, sa.Column("id", sa.Integer, primary_key=True))
PATIENCE_S = 5.0


@pytest.fixture
def opened(url: str) -> Iterator[JointStorage]:
    """A storage with a study, and a table of ours beside Optuna's."""
    made = storage.opened(url)
    METADATA.create_all(made.engine)
    made.create_new_study([StudyDirection.MINIMIZE], "s")
    yield made
    made.engine.dispose()


def study_of(opened: JointStorage) -> optuna.Study:
    """The study, with Optuna's cache before its storage."""
    return optuna.load_study(study_name="s", storage=opened, sampler=optuna.samplers.RandomSampler(0))


def rows(opened: JointStorage) -> int:
    """How many rows our table has."""
    with opened.engine.connect() as connection:
        return connection.scalar(sa.select(sa.func.count()).select_from(OURS))


def test_a_step_writes_both_tables_or_none(opened: JointStorage) -> None:
    """An error undoes all of it; the next trial may then get the same id, and has nothing of the first."""
    study = study_of(opened)

    def act(connection: sa.Connection, fails: bool) -> int:
        connection.execute(sa.insert(OURS))
        template = create_trial(state=TrialState.RUNNING, user_attrs={"ghost": 1} if fails else {})
        made = study._storage.create_new_trial(study._study_id, template)
        study._storage.set_trial_user_attr(made, "a", 1)
        if fails:
            raise ValueError
        return made

    with pytest.raises(ValueError):
        step(study, opened.engine, PATIENCE_S, lambda connection: act(connection, True))
    assert (rows(opened), opened.get_all_trials(study._study_id)) == (0, [])
    made = step(study, opened.engine, PATIENCE_S, lambda connection: act(connection, False))
    (trial,) = opened.get_all_trials(study._study_id)
    assert rows(opened) == 1
    assert (trial._trial_id, trial.number, trial.user_attrs) == (made, 0, {"a": 1})


def test_a_step_reads_what_it_has_written_and_nobody_else_does(opened: JointStorage) -> None:
    """All of a thread's calls go over the transaction's connection: a second one would wait for the first on SQLite."""
    study = study_of(opened)

    def act(_connection: sa.Connection) -> None:
        made = study._storage.create_new_trial(study._study_id)
        study._storage.set_trial_user_attr(made, "a", 1)
        assert study._storage.get_trial(made).user_attrs == {"a": 1}
        assert len(study.get_trials()) == 1
        if opened.engine.name != "sqlite":  # its other readers wait
            with opened.engine.connect() as other:
                assert other.scalar(sa.text("SELECT count(*) FROM trials")) == 0
        study._storage.set_trial_state_values(made, TrialState.COMPLETE, [1.0])
        with pytest.raises(optuna.exceptions.UpdateFinishedTrialError):
            study._storage.set_trial_user_attr(made, "a", 2)

    step(study, opened.engine, PATIENCE_S, act)
    (trial,) = opened.get_all_trials(study._study_id)
    assert (trial.state, trial.value, trial.user_attrs) == (TrialState.COMPLETE, 1.0, {"a": 1})


def test_what_optuna_has_undone_is_never_taken_for_done(opened: JointStorage) -> None:
    """Optuna rolls back where it swallows an error: who catches it must not go on as if all were written."""
    study = study_of(opened)

    def act(connection: sa.Connection) -> None:
        connection.execute(sa.insert(OURS))
        with pytest.raises(DuplicatedStudyError):
            opened.create_new_study([StudyDirection.MINIMIZE], "s")

    with pytest.raises(Undone):
        step(study, opened.engine, PATIENCE_S, act)
    assert rows(opened) == 0


def test_a_step_within_a_step_is_a_fault_of_ours(opened: JointStorage) -> None:
    """It would wait for itself on SQLite, and be a transaction of its own elsewhere."""
    study = study_of(opened)
    with pytest.raises(AssertionError, match="a step within a step"):
        step(study, opened.engine, PATIENCE_S, lambda _: step(study, opened.engine, PATIENCE_S, lambda _: None))


def test_what_a_trial_suggests_is_one_transaction(opened: JointStorage) -> None:
    """Optuna by itself makes one of each parameter and each attribute."""
    trial, begun = study_of(opened).ask(), []
    sa.event.listen(opened.engine, "begin", lambda _: begun.append(1))

    def act() -> float:
        for i in range(4):
            trial.suggest_float(f"x{i}", 0, 1)
        trial.set_user_attr("a", 1)
        return trial.params["x0"]

    assert together(trial, PATIENCE_S, act) == opened.get_trial(trial._trial_id).params["x0"]
    assert len(begun) <= 2  # and one reading


def test_what_came_before_a_trial_s_own_error_stays(opened: JointStorage) -> None:
    """It shows why the trial failed."""
    trial = study_of(opened).ask()

    def act() -> None:
        trial.suggest_float("x", 0, 1)
        raise ValueError("no such network")

    with pytest.raises(ValueError, match="no such network"):
        together(trial, PATIENCE_S, act)
    assert [*opened.get_trial(trial._trial_id).params] == ["x"]


def test_a_trial_s_error_that_optuna_raises_is_the_one_that_is_told(opened: JointStorage) -> None:
    """Though Optuna has rolled back for it, and what came before it with that: a name has one range a study."""
    study = study_of(opened)
    study.ask().suggest_float("x", 0, 1)
    trial = study.ask()
    with pytest.raises(ValueError, match="incompatible|[Cc]annot"):
        together(trial, PATIENCE_S, lambda: trial.suggest_categorical("x", ["a", "b"]))


@pytest.mark.parametrize("kind", ["postgres", "mariadb"])
def test_two_trials_never_get_one_number(kind: str, request: pytest.FixtureRequest) -> None:
    """Though a transaction had looked at the database before another created a trial: it had waited for its lock."""
    url = request.getfixturevalue(f"{kind}_url")
    one, other = storage.opened(url), storage.opened(url)
    study = one.create_new_study([StudyDirection.MINIMIZE], "s")
    with one.transaction() as connection:
        assert connection.scalar(sa.text("SELECT count(*) FROM trials")) == 0
        other.create_new_trial(study)
        mine = one.create_new_trial(study)
    assert sorted(t.number for t in other.get_all_trials(study)) == [0, 1]
    assert other.get_trial(mine).number == 1
    for opened in (one, other):
        opened.engine.dispose()


def test_a_server_s_transactions_see_what_others_have_committed(mariadb_url: str) -> None:
    """MySQL's own default keeps the first look."""
    opened = storage.opened(mariadb_url)
    with opened.transaction() as connection:
        assert connection.get_isolation_level() == "READ COMMITTED"
    opened.engine.dispose()


def _create(url: str, trials: int) -> None:
    opened = storage.opened(url)
    study = opened.get_study_id_from_name("s")
    for _ in range(trials):
        with opened.transaction():
            opened.create_new_trial(study)
    os.kill(os.getpid(), signal.SIGKILL)  # nothing waits for a polite end


def test_workers_that_begin_trials_at_once_get_each_its_number(opened: JointStorage, url: str) -> None:
    """Three processes, twenty trials each. Takes some seconds: processes that import optuna."""
    context = get_context("forkserver")
    context.set_forkserver_preload(["cheap"])
    workers = [context.Process(target=_create, args=(url, 20)) for _ in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
        assert worker.exitcode == -signal.SIGKILL
    study = opened.get_study_id_from_name("s")
    assert sorted(t.number for t in opened.get_all_trials(study)) == [*range(60)]
