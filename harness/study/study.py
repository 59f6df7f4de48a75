"""One Optuna study in a SQL database, joined by any number of workers."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import optuna
import sqlalchemy as sa
from optuna.trial import FrozenTrial, TrialState

from harness import database
from harness.errors import HarnessError, pick
from harness.rules.competition import Competition
from harness.search.gate import Known
from harness.search.pruning import PRUNERS
from harness.study import slots, storage
from harness.study.history import knowing
from harness.study.objective import OBJECTIVES
from harness.study.storage import PATIENCE_S

DUPLICATES = ("replace", "reuse")
# TPE's `group` (parameters of one branch are modelled together) is what a conditional space needs
warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
optuna.logging.set_verbosity(optuna.logging.WARNING)
SAMPLERS: dict[str, Callable[[int], optuna.samplers.BaseSampler]] = {
    "tpe": lambda seed: optuna.samplers.TPESampler(seed=seed, n_startup_trials=10, multivariate=True, group=True),
    "random": lambda seed: optuna.samplers.RandomSampler(seed=seed),
}


@dataclass
class Study:
    """What a team shares. trials: finished ones (pruned count, failed don't).

    lease_s: a worker silent for longer, and for half of it more, is taken for dead; another goes on with its trial.
    hours, deadline (2026-12-24T18:00): the study ends then, unfinished trials keep their checkpoint. trial_s: the most
    that one trial may take. duplicates: of a candidate that was tried before, reuse its result or replace it.
    """

    name: str = "digits"
    trials: int = 20
    objective: str = "points"
    sampler: str = "tpe"
    pruner: str = "median"
    seed: int = 0
    lease_s: float = 60.0
    hours: float = 0.0
    deadline: str = ""
    trial_s: float = 0.0
    duplicates: str = "replace"

    def __post_init__(self) -> None:
        pick(OBJECTIVES, self.objective, "study.objective")
        pick(PRUNERS, self.pruner, "study.pruner")
        pick(SAMPLERS, self.sampler, "study.sampler")
        pick(dict.fromkeys(DUPLICATES), self.duplicates, "study.duplicates")
        for name in ("hours", "trial_s"):
            if getattr(self, name) < 0:
                raise HarnessError(f"study.{name}={getattr(self, name)}: allowed: 0 (no limit) or more", "set it to 0")
        self.deadline_at()
        if self.trials < 1:
            raise HarnessError(f"study.trials={self.trials}: allowed: 1 or more", "set study.trials=20")
        if self.lease_s < 5:
            raise HarnessError(f"study.lease_s={self.lease_s}: allowed: 5 or more", "set study.lease_s=60")
        if not self.name or any(c in self.name for c in "/\\ '\"") or len(self.name) > 100:
            raise HarnessError(
                f"study.name={self.name!r}: allowed: up to 100 characters without blanks, quotes and slashes",
                "set study.name=my-study",
            )

    def deadline_at(self) -> float | None:
        """Return the deadline in seconds since 1970; without a zone it is this machine's time.

        Raises:
            HarnessError: it is no date.
        """
        try:
            return datetime.fromisoformat(self.deadline).timestamp() if self.deadline else None
        except ValueError:
            raise HarnessError(
                f"study.deadline={self.deadline}: allowed: a date and time", "write study.deadline=2026-12-24T18:00"
            ) from None


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
    """An open study. engine: Optuna's own; our tables stand beside its. known: lists the finished trials.

    patience_s: how long it waits for a database that is away.
    """

    optuna: optuna.Study
    engine: sa.Engine
    settings: Study
    definition: Definition
    url: str = field(repr=False)
    known: Callable[[], list[Known]] = field(repr=False)
    patience_s: float = PATIENCE_S


def join(settings: Study, definition: Definition, url: str, seed: int, patience_s: float = PATIENCE_S) -> Shared:
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
    directions = OBJECTIVES[settings.objective].directions(competition)
    direct = storage.opened(url, patience_s)
    engine = direct.engine
    with storage.alone(url):
        study = optuna.create_study(
            study_name=settings.name,
            storage=direct,
            directions=directions,
            sampler=SAMPLERS[settings.sampler](seed),
            load_if_exists=True,
        )
        stored = study.user_attrs.get("definition")
        if stored is None:
            study.set_user_attr("definition", definition.__dict__)
            stored = study.user_attrs["definition"]
        slots.open_slots(engine, settings.name, settings.trials)
    differ = Definition(**stored).differences(definition)
    if differ:
        raise HarnessError(
            f"study.name={settings.name}: this study has another {' and another '.join(differ)}",
            "take another study.name, or start this one with the settings it was created with",
        )
    known = knowing(study, engine, patience_s)
    return Shared(study, engine, settings, definition, url, known, patience_s)


def load(name: str, url: str) -> Shared:
    """Open an existing study to read it.

    Raises:
        HarnessError: there is none of this name; the message lists those there are.
    """
    database.connect(url).dispose()  # says what is wrong with it, if anything is
    direct = storage.opened(url)
    try:
        study = optuna.load_study(study_name=name, storage=direct)
    except KeyError as e:
        names = optuna.get_all_study_names(direct)
        raise HarnessError(
            f"study={name}: no such study in {database.shown(url)}; there are: {', '.join(names) or 'none'}",
            "give one of these, another storage.url, or run `python tune.py` first",
        ) from e
    if "definition" not in study.user_attrs:
        raise HarnessError(f"study={name}: not made by `python tune.py`", "give a study that was")
    definition = Definition(**study.user_attrs["definition"])
    settings = Study(name=name, objective=definition.objective)
    return Shared(study, direct.engine, settings, definition, url, knowing(study, direct.engine, PATIENCE_S))


def finished(study: optuna.Study) -> list[FrozenTrial]:
    """Return the complete trials, best first for a single objective, else by number."""
    trials = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    if len(study.directions) > 1:
        return trials
    worst_last = study.direction == optuna.study.StudyDirection.MINIMIZE
    return sorted(trials, key=lambda t: t.value if worst_last else -t.value)
