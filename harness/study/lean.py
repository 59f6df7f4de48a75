"""Optuna's storage in a SQL database, with a plain statement where Optuna's own writes take several.

The tables, their meaning and all reading stay Optuna's; tests/study/test_lean.py holds both storages side by side.
Optuna reads a trial and its value before each write, through an object mapper. Here a write is a statement made once,
rows of one table that a transaction writes go to the database together when it ends or is read from, and a report by
itself is one round trip. With 64 workers and trials of a second that decides whether two cores are enough.
"""

from __future__ import annotations

import copy
import functools
import json
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from optuna import distributions
from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages import RDBStorage
from optuna.storages._rdb import models
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.dialects import mysql, postgresql, sqlite

STUDIES, TRIALS = models.StudyModel.__table__, models.TrialModel.__table__
PARAMS, VALUES = models.TrialParamModel.__table__, models.TrialValueModel.__table__
REPORTS, ATTRIBUTES = models.TrialIntermediateValueModel.__table__, models.TrialUserAttributeModel.__table__
SYSTEM = models.TrialSystemAttributeModel.__table__
INSERT = {"mysql": mysql.insert, "postgresql": postgresql.insert, "sqlite": sqlite.insert}
STATE = sa.select(TRIALS.c.state, TRIALS.c.number).where(TRIALS.c.trial_id == sa.bindparam("trial")).with_for_update()
STUDY = sa.select(STUDIES.c.study_id).where(STUDIES.c.study_id == sa.bindparam("study")).with_for_update()
COUNT = sa.select(sa.func.count(TRIALS.c.trial_id)).where(TRIALS.c.study_id == sa.bindparam("study"))
TRIAL = sa.insert(TRIALS)
END = sa.update(TRIALS).where(TRIALS.c.trial_id == sa.bindparam("trial"))


class Lean(RDBStorage):
    """Write trials in few statements, and all that a thread writes inside `transaction` in one transaction."""

    def __init__(self, url: str, engine_kwargs: dict[str, Any]) -> None:
        super().__init__(url, engine_kwargs=engine_kwargs)
        self._here = threading.local()
        single = {"isolation_level": "AUTOCOMMIT"} if self.engine.name == "postgresql" else {}
        self._single = self.engine.execution_options(**single)  # without the trips of BEGIN and COMMIT

    @contextmanager
    def transaction(self) -> Iterator[sa.Connection]:
        """Let this thread's reads and writes join one transaction, which ends with the block; an error undoes it.

        Source: https://docs.sqlalchemy.org/en/20/orm/session_transaction.html (joining a session into an external
            transaction)
        """
        with self.engine.connect() as connection, connection.begin():
            self.scoped_session.remove()
            self.scoped_session(bind=connection)  # this thread's sessions, until they are removed
            self._here.connection, self._here.running, self._here.new = connection, set(), {}
            self._here.rows = {}
            try:
                yield connection
                self._write()
            except BaseException:
                self._here.new = {}  # was undone: its id may come to be another trial's
                raise
            finally:
                self._here.connection, self._here.rows = None, {}
                self.scoped_session.remove()

    def _write(self) -> None:
        """Send the rows that this thread's transaction has gathered, those of one statement together."""
        rows = getattr(self._here, "rows", {})
        while rows:
            statement = next(iter(rows))
            self._here.connection.execute(statement, rows.pop(statement))

    @contextmanager
    def _connected(self, trial_id: int | None = None) -> Iterator[sa.Connection]:
        """Yield the connection of the thread's transaction, or of a new one, where a trial is known to be running."""
        connection = getattr(self._here, "connection", None)
        if connection is None:
            with self.engine.begin() as connection:
                self._check(connection, trial_id)
                yield connection
            return
        if trial_id not in self._here.running:  # once a transaction: the row is locked until its end
            self._check(connection, trial_id)
            self._here.running.add(trial_id)
        yield connection

    def _check(self, connection: sa.Connection, trial_id: int | None) -> None:
        if trial_id is None:
            return
        row = connection.execute(STATE, {"trial": trial_id}).one_or_none()
        if row is None:
            raise KeyError(f"no trial with id {trial_id}")
        if row.state.is_finished():  # check_trial_is_updatable reads it once more, by a second connection: SQLite waits
            raise UpdateFinishedTrialError(f"trial {row.number} has ended and can not be changed")

    def _create_new_trial(self, study_id: int, template_trial: FrozenTrial | None = None) -> FrozenTrial:
        """Create a trial; its number is how many there are, which the lock on the study keeps true."""
        trial = template_trial or FrozenTrial(
            number=-1, trial_id=-1, state=TrialState.RUNNING, value=None, datetime_start=datetime.now(),
            datetime_complete=None, params={}, distributions={}, user_attrs={}, system_attrs={}, intermediate_values={},
        )  # fmt: skip
        made = copy.deepcopy(trial)
        with self._connected() as connection:
            if connection.scalar(STUDY, {"study": study_id}) is None:
                raise KeyError(f"no study with id {study_id}")
            made.number = connection.scalar(COUNT, {"study": study_id})
            row = {
                "study_id": study_id, "number": made.number, "state": made.state,
                "datetime_start": _utc(made.datetime_start), "datetime_complete": _utc(made.datetime_complete),
            }  # fmt: skip
            made._trial_id = connection.execute(TRIAL, row).inserted_primary_key[0]
            self._fill(connection, made)
        if getattr(self._here, "connection", None) is not None:
            self._here.running.add(made._trial_id)
            self._here.new[made._trial_id] = made
        return made

    def _fill(self, connection: sa.Connection, trial: FrozenTrial) -> None:
        """Write what a new trial has from the beginning."""
        key = {"trial_id": trial._trial_id}
        params = [
            key | _param(name, d.to_internal_repr(trial.params[name]), d) for name, d in trial.distributions.items()
        ]
        users = [key | {"key": k, "value_json": json.dumps(v)} for k, v in trial.user_attrs.items()]
        system = [key | {"key": k, "value_json": json.dumps(v)} for k, v in trial.system_attrs.items()]
        reports = [key | _report(step, value) for step, value in trial.intermediate_values.items()]
        values = [key | _value(i, value) for i, value in enumerate(trial.values or ())]
        kinds = (PARAMS, params), (ATTRIBUTES, users), (SYSTEM, system), (REPORTS, reports), (VALUES, values)
        for table, rows in kinds:
            if rows:
                connection.execute(_insert(table, tuple(rows[0])), rows)

    def get_trial(self, trial_id: int) -> FrozenTrial:
        """Read a trial; that this thread has just made it, and nobody else knows of it, it remembers once."""
        made = getattr(self._here, "new", {}).pop(trial_id, None)
        if made is not None:
            return copy.deepcopy(made)
        self._write()
        return super().get_trial(trial_id)

    def _get_trials(self, *arguments: Any, **options: Any) -> list[FrozenTrial]:
        """Read trials, with what this thread has just written."""
        self._write()
        return super()._get_trials(*arguments, **options)

    def _set_trial_param(
        self, trial_id: int, param_name: str, param_value_internal: float,
        distribution: distributions.BaseDistribution, previous_distribution: distributions.BaseDistribution | None,
    ) -> None:  # fmt: skip
        with self._connected(trial_id) as connection:
            if previous_distribution is None:
                previous_distribution = self._distribution(connection, trial_id, param_name)
            if previous_distribution is not None:
                distributions.check_distribution_compatibility(previous_distribution, distribution)
            row = {"trial_id": trial_id} | _param(param_name, param_value_internal, distribution)
            # a parameter keeps its first value, as in Optuna's own storage
            self._put(connection, PARAMS, ("trial_id", "param_name"), row, keep=True)

    def _distribution(
        self, connection: sa.Connection, trial_id: int, name: str
    ) -> distributions.BaseDistribution | None:
        """Return the range that this parameter has in another trial of the study."""
        self._write()
        mine = sa.select(TRIALS.c.study_id).where(TRIALS.c.trial_id == trial_id).scalar_subquery()
        query = sa.select(PARAMS.c.distribution_json).join(TRIALS, TRIALS.c.trial_id == PARAMS.c.trial_id)
        found = connection.scalar(query.where((TRIALS.c.study_id == mine) & (PARAMS.c.param_name == name)).limit(1))
        return None if found is None else distributions.json_to_distribution(found)

    def set_trial_user_attr(self, trial_id: int, key: str, value: Any) -> None:
        """Note an attribute of a running trial."""
        row = {"trial_id": trial_id, "key": key, "value_json": json.dumps(value)}
        with self._connected(trial_id) as connection:
            self._put(connection, ATTRIBUTES, ("trial_id", "key"), row)

    def set_trial_intermediate_value(self, trial_id: int, step: int, intermediate_value: float) -> None:
        """Note a report of a running trial."""
        row = {"trial_id": trial_id} | _report(step, intermediate_value)
        key = ("trial_id", "step")
        if getattr(self._here, "connection", None) is None:  # one statement, which looks whether the trial runs
            report = _upsert(self.engine.name, REPORTS, key, tuple(row), running=True)
            with self._single.begin() as connection:
                if connection.execute(report, row).rowcount > 0:
                    return
        with self._connected(trial_id) as connection:
            self._put(connection, REPORTS, key, row)

    def set_trial_state_values(self, trial_id: int, state: TrialState, values: Sequence[float] | None = None) -> bool:
        """End a running trial, or begin a waiting one; False where another has begun it."""
        if not state.is_finished():
            return super().set_trial_state_values(trial_id, state, values)
        with self._connected(trial_id) as connection:
            for number, value in enumerate(values or ()):
                row = {"trial_id": trial_id} | _value(number, value)
                self._put(connection, VALUES, ("trial_id", "objective"), row)
            connection.execute(END, {"trial": trial_id, "state": state, "datetime_complete": _utc(datetime.now())})
        if getattr(self._here, "connection", None) is not None:
            self._here.running.discard(trial_id)
        return True

    def _put(
        self, connection: sa.Connection, table: sa.Table, key: tuple[str, ...], row: dict[str, Any], keep: bool = False
    ) -> None:
        """Insert a row, or overwrite the one of the same key (keep: don't); within a transaction, at its end."""
        statement = _upsert(self.engine.name, table, key, tuple(row), keep)
        if connection is getattr(self._here, "connection", None):
            self._here.rows.setdefault(statement, []).append(row)
        else:
            connection.execute(statement, row)


@functools.cache
def _insert(table: sa.Table, columns: tuple[str, ...]) -> sa.Insert:
    return sa.insert(table).values({name: sa.bindparam(name) for name in columns})


@functools.cache
def _upsert(
    dialect: str, table: sa.Table, key: tuple[str, ...], columns: tuple[str, ...], keep: bool = False,
    running: bool = False,
) -> sa.Insert:  # fmt: skip
    """Make the statement once. keep: what is there. running: only where the trial is."""
    insert = INSERT[dialect](table)
    if running:
        given = [sa.bindparam(name, type_=table.c[name].type).label(name) for name in columns]
        its = (TRIALS.c.trial_id == sa.bindparam("trial_id")) & (TRIALS.c.state == TrialState.RUNNING)
        insert = insert.from_select(columns, sa.select(*given).where(its)).execution_options(preserve_rowcount=True)
    else:
        insert = insert.values({name: sa.bindparam(name) for name in columns})
    rest = [name for name in columns if name not in key]
    if dialect == "mysql":
        same = {name: table.c[name] for name in key}  # IGNORE would hide other errors, too
        return insert.on_duplicate_key_update(same if keep else {name: insert.inserted[name] for name in rest})
    if keep:
        return insert.on_conflict_do_nothing(index_elements=key)
    return insert.on_conflict_do_update(index_elements=key, set_={name: insert.excluded[name] for name in rest})


def _param(name: str, value: float, distribution: distributions.BaseDistribution) -> dict[str, Any]:
    text = distributions.distribution_to_json(distribution)
    return {"param_name": name, "param_value": value, "distribution_json": text}


def _value(number: int, value: float) -> dict[str, Any]:
    stored, kind = models.TrialValueModel.value_to_stored_repr(value)
    return {"objective": number, "value": stored, "value_type": kind}


def _report(step: int, value: float) -> dict[str, Any]:
    stored, kind = models.TrialIntermediateValueModel.intermediate_value_to_stored_repr(value)
    return {"step": step, "intermediate_value": stored, "intermediate_value_type": kind}


def _utc(local: datetime | None) -> datetime | None:
    """Return the naive UTC that Optuna stores for a naive local time."""
    return None if local is None else local.astimezone(UTC).replace(tzinfo=None)
