"""A worker: takes slots of the budget and runs a trial for each, until there are none."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import TrialState
from sqlalchemy.exc import SQLAlchemyError

from harness.errors import HarnessError
from harness.search import budget
from harness.search.gate import Known
from harness.search.known import EVERY_SLOT
from harness.search.study import Shared, together

RunTrial = Callable[[optuna.Trial, Callable[[], list[Known]]], dict[str, Any]]
"""Runs one trial and returns its figures; raises TrialPruned, or anything else for a failure."""
Run = Callable[[optuna.Trial], dict[str, Any]]


def name_of_this_worker() -> str:
    """Name this worker for people: host and process."""
    return f"{socket.gethostname()}-{os.getpid()}"


def work(shared: Shared, run_trial: RunTrial, error_folder: Callable[[int], Path]) -> int:
    """Run trials until the study's budget is finished; return how many this worker finished.

    A trial that fails gives its slot back with the reason; the worker goes on. Interrupted, it gives the slot back.
    """
    owner, finished = name_of_this_worker(), 0
    engine, settings = shared.engine, shared.settings
    while True:
        slot = budget.claim(engine, settings.name, owner, settings.lease_s, settings.trials)
        if slot is not None:
            finished += _use(shared, slot, owner, lambda trial: run_trial(trial, shared.known), error_folder)
            continue
        left = budget.counts(engine, settings.name, settings.trials)
        if not left["free"] and not left["leased"]:
            break
        time.sleep(min(2.0, settings.lease_s / 5))  # another worker's trial may fail, or its lease run out
    bury(shared)
    return finished


def _use(shared: Shared, slot: budget.Slot, owner: str, run: Run, error_folder: Callable[[int], Path]) -> int:
    """Run a trial in a slot; return 1 if it counts."""
    study, engine, trial = shared.optuna, shared.engine, None
    try:
        if slot.lost is not None and _was_told(study, slot.lost):
            budget.settle(engine, slot)  # killed between telling and settling: the result stands
            return 0
        if slot.lost is not None:
            fail(study, slot.lost, "its worker died")
        trial = study.ask()
        budget.attach(engine, slot, trial.number)
        trial.set_user_attr("worker", owner)
        with _beating(shared, slot):
            return _one(shared, slot, trial, run, error_folder)
    except KeyboardInterrupt:
        if trial is not None and _was_told(study, trial.number):
            budget.settle(engine, slot)
        else:
            if trial is not None:
                fail(study, trial.number, "interrupted")
            budget.release(engine, slot, failed=False)
        raise


def _one(shared: Shared, slot: budget.Slot, trial: optuna.Trial, run: Run, error_folder: Callable[[int], Path]) -> int:
    """Run one trial and tell how it ended; return 1 if it counts."""
    study, failure, attribute = shared.optuna, None, {}
    try:
        figures = run(trial)
        both = (figures["f1"], figures["ratio"])
        attribute = {"figures": figures}
        result = {"values": figures["points"] if shared.settings.objective == "points" else both}
    except optuna.TrialPruned as e:
        attribute, result = {"reason": str(e)}, {"state": TrialState.PRUNED}
    except Exception as e:  # whatever a candidate does to its trial must not end the worker; the reason is kept
        failure = e
    if not budget.renew(shared.engine, slot, shared.settings.lease_s):
        print(f"trial {trial.number}: the lease ran out, another worker has taken it up; dropped", flush=True)
        return 0
    if failure is not None:
        _failed(shared, slot, trial, failure, error_folder(trial.number))
        return 0
    # stopped right here for so long that its slot was taken: nothing of it is written
    with contextlib.suppress(UpdateFinishedTrialError), together(trial):
        for name, value in attribute.items():
            trial.set_user_attr(name, value)
        study.tell(trial, skip_if_finished=True, **result)
    # killed before this line, the next holder of the slot finds the result told
    return int(budget.settle(shared.engine, slot))


def _failed(shared: Shared, slot: budget.Slot, trial: optuna.Trial, e: Exception, folder: Path) -> None:
    """Keep a failed trial's traceback and give its slot back."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "error.txt").write_text("".join(traceback.format_exception(e)))
    fail(shared.optuna, trial.number, reason_of(e))
    budget.release(shared.engine, slot, failed=True)
    print(f"trial {trial.number} failed: {reason_of(e)} (see {folder / 'error.txt'})", flush=True)


def bury(shared: Shared) -> None:
    """Fail the trials that dead workers left: while no slot is leased, what still runs is run by nobody."""
    study, engine, name = shared.optuna, shared.engine, shared.settings.name
    for number in budget.abandoned(engine, name):
        fail(study, number, "its worker died, as two before it")
    running = study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
    if not budget.counts(engine, name, EVERY_SLOT)["leased"]:  # asked after `running`: the living have told by now
        for trial in running:
            fail(study, trial.number, "its worker died")


def _was_told(study: optuna.Study, number: int) -> bool:
    trial = next(t for t in study.get_trials(deepcopy=False) if t.number == number)
    return trial.state in (TrialState.COMPLETE, TrialState.PRUNED)


def fail(study: optuna.Study, number: int, reason: str) -> None:
    """Mark a trial as failed, with the reason."""
    trial_id = study._storage.get_trial_id_from_study_id_trial_number(study._study_id, number)
    with contextlib.suppress(UpdateFinishedTrialError):  # it has ended, or another worker has just said so
        study._storage.set_trial_user_attr(trial_id, "reason", reason)
        study.tell(number, state=TrialState.FAIL, skip_if_finished=True)


def reason_of(e: BaseException) -> str:
    """Say in one line why a trial failed."""
    text = (str(e).strip().splitlines() or [""])[0]
    if isinstance(e, MemoryError) or "not enough memory" in text or "out of memory" in text:
        return f"out of memory: {text}"
    return e.what if isinstance(e, HarnessError) else f"{type(e).__name__}: {text}"


@contextlib.contextmanager
def _beating(shared: Shared, slot: budget.Slot) -> Iterator[None]:
    """Renew the lease while a trial runs; a database that is away for a moment is asked again."""
    stop = threading.Event()

    def beat() -> None:
        while not stop.wait(shared.settings.lease_s / 4):
            try:
                if not budget.renew(shared.engine, slot, shared.settings.lease_s):
                    return
            except SQLAlchemyError as e:
                print(f"lease of slot {slot.number}: {reason_of(e)}; trying again", flush=True)

    thread = threading.Thread(target=beat, daemon=True, name="lease")
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
