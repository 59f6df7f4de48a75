"""Where the budget and Optuna's trials change together: each function here is one transaction, tried until it is done.

Between any two of them a worker may die and nothing is out of step: a slot is leased if and only if its trial is
running, and done if and only if one trial of it has finished.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from itertools import count as counting
from pathlib import Path
from typing import Any, TypeVar

import optuna
import sqlalchemy as sa
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import FrozenTrial, TrialState, create_trial

from harness import database
from harness.search.attributes import PROGRESS, REFUSED
from harness.search.gate import Refused
from harness.study import pending_results, slots, timings
from harness.study.ending import INTERRUPTED
from harness.study.pending_results import Outcome
from harness.study.storage import step
from harness.study.study import Shared

T = TypeVar("T")
FINISHED = (TrialState.COMPLETE, TrialState.PRUNED)
COUNTED = "counted now"
LETTING_GO_S = 10.0
"""How long one who wants to stop waits for a database that is away."""


@dataclass(frozen=True)
class Turn:
    """A slot and the trial that uses it. earlier: number of the trial whose candidate it runs again, if any."""

    slot: slots.Slot
    trial: optuna.Trial
    earlier: int | None


def take(shared: Shared, owner: str, place: Callable[[int], Path]) -> Turn | None:
    """Take a slot and begin its trial; None when there is no slot to be had now.

    The trial that a dead worker left is closed. Where it left a result, that is counted; else its candidate is run
    again, unless three workers have died of it. place: the run folder of a trial.
    """
    while True:
        tries = counting()

        def act(connection: sa.Connection, tries: Any = tries) -> tuple[slots.Slot | None, int | None, Path | None]:
            if next(tries) and (ours := slots.held(connection, shared.settings.name, owner)):
                return *ours, None  # the commit that seemed to fail took effect
            return _taken(shared, connection, owner, place)

        slot, trial, recorded = _step(shared, act)
        if recorded is not None:
            pending_results.clear(recorded)
        if slot is None:
            return None
        if trial is not None:
            begun = _asked(shared, trial)
            return Turn(slot, begun, begun.user_attrs.get("retry_of"))


def _asked(shared: Shared, trial: int) -> optuna.Trial:
    """Return a running trial as `Study.ask` does, whose sampler looks at the other trials anew."""
    _look_anew(shared)
    return optuna.Trial(shared.optuna, trial)


def _look_anew(shared: Shared) -> None:
    """Have the sampler read the trials again: what it has read holds until `Study.ask` or `tell`, which we don't call.

    Without this, it would know for ever what it knew at its first trial.
    """
    shared.optuna._thread_local.cached_all_trials = None


def _taken(
    shared: Shared, connection: sa.Connection, owner: str, place: Callable[[int], Path]
) -> tuple[slots.Slot | None, int | None, Path | None]:
    """Claim a slot; return it with the trial that was begun in it, or with the folder whose result was counted."""
    settings, storage = shared.settings, shared.optuna._storage
    slot = slots.claim(connection, settings.name, owner, settings.lease_s, settings.trials)
    if slot is None:
        return None, None, None
    lost = None if slot.lost is None else storage.get_trial(slot.lost)
    if lost is not None and (counted := _counted_before(shared, connection, slot, lost, place)):
        return slot, None, counted
    if lost is not None:
        again = "" if slot.again else f", as {slots.TRIES - 1} before it: its candidate is set aside"
        _fail(shared, lost._trial_id, lost.user_attrs.get("reason", "its worker died") + again)
    if slot.given_up:
        return slot, None, None
    begun = _begin(shared, owner, slot, lost if slot.again else None)
    slots.attach(connection, slot, begun)
    return slot, begun, None


def _counted_before(
    shared: Shared, connection: sa.Connection, slot: slots.Slot, lost: FrozenTrial, place: Callable[[int], Path]
) -> Path | None:
    """Count the result of a trial whose worker died after computing it; return its folder, None if it has none."""
    folder = place(lost.number)
    if lost.state not in FINISHED:
        outcome = pending_results.read(folder)
        if outcome is None or outcome.trial != lost._trial_id:
            return None
        if lost.state.is_finished():
            slots.overrule(connection, slot, _copied(shared, lost, outcome))
            return folder
        _tell(shared, outcome)
    slots.overrule(connection, slot, lost._trial_id)
    return folder


def _begin(shared: Shared, owner: str, slot: slots.Slot, lost: FrozenTrial | None) -> int:
    """Begin a trial and return its id: with the candidate of a lost one if there is one, else one that waits, or a new.

    What a sampler and `enqueue_trial` have noted of a lost one (system_attrs) is part of its candidate.
    """
    storage, study = shared.optuna._storage, shared.optuna._study_id
    attributes: dict[str, Any] = {"worker": owner.partition("/")[0]}
    if lost is not None and (lost.params or lost.system_attrs):
        again = create_trial(
            state=TrialState.RUNNING, params=lost.params, distributions=lost.distributions,
            intermediate_values=lost.intermediate_values, user_attrs=attributes | {"retry_of": lost.number},
            system_attrs=lost.system_attrs,
        )  # fmt: skip
        return storage.create_new_trial(study, again)
    waiting = _dequeued(shared)
    if waiting is None:
        return storage.create_new_trial(study, create_trial(state=TrialState.RUNNING, user_attrs=attributes))
    for name, value in attributes.items():
        storage.set_trial_user_attr(waiting, name, value)
    return waiting


def _dequeued(shared: Shared) -> int | None:
    """Begin the first trial that `enqueue_trial` has left waiting; return its id, None where none waits."""
    storage, study = shared.optuna._storage, shared.optuna._study_id
    waiting = {"deepcopy": False, "states": (TrialState.WAITING,)}
    # Optuna's cache would read every running trial for this; it must know a trial that is written to, though
    if not getattr(storage, "_backend", storage).get_all_trials(study, **waiting):
        return None
    for trial in storage.get_all_trials(study, **waiting):
        with suppress(UpdateFinishedTrialError):  # somebody has failed it by hand
            if storage.set_trial_state_values(trial._trial_id, TrialState.RUNNING):  # False: another worker has it
                return trial._trial_id
    return None


def count(shared: Shared, slot: slots.Slot, outcome: Outcome) -> bool:
    """Tell how a trial ended and settle its slot; False, and nothing is written, if the lease is no longer ours."""

    def act(connection: sa.Connection) -> bool:
        settled = slots.settle(connection, slot)
        if settled:
            _tell(shared, outcome)
        return settled is not False

    try:
        return _step(shared, act)
    except UpdateFinishedTrialError:  # somebody failed it by hand
        return replay(shared, outcome) == COUNTED


def give_back(shared: Shared, turn: Turn, reason: str, failed: bool) -> bool:
    """Fail a trial and free its slot; False, and nothing is written, if the lease is no longer ours.

    One that didn't fail (it was interrupted) is gone on with by the slot's next holder.
    """

    def act(connection: sa.Connection) -> bool:
        ours = slots.release(connection, turn.slot, failed)
        if ours:
            _fail(shared, turn.trial._trial_id, reason)
        return ours

    return _step(shared, act)


def let_go(shared: Shared, owner: str, reason: str) -> None:
    """Give back, without a failure, whatever an owner holds; said, not raised, where the database is away."""

    def act(connection: sa.Connection) -> None:
        if held := slots.held(connection, shared.settings.name, owner):
            slots.release(connection, held[0], failed=False)
            shared.optuna._storage.set_trial_user_attr(held[1], INTERRUPTED, True)
            _fail(shared, held[1], reason)
        timings.let_go(connection, shared.settings.name, owner)

    try:
        step(shared.optuna, shared.engine, min(LETTING_GO_S, shared.patience_s), act)
    except database.Away as e:
        print(f"the slot could not be given back, so its lease must run out: {e.what}", flush=True)


def replace(shared: Shared, turn: Turn, owner: str, refused: Refused) -> Turn | None:
    """Close a trial whose candidate was refused and begin another in the same slot; None if the lease isn't ours.

    The refused one counts for nothing.
    """

    def act(connection: sa.Connection) -> int | None:
        row = slots.locked(connection, turn.slot.study, turn.slot.number)
        if not slots.renew(connection, turn.slot, shared.settings.lease_s):
            return None
        if row["trial"] != turn.trial._trial_id:
            return row["trial"]  # the commit that seemed to fail took effect
        _refuse(shared, turn.trial, refused)
        begun = _begin(shared, owner, turn.slot, None)
        slots.attach(connection, turn.slot, begun)
        return begun

    begun = _step(shared, act)
    return None if begun is None else Turn(turn.slot, _asked(shared, begun), None)


def replay(shared: Shared, outcome: Outcome) -> str:
    """Tell an outcome that was left on the disk; return in words what became of it.

    It counts, whoever holds its slot now, unless another trial has been counted for it.
    """
    storage, slot = shared.optuna._storage, slots.Slot(outcome.study, outcome.slot, outcome.token)

    def act(connection: sa.Connection) -> str:
        row, trial = slots.locked(connection, slot.study, slot.number), storage.get_trial(outcome.trial)
        if trial.state in FINISHED:
            return "was recorded before"
        if row["state"] == "done":
            return "another trial was counted in its place"
        if row["state"] == "leased" and row["trial"] not in (None, outcome.trial):
            _fail(shared, row["trial"], f"trial {trial.number}, whose candidate it ran again, has a result after all")
        number = outcome.trial
        if not trial.state.is_finished():
            _tell(shared, outcome)
        else:
            number = _copied(shared, trial, outcome)
        token = row["token"] + (row["token"] != outcome.token)
        slots.overrule(connection, slots.Slot(slot.study, slot.number, token), number)
        return COUNTED

    return _step(shared, act)


def note(shared: Shared, turn: Turn, progress: dict[str, Any]) -> None:
    """Keep how far a trial is, for people who look from other machines: tried once, for nothing depends on it.

    Raises:
        Away, SQLAlchemyError: not now.
        OptunaError: somebody has ended the trial.
    """
    storage, trial = shared.optuna._storage, turn.trial._trial_id
    step(shared.optuna, shared.engine, 0.0, lambda _: storage.set_trial_user_attr(trial, PROGRESS, progress))


def died(shared: Shared, worker: str, reason: str) -> None:
    """End the leases of a worker that is known to be dead, and keep the reason. worker: its name, host and process."""

    def act(connection: sa.Connection) -> None:
        for trial in slots.expire(connection, shared.settings.name, f"{worker}/"):
            if not shared.optuna._storage.get_trial(trial).state.is_finished():
                shared.optuna._storage.set_trial_user_attr(trial, "reason", reason)
        timings.expire(connection, shared.settings.name, f"{worker}/")

    _step(shared, act)


def counts(shared: Shared, trials: int | None = None) -> dict[str, int]:
    """Count the slots by state. trials: how many of the first; by default, the budget this worker joined with."""
    settings = shared.settings
    first = settings.trials if trials is None else trials
    return database.patiently(lambda: slots.counts(shared.engine, settings.name, first), shared.patience_s, shared.url)


def clock(shared: Shared) -> float:
    """Return the database's time, in seconds since 1970."""
    return _step(shared, slots.clock)


def _step(shared: Shared, act: Callable[[sa.Connection], T]) -> T:
    return step(shared.optuna, shared.engine, shared.patience_s, act)


def _tell(shared: Shared, outcome: Outcome) -> None:
    """Write an outcome to its trial, which is running."""
    storage = shared.optuna._storage
    for name, value in outcome.attributes.items():
        storage.set_trial_user_attr(outcome.trial, name, value)
    _end(shared, outcome.trial, TrialState[outcome.state], list(outcome.values) or None)


def _end(shared: Shared, trial: int, state: TrialState, values: list[float] | None = None) -> None:
    """End a running trial as `Study.tell` does: the sampler hears of it first, and what it notes is in our transaction.

    An attempt that is made again tells the sampler again.
    """
    _look_anew(shared)
    storage = shared.optuna._storage
    shared.optuna.sampler.after_trial(shared.optuna, storage.get_trial(trial), state, values)
    storage.set_trial_state_values(trial, state, values)


def _copied(shared: Shared, failed: FrozenTrial, outcome: Outcome) -> int:
    """Add a finished trial for one that was failed before its result was found; Optuna changes no finished trial."""
    attributes = {k: v for k, v in failed.user_attrs.items() if k not in ("reason", INTERRUPTED)}
    finished = create_trial(
        state=TrialState[outcome.state], values=list(outcome.values) or None, params=failed.params,
        distributions=failed.distributions, intermediate_values=failed.intermediate_values,
        user_attrs=attributes | outcome.attributes | {"result_of": failed.number},
    )  # fmt: skip
    return shared.optuna._storage.create_new_trial(shared.optuna._study_id, finished)


def _fail(shared: Shared, trial: int, reason: str) -> None:
    """Mark a trial as failed, with the reason, unless it has ended."""
    if shared.optuna._storage.get_trial(trial).state.is_finished():
        return
    shared.optuna._storage.set_trial_user_attr(trial, "reason", reason)
    _end(shared, trial, TrialState.FAIL)


def _refuse(shared: Shared, trial: optuna.Trial, refused: Refused) -> None:
    """Close a trial whose candidate isn't trained, unless it has ended, so that samplers learn the right thing of it.

    What is beyond a limit is pruned without a value, and infeasible: its like is to be kept away from. A duplicate
    fails, which samplers pass over: the candidate that it repeats may be the best there is.
    """
    storage, number = shared.optuna._storage, trial._trial_id
    if storage.get_trial(number).state.is_finished():
        return
    storage.set_trial_user_attr(number, REFUSED, refused.kind)
    if not refused.excess:
        _fail(shared, number, f"{refused}, replaced")
        return
    trial.set_constraint("gate", refused.excess)
    storage.set_trial_user_attr(number, "reason", f"{refused}, replaced")
    _end(shared, number, TrialState.PRUNED)
