"""Optuna's storage as a team needs it: patient with its database, and in one transaction with our own tables."""

from __future__ import annotations

import contextlib
import copy
import functools
import threading
import time
from collections.abc import Callable, Iterator
from hashlib import sha256
from typing import Any, TypeVar

import optuna
import sqlalchemy as sa
from optuna.exceptions import OptunaError, TrialPruned
from optuna.storages import BaseStorage, RDBStorage
from sqlalchemy.exc import IntegrityError, OperationalError, ProgrammingError, SQLAlchemyError

from harness import database
from harness.host_lock import held

T = TypeVar("T")
PATIENCE_S = 300.0
"""How long a worker waits for a database that is away."""
_here = threading.local()  # .inside: this thread is within `step`, whose whole is tried again and not a part of it
CALLS = (
    "create_new_trial", "get_all_trials", "set_trial_param", "get_trial", "get_best_trial", "set_trial_state_values",
    "set_trial_user_attr", "set_trial_system_attr", "set_trial_intermediate_value", "get_study_id_from_name",
    "get_study_name_from_id", "get_study_directions", "get_study_user_attrs", "get_study_system_attrs",
    "set_study_user_attr", "set_study_system_attr", "get_trial_id_from_study_id_trial_number", "get_trial_system_attrs",
    "_create_new_trial", "_get_trials", "_set_trial_param", "_get_best_trial_id",
)  # fmt: skip
"""What a running study asks of its storage, Optuna's cache included; each call is safe to be made twice."""


class Undone(RuntimeError):
    """A call of Optuna's has rolled back the transaction that it was made in."""


class JointStorage(RDBStorage):
    """Optuna's storage, whose reads and writes can join one transaction with those of our own tables."""

    @contextlib.contextmanager
    def transaction(self) -> Iterator[sa.Connection]:
        """Let this thread's reads and writes join one transaction, which ends with the block; an error undoes it.

        Source: https://docs.sqlalchemy.org/en/20/orm/session_transaction.html (joining a session into an external
            transaction)
        """
        with self.engine.connect() as connection, connection.begin() as whole:
            self.scoped_session.remove()
            self.scoped_session(bind=connection)  # this thread's sessions, until they are removed
            try:
                yield connection
            finally:
                self.scoped_session.remove()
            if not whole.is_active:  # Optuna swallows some errors after it has rolled back, and all of ours with it
                raise Undone("a call of Optuna's undid the transaction that it was made in")


def patient(storage: BaseStorage, url: str, patience_s: float, where: str = "storage.url") -> Any:
    """Let each call of a storage be made again while the database is away, except within `step`.

    where: what it is called in messages.
    """

    def patiently(call: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(call)
        def again(*arguments: Any, **options: Any) -> Any:
            if getattr(_here, "inside", False):
                return call(*arguments, **options)
            return database.patiently(lambda: call(*arguments, **options), patience_s, url, where)

        return again

    for name in CALLS:
        if hasattr(storage, name):
            setattr(storage, name, patiently(getattr(storage, name)))
    storage.where = where  # type: ignore[attr-defined]
    return storage


def opened(url: str, patience_s: float = PATIENCE_S) -> JointStorage:
    """Open Optuna's storage and create its tables.

    Raises:
        HarnessError: the database can't be used.
    """
    with alone(url):
        return patient(_created(url), url, patience_s)


def opened_to_read(url: str) -> JointStorage:
    """Open Optuna's storage, whose tables are there, for reading alone: nothing is created or changed.

    Raises:
        HarnessError: the database can't be used.
    """
    target = database.without_tls(database.address(url)).render_as_string(hide_password=False)
    try:
        storage = JointStorage(
            target, database.reading_options(url), skip_compatibility_check=True, skip_table_creation=True
        )
    except (SQLAlchemyError, OptunaError) as e:
        raise database.unreachable(url, e) from None
    database.only_reads(storage.engine)
    return patient(storage, url, PATIENCE_S)


@contextlib.contextmanager
def alone(url: str) -> Iterator[None]:
    """Let one process a host create what is lacking: Optuna's own creation breaks when two do it at once.

    Whoever they connect as: each account of a host may have a user of the database of its own.
    """
    key = sha256(database.place(url).encode()).hexdigest()[:2]  # few locks for all databases: they stay behind
    with held(f"open-{key}"):
        yield


def _created(url: str) -> JointStorage:
    """Open the storage; another host may be creating its tables at this moment."""
    for attempt in range(5):
        try:
            target = database.without_tls(database.address(url)).render_as_string(hide_password=False)
            # a connection isn't tried before use: each call is made again where it was lost
            storage = JointStorage(target, database.options(url) | {"pool_pre_ping": False})
            database.careful(storage.engine)
            return storage
        except (IntegrityError, ProgrammingError, OperationalError) as e:
            if attempt == 4:
                raise database.unreachable(url, e) from None
            time.sleep(0.5 * 2**attempt)
        except (SQLAlchemyError, RuntimeError) as e:
            raise database.unreachable(url, e) from None
    raise AssertionError("unreachable")


def step(study: optuna.Study, engine: sa.Engine, patience_s: float, act: Callable[[sa.Connection], T]) -> T:
    """Do all that `act` writes, to Optuna's tables and to ours, in one transaction; again, while the database is away.

    `act` may be carried out more than once and, where a connection broke in a commit, after it had taken effect.

    Raises:
        Away: the database was away for longer than `patience_s`.
    """
    if getattr(_here, "inside", False):
        raise AssertionError("a step within a step")
    backend = getattr(study._storage, "_backend", None)

    def once() -> T:
        with backend.transaction() if isinstance(backend, JointStorage) else engine.begin() as connection:
            _here.inside = True
            try:
                return act(connection)
            finally:
                _here.inside = False

    return database.patiently(once, patience_s, engine.url, getattr(study._storage, "where", "storage.url"))


def together(trial: optuna.Trial, patience_s: float, act: Callable[[], T]) -> T:
    """Write what a trial suggests and notes in one transaction, where Optuna makes one of each.

    What was written before an error of `act`'s own stays: it shows why the trial failed.

    Raises:
        HarnessError: the database was away for longer than `patience_s`.
    """
    backend = getattr(trial.storage, "_backend", None)
    if not isinstance(backend, JointStorage):  # a study in memory
        return act()
    _ = trial.relative_params  # the sampler's long work comes first: inside, it would keep other workers waiting
    known, failure = trial._cached_frozen_trial, None

    def once(_connection: sa.Connection) -> T | None:
        nonlocal failure
        # what an attempt that was undone has suggested isn't in the database
        trial._cached_frozen_trial, failure = copy.deepcopy(known), None
        try:
            return act()
        except Exception as e:
            if (isinstance(e, OptunaError) and not isinstance(e, TrialPruned)) or database.passing(e):
                raise
            failure = e
            return None

    done = None
    try:
        done = step(trial.study, backend.engine, patience_s, once)
    except Undone:
        if failure is None:
            raise
    if failure is not None:
        raise failure
    return done
