"""One Optuna study in a SQL database, joined by any number of workers."""

from __future__ import annotations

import uuid
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import optuna
import sqlalchemy as sa
from optuna.exceptions import DuplicatedStudyError
from optuna.trial import FrozenTrial, TrialState

from harness import database
from harness.errors import HarnessError, pick, within
from harness.record import names
from harness.search.attributes import result_of
from harness.search.gate import Known
from harness.search.pruning import PRUNERS
from harness.seed import LAST_SEED
from harness.study import schema, slots, storage, timings
from harness.study.definition import Definition, Difference, listed
from harness.study.history import knowing
from harness.study.objective import OBJECTIVES
from harness.study.own_folder import MARK
from harness.study.pooled import with_pooled
from harness.study.storage import PATIENCE_S, JointStorage

LONGEST = 1_000_000
"""The most that a time or a count may be set to, in its own unit: what timers and databases take."""
FOLDERS = ("reference", "final", "score", "files", "db", "backup", "data")
"""Folders of `runs/` that are no study's."""
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
        for name, least in (("hours", 0), ("trial_s", 0), ("lease_s", 5)):
            within(getattr(self, name), least, LONGEST, f"study.{name}")
        self.deadline_at()
        within(self.trials, 1, LONGEST, "study.trials", whole=True)
        within(self.seed, 0, LAST_SEED, "study.seed", whole=True)
        names.check(self.name, "study.name", FOLDERS)

    def deadline_at(self) -> float | None:
        """Return the deadline in seconds since 1970; without a zone it is this machine's time.

        Raises:
            HarnessError: it is no date.
        """
        try:
            return datetime.fromisoformat(self.deadline).timestamp() if self.deadline else None
        except (ValueError, OverflowError):
            raise HarnessError(
                f"study.deadline={self.deadline}: allowed: a date and time", "write study.deadline=2026-12-24T18:00"
            ) from None


@dataclass(frozen=True)
class Shared:
    """An open study. engine: Optuna's own; our tables stand beside its. known: lists the finished trials.

    settings: what the study's trials share is as it was made with. here: where the data lay for whoever made it.
    patience_s: how long it waits for a database that is away.
    """

    optuna: optuna.Study
    engine: sa.Engine
    settings: Study
    definition: Definition
    url: str = field(repr=False)
    known: Callable[[], list[Known]] = field(repr=False)
    patience_s: float = PATIENCE_S
    here: dict[str, Any] = field(default_factory=dict)


class NoStudy(HarnessError):
    """There is no study of this name."""


def join(
    settings: Study, definition: Definition | None, url: str, seed: int, patience_s: float = PATIENCE_S,
    here: Mapping[str, Any] | None = None,
) -> Shared:  # fmt: skip
    """Create the study or join it; its definition is what the database has.

    definition: None joins what there is. here: where the data lie, kept with a study that is created.

    Raises:
        HarnessError: the database can't be reached, or the study is defined otherwise.
    """
    address = database.address(url)
    if address.get_backend_name() == "sqlite" and address.database in (None, "", ":memory:"):
        raise HarnessError(
            "storage.url: a SQLite database in memory can't be shared with the workers",
            "name a file: storage.url=sqlite:///runs/harness.db",
        )
    schema.check(url)  # before anything is written to it
    database.connect(url).dispose()  # says what is wrong with it, if anything is
    database.check_writable(url)
    direct = storage.opened(url, patience_s)
    if definition is not None:
        definition = definition.settled(settings)
        _create(settings.name, definition, direct, here or {})
    study = _found(settings.name, direct)
    stored = _definition(study)
    here = study.user_attrs.get("here", {})
    known = knowing(study, direct.engine, patience_s)
    shared = Shared(study, direct.engine, stored.applied(settings), stored, url, known, patience_s, here)
    refuse(settings.name, differences(shared, definition or stored))
    slots.open_slots(direct.engine, settings.name, settings.trials)
    timings.create(direct.engine)
    study.sampler = pick(SAMPLERS, shared.settings.sampler, "study.sampler")(seed)
    pick(PRUNERS, shared.settings.pruner, "study.pruner")
    return shared


def differences(there: Shared, definition: Definition) -> list[Difference]:
    """List the settings that somebody has otherwise than a study; that the data are the same ones is seen elsewhere.

    Raises:
        HarnessError: an earlier version made the study, and what it was made with isn't known.
    """
    name = there.settings.name
    if not there.definition.is_whole:
        raise HarnessError(
            f"study.name={name}: an earlier version of the harness made this study, and kept neither its seed nor its "
            "sampler, pruner, gate and precision: new trials might not be like its own",
            f"take another study.name; `train.py study={name} trial=NUMBER` and `python -m harness status` still read "
            "this one",
        )
    known = {"fingerprint": there.definition.data["fingerprint"]}
    return there.definition.differences(replace(definition, data=known | definition.data))


def refuse(name: str, differ: Sequence[Difference]) -> None:
    """Refuse to join a study with other settings.

    Raises:
        HarnessError: there are some; the message has them with both values.
    """
    if differ:
        raise HarnessError(
            f"study.name={name}: {listed(differ)}",
            "leave these settings out, which takes the study's, or take another study.name",
        )


def _create(name: str, definition: Definition, direct: JointStorage, here: Mapping[str, Any]) -> None:
    """Create the study with its definition, both or neither, unless it is there."""
    directions = OBJECTIVES[definition.objective].directions(definition.rules())
    with suppress(DuplicatedStudyError), direct.transaction():
        study = optuna.create_study(study_name=name, storage=direct, directions=directions)
        study.set_user_attr("definition", definition.to_dict())
        study.set_user_attr("here", dict(here))
        study.set_user_attr(MARK, uuid.uuid4().hex)


def load(name: str, url: str) -> Shared:
    """Open an existing study to read it; its database isn't changed, nor made.

    Raises:
        HarnessError: there is none of this name; the message lists those there are. Or another Optuna's, or another
            program's, is the database.
    """
    if not schema.check(url):
        raise _no_study(name, url, [])
    direct = storage.opened_to_read(url)
    study = _found(name, direct)
    definition, here = _definition(study), study.user_attrs.get("here", {})
    settings = Study(**definition.study)
    settings.name = name  # an earlier version let it be one that is refused today
    known = knowing(study, direct.engine, PATIENCE_S)
    return Shared(study, direct.engine, settings, definition, url, known, here=here)


def there_is(name: str, url: str) -> Shared | None:
    """Open a study to read it; None where there is none yet.

    Raises:
        HarnessError: the database can't be used, or the study isn't of this program.
    """
    try:
        return load(name, url)
    except NoStudy:
        return None


def _found(name: str, direct: JointStorage) -> optuna.Study:
    try:
        return optuna.load_study(study_name=name, storage=direct)
    except KeyError as e:
        raise _no_study(name, str(direct.url), optuna.get_all_study_names(direct)) from e


def _no_study(name: str, url: str, names: Sequence[str]) -> NoStudy:
    there = "there are" if database.is_there(url) else f"no such file, seen from {Path.cwd()}; there are"
    return NoStudy(
        f"study={name}: no such study in {database.shown(url)}: {there}: {', '.join(names) or 'none'}",
        "give one of these, another storage.url, or run `python tune.py` first",
    )


def _definition(study: optuna.Study) -> Definition:
    stored = study.user_attrs.get("definition")
    if stored is None:
        raise HarnessError(
            f"study={study.study_name}: not made by `python tune.py`: its trials don't say which network they trained",
            "look at it with Optuna's own programs; here, give a study that `tune.py` made, or another study.name",
        )
    return Definition.from_dict(stored)


def finished(study: optuna.Study) -> list[FrozenTrial]:
    """Return the complete trials, best first for a single objective, else by number.

    Each has what it costs, and is worth, by all measurements of its network. One that is known by now to be over the
    gate's limit of time stands behind those that aren't.
    """
    trials = with_pooled(study, study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)))
    if len(study.directions) > 1:
        return trials
    worst_last = study.direction == optuna.study.StudyDirection.MINIMIZE
    limit_ms = study.user_attrs.get("definition", {}).get("gate", {}).get("max_latency_ms", 0.0)

    def order(trial: FrozenTrial) -> tuple[bool, float]:
        too_slow = limit_ms > 0 and result_of(trial).cost.latency_low_ms > limit_ms
        return too_slow, trial.value if worst_last else -trial.value

    return sorted(trials, key=order)
