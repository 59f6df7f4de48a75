"""One Optuna study in a SQL database, joined by any number of workers."""

from __future__ import annotations

import contextlib
import json
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

import optuna
import sqlalchemy as sa
from filelock import FileLock
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.exc import IntegrityError, OperationalError, ProgrammingError, SQLAlchemyError

from harness import database
from harness.errors import HarnessError, pick
from harness.measure.competition import Competition, direction
from harness.search import budget
from harness.search.gate import Known
from harness.search.known import knowing
from harness.search.prune import Median

OBJECTIVES = ("points", "pareto")
PRUNERS: dict[str, Callable[[Callable[[], list[Known]]], optuna.pruners.BasePruner]] = {
    "median": Median,
    "halving": lambda _: optuna.pruners.SuccessiveHalvingPruner(reduction_factor=3),
    "none": lambda _: optuna.pruners.NopPruner(),
}
# TPE's `group` (parameters of one branch are modelled together) is what a conditional space needs
warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
optuna.logging.set_verbosity(optuna.logging.WARNING)
SAMPLERS: dict[str, Callable[[int], optuna.samplers.BaseSampler]] = {
    "tpe": lambda seed: optuna.samplers.TPESampler(seed=seed, n_startup_trials=10, multivariate=True, group=True),
    "random": lambda seed: optuna.samplers.RandomSampler(seed=seed),
}


@dataclass
class Study:
    """What a team shares. trials: finished ones (pruned count, failed don't). lease_s: a worker silent for longer is
    taken for dead, and its trial is run again by another."""

    name: str = "digits"
    trials: int = 20
    objective: str = "points"
    sampler: str = "tpe"
    pruner: str = "median"
    seed: int = 0
    lease_s: float = 60.0

    def __post_init__(self) -> None:
        pick(dict.fromkeys(OBJECTIVES), self.objective, "study.objective")
        pick(PRUNERS, self.pruner, "study.pruner")
        pick(SAMPLERS, self.sampler, "study.sampler")
        if self.trials < 1:
            raise HarnessError(f"study.trials={self.trials}: allowed: 1 or more", "set study.trials=20")
        if self.lease_s < 5:
            raise HarnessError(f"study.lease_s={self.lease_s}: allowed: 5 or more", "set study.lease_s=60")
        if not self.name or any(c in self.name for c in "/\\ '\"") or len(self.name) > 100:
            raise HarnessError(
                f"study.name={self.name!r}: allowed: up to 100 characters without blanks, quotes and slashes",
                "set study.name=my-study",
            )


@dataclass(frozen=True)
class Definition:
    """What all trials of a study share; a worker that joins with another definition is refused."""

    data: dict[str, Any]
    space: dict[str, Any]
    proxy: dict[str, Any]
    competition: dict[str, Any]
    objective: str

    def differences(self, other: Definition) -> list[str]:
        """Name the parts that differ."""
        mine, theirs = (json.loads(json.dumps(d.__dict__)) for d in (self, other))
        # where the data lie may differ from machine to machine; what they are may not
        for part in (mine, theirs):
            part["data"] = {k: part["data"].get(k) for k in ("name", "fingerprint")}
        return [name for name in mine if mine[name] != theirs[name]]


@dataclass(frozen=True)
class Shared:
    """An open study. engine: Optuna's own; our tables stand beside its. known: lists the finished trials."""

    optuna: optuna.Study
    engine: sa.Engine
    settings: Study
    definition: Definition
    url: str = field(repr=False)
    known: Callable[[], list[Known]] = field(repr=False)


def join(settings: Study, definition: Definition, url: str, seed: int) -> Shared:
    """Create the study or join it.

    Raises:
        HarnessError: the database can't be reached, or the study is defined otherwise.
    """
    address = database.address(url)
    if address.get_backend_name() == "sqlite" and address.database in (None, "", ":memory:"):
        raise HarnessError(
            "storage.url: a SQLite database in memory can't be shared with the workers",
            "name a file: storage.url=sqlite:///runs/harness.db",
        )
    database.connect(url).dispose()  # says what is wrong with it, if anything is
    competition = Competition(**definition.competition)
    if settings.objective == "points":
        directions = ["minimize" if direction(competition) == "lower" else "maximize"]
    else:
        directions = ["maximize", "minimize"]
    with _opening(url):
        storage = _storage(url)
        study = optuna.create_study(
            study_name=settings.name,
            storage=storage,
            directions=directions,
            sampler=SAMPLERS[settings.sampler](seed),
            load_if_exists=True,
        )
        stored = study.user_attrs.get("definition")
        if stored is None:
            study.set_user_attr("definition", definition.__dict__)
            stored = study.user_attrs["definition"]
        budget.open_slots(storage.engine, settings.name, settings.trials)
    differ = Definition(**stored).differences(definition)
    if differ:
        raise HarnessError(
            f"study.name={settings.name}: this study has another {' and another '.join(differ)}",
            "take another study.name, or start this one with the settings it was created with",
        )
    known = knowing(study, storage.engine)
    study.pruner = PRUNERS[settings.pruner](known)
    return Shared(study, storage.engine, settings, definition, url, known)


def load(name: str, url: str) -> Shared:
    """Open an existing study to read it.

    Raises:
        HarnessError: there is none of this name; the message lists those there are.
    """
    database.connect(url).dispose()  # says what is wrong with it, if anything is
    with _opening(url):
        storage = _storage(url)
    try:
        study = optuna.load_study(study_name=name, storage=storage)
    except KeyError as e:
        names = optuna.get_all_study_names(storage)
        raise HarnessError(
            f"study={name}: no such study in {database.shown(url)}; there are: {', '.join(names) or 'none'}",
            "give one of these, another storage.url, or run `python tune.py` first",
        ) from e
    if "definition" not in study.user_attrs:
        raise HarnessError(f"study={name}: not made by `python tune.py`", "give a study that was")
    definition = Definition(**study.user_attrs["definition"])
    settings = Study(name=name, objective=definition.objective)
    return Shared(study, storage.engine, settings, definition, url, knowing(study, storage.engine))


@contextlib.contextmanager
def together(trial: optuna.Trial) -> Iterator[None]:
    """Write what a trial suggests, notes and reports inside in one transaction, where Optuna makes one of each.

    An error of the database undoes all of it; any other leaves what was written until then. Don't nest it.
    Source: https://docs.sqlalchemy.org/en/20/orm/session_transaction.html (joining a session into an external
        transaction)
    """
    storage = getattr(trial.storage, "_backend", None)
    if not isinstance(storage, optuna.storages.RDBStorage):  # a study in memory
        yield
        return
    _ = trial.relative_params  # the sampler's long work comes first: inside, it would keep other workers waiting
    with storage.engine.connect() as connection:
        transaction = connection.begin()
        storage.scoped_session.remove()
        storage.scoped_session(bind=connection)  # this thread's sessions, until they are removed
        try:
            yield
        finally:
            storage.scoped_session.remove()
            if transaction.is_active:
                transaction.commit()


@contextlib.contextmanager
def _opening(url: str) -> Iterator[None]:
    """Let one process a host create the tables: Optuna's own creation breaks when two do it at once."""
    key = sha256(url.encode()).hexdigest()[:16]
    with FileLock(Path(tempfile.gettempdir()) / f"harness-open-{key}.lock"):
        yield


def _storage(url: str) -> optuna.storages.RDBStorage:
    """Open Optuna's storage; another host may be creating its tables at this moment."""
    for attempt in range(5):
        try:
            storage = optuna.storages.RDBStorage(
                database.address(url).render_as_string(hide_password=False), engine_kwargs=database.options(url)
            )
            database.careful(storage.engine)
            return storage
        except (IntegrityError, ProgrammingError, OperationalError) as e:
            if attempt == 4:
                raise database.unreachable(url, e) from None
            time.sleep(0.5 * 2**attempt)
        except SQLAlchemyError as e:
            raise database.unreachable(url, e) from None
    raise AssertionError("unreachable")


def finished(study: optuna.Study) -> list[FrozenTrial]:
    """Return the complete trials, best first for a single objective, else by number."""
    trials = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    if len(study.directions) > 1:
        return trials
    worst_last = study.direction == optuna.study.StudyDirection.MINIMIZE
    return sorted(trials, key=lambda t: t.value if worst_last else -t.value)


def chosen(study: optuna.Study, which: str) -> FrozenTrial:
    """Return a finished trial by number, or the best one.

    Raises:
        HarnessError: there is no such finished trial.
    """
    trials = finished(study)
    if not trials:
        raise HarnessError(
            f"study={study.study_name}: no finished trial yet", "run `python tune.py` with this study.name first"
        )
    if which == "best":
        if len(study.directions) > 1:
            raise HarnessError(
                f"trial=best: study {study.study_name} has two objectives and so no single best",
                "choose a number from `python -m harness front study=...`",
            )
        return trials[0]
    numbers = {str(t.number): t for t in trials}
    if which not in numbers:
        listed = ", ".join(sorted(numbers, key=int))
        raise HarnessError(
            f"trial={which}: not a finished trial of {study.study_name}; finished: {listed}",
            "give trial=best or one of these numbers",
        )
    return numbers[which]
