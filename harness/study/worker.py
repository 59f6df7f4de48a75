"""A worker: takes slots of the budget and runs a trial for each, until there are none."""

from __future__ import annotations

import contextlib
import errno
import math
import os
import shutil
import signal
import socket
import threading
import time
import traceback
import uuid
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
from optuna.exceptions import OptunaError
from optuna.trial import TrialState
from sqlalchemy.exc import SQLAlchemyError

from harness import database
from harness.errors import HarnessError
from harness.record import files
from harness.record.journal import last_row
from harness.record.result import Result
from harness.search import attributes
from harness.search.duplicates import Duplicate
from harness.search.gate import Refused
from harness.study import ledger, pending_results, slots
from harness.study.ledger import Turn
from harness.study.objective import OBJECTIVES
from harness.study.pending_results import Outcome
from harness.study.study import Shared

RunTrial = Callable[[optuna.Trial, int | None], Result]
"""Runs one trial and returns its result; raises TrialPruned, Refused, or anything else for a failure. Its second
argument is the number of the trial whose candidate this one runs again, if any: its checkpoint may serve."""
Place = Callable[[int], Path]
"""Returns the run folder of a trial, by its number."""
Between = Callable[[str], object]
"""What a worker does between trials, and while it waits for others: seconds at most. Given its unique name."""
DRAWS = 30
"""How many refused candidates are replaced in one slot; the next one uses it up, for a space may hold nothing else."""
NOTE_S = 10.0
"""How long after one note of how far a trial is the next may be written: 64 workers then write six small ones a second
at most. By default it is a quarter of a lease, 15 s."""
HUNG_S = 30.0
"""How long after its time-out a trial may stay in code that Python can't interrupt before its process is ended."""
FULL = (errno.ENOSPC, errno.EDQUOT)
SPARE = 1 << 20  # bytes; torch says of a full disk only that a write failed


class DiskFull(HarnessError):
    """The run folder's disk is full: no fault of the trial's."""


class TimeOut(Exception):
    """A trial took longer than study.trial_s."""


class Deadline(BaseException):
    """The study's time is over; like KeyboardInterrupt, it is no failure of the trial."""


def name_of_worker(process: int | None = None) -> str:
    """Name a worker for people: host and process, this one by default."""
    return f"{socket.gethostname()}-{process or os.getpid()}"


def work(
    shared: Shared, run_trial: RunTrial, place: Place, deadline: float | None = None,
    between: Between = lambda owner: None,
) -> int:  # fmt: skip
    """Run trials until the study's budget is finished; return how many this worker finished.

    A trial that fails gives its slot back with the reason; the worker goes on. Interrupted, it gives the slot back, and
    the next holder goes on from the trial's checkpoint. deadline: in seconds since 1970, by the database's clock.

    Raises:
        HarnessError: the database was away for too long, or the disk is full; the same command goes on from there.
    """
    # the name alone isn't unique: containers have equal ones, and a process number comes back
    owner, finished = f"{name_of_worker()}/{uuid.uuid4().hex[:8]}", 0
    end, study = _end(shared, deadline), shared.optuna
    study._thread_local.in_optimize_loop, study._stop_flag = True, False  # so that a sampler may call `study.stop()`
    _replay(shared, place)
    try:
        while time.monotonic() < end and not study._stop_flag:
            between(owner)
            turn = ledger.take(shared, owner, place)
            if turn is not None:
                finished += _use(shared, turn, owner, run_trial, place, end)
                continue
            left = ledger.counts(shared)
            if not left["free"] and not left["leased"]:
                break
            time.sleep(min(2.0, shared.settings.lease_s / 5))  # another's trial may fail, or its lease run out
    except Deadline:
        ledger.let_go(shared, owner, "the study's time was over")
    except database.Away:
        raise  # what it holds can't be given back: the lease runs out, and a result waits in the run folder
    except BaseException as e:  # Ctrl-C, SIGTERM, a scheduler that takes the machine, a full disk
        ledger.let_go(shared, owner, reason_of(e) if isinstance(e, Exception) else "interrupted")
        raise
    if time.monotonic() >= end:
        print("the study's time is over; the same command with more of it goes on from here", flush=True)
    if study._stop_flag:
        print(f"{type(study.sampler).__name__} asked for an end: it has nothing more to suggest", flush=True)
    return finished


def _replay(shared: Shared, place: Place) -> None:
    """Record what workers have computed here that died before they could."""
    for folder, outcome in pending_results.waiting(place(0).parent):
        if outcome.study == shared.settings.name:
            became = ledger.replay(shared, outcome)
            print(f"trial {folder.name}: the result of a worker that died before recording it: {became}", flush=True)
            pending_results.clear(folder)


def _end(shared: Shared, deadline: float | None) -> float:
    """Return when to stop, on this process's own clock, which nobody sets."""
    if deadline is None:
        return math.inf
    return time.monotonic() + deadline - ledger.clock(shared)


def _use(shared: Shared, turn: Turn, owner: str, run: RunTrial, place: Place, end: float) -> int:
    """Run a trial in a slot, after another candidate for each that is refused; return 1 if it counts."""
    for draw in range(DRAWS + 1):
        folder = place(turn.trial.number)
        try:
            with _beating(shared, turn, folder):
                return _one(shared, turn, run, folder, end)
        except Refused as e:
            if _uses_up(shared, e, draw):
                return _count(shared, turn, _used_up(shared, turn, e, draw), folder)
            replaced = ledger.replace(shared, turn, owner, e)
        if replaced is None:
            break
        turn = replaced
    _dropped(turn)
    return 0


def _uses_up(shared: Shared, e: Refused, draw: int) -> bool:
    """Tell whether a refused candidate counts: the last that was drawn for a slot, or a duplicate to be reused."""
    reusable = isinstance(e, Duplicate) and (e.result is not None or e.pruned is not None)
    return draw == DRAWS or (reusable and shared.settings.duplicates == "reuse")


def _used_up(shared: Shared, turn: Turn, e: Refused, draw: int) -> Outcome:
    """Return what a refused candidate counts as: a duplicate has the result of the trial that it repeats."""
    if isinstance(e, Duplicate) and e.result is not None:
        return _complete(shared, turn, replace(e.result, reused_from=e.number))
    why = f"{e}: {e.pruned or 'which is running'}" if isinstance(e, Duplicate) else str(e)
    before = f"; {draw} candidates before it were refused, too: its slot is used up" if draw == DRAWS else ""
    return _pruned(turn, f"{why}{before}")


def _one(shared: Shared, turn: Turn, run: RunTrial, folder: Path, end: float) -> int:
    """Run one trial and record how it ended; return 1 if it counts."""
    try:
        with _limited(shared, end):
            result = run(turn.trial, turn.earlier)
        outcome = _complete(shared, turn, result)
    except optuna.TrialPruned as e:
        outcome = _pruned(turn, str(e))
    except (Refused, database.Away):
        raise
    except Exception as e:  # whatever a candidate does to its trial must not end the worker; the reason is kept
        if _is_full(e, folder):
            raise DiskFull(
                f"trial {turn.trial.number}: the disk is full: {folder}",
                "free some space and run the same command again: it goes on from the trial's checkpoint",
            ) from e
        return _failed(shared, turn, e, folder)
    return _count(shared, turn, outcome, folder)


def _count(shared: Shared, turn: Turn, outcome: Outcome, folder: Path) -> int:
    """Record an outcome, which is on the disk before; return 1 if it counts."""
    try:
        pending_results.write(folder, outcome)
    except OSError as e:  # the database may have room, where the run folder has none
        print(f"trial {turn.trial.number}: {folder}: {e}; recorded without it", flush=True)
    counted = ledger.count(shared, turn.slot, outcome)
    pending_results.clear(folder)
    if not counted:
        _dropped(turn)
    return int(counted)


def _complete(shared: Shared, turn: Turn, result: Result) -> Outcome:
    """Return the outcome of a trial that went to its end.

    Raises:
        ArithmeticError: what it is worth is no number.
    """
    values = OBJECTIVES[shared.settings.objective].values(result)
    if not all(map(math.isfinite, values)):
        raise ArithmeticError(f"its values are {values}")
    return _outcome(turn, TrialState.COMPLETE, values, {attributes.RESULT: result.to_dict()})


def _outcome(turn: Turn, state: TrialState, values: tuple[float, ...], attributes: dict[str, Any]) -> Outcome:
    slot = turn.slot
    return Outcome(slot.study, slot.number, slot.token, turn.trial._trial_id, state.name, values, attributes)


def _pruned(turn: Turn, reason: str) -> Outcome:
    """Return the outcome of a pruned trial: its value is its last report, as Optuna has it."""
    reports = turn.trial._cached_frozen_trial.intermediate_values
    values = (reports[max(reports)],) if reports else ()
    return _outcome(turn, TrialState.PRUNED, values, {"reason": reason})


def _failed(shared: Shared, turn: Turn, e: Exception, folder: Path) -> int:
    """Keep a failed trial's traceback and give its slot back; it doesn't count."""
    folder.mkdir(parents=True, exist_ok=True)
    files.write(folder / "error.txt", "".join(traceback.format_exception(e)))
    if ledger.give_back(shared, turn, reason_of(e), failed=True):
        print(f"trial {turn.trial.number} failed: {reason_of(e)} (see {folder / 'error.txt'})", flush=True)
    else:
        _dropped(turn)
    return 0


def _dropped(turn: Turn) -> None:
    print(f"trial {turn.trial.number}: the lease ran out, another worker has taken it up; dropped", flush=True)


def _is_full(e: BaseException | None, folder: Path) -> bool:
    """Tell whether an error comes of a full disk."""
    if isinstance(e, RuntimeError) and folder.exists():
        return shutil.disk_usage(folder).free < SPARE
    return e is not None and (getattr(e, "errno", None) in FULL or _is_full(e.__cause__, folder))


def reason_of(e: BaseException) -> str:
    """Say in one line why a trial failed."""
    text = (str(e).strip().splitlines() or [""])[0]
    if isinstance(e, MemoryError) or "not enough memory" in text or "out of memory" in text:
        return f"out of memory: {text}"
    if isinstance(e, TimeOut):
        return f"timed out: {text}"
    return e.what if isinstance(e, HarnessError) else f"{type(e).__name__}: {text}"


@contextlib.contextmanager
def _limited(shared: Shared, end: float) -> Iterator[None]:
    """Interrupt a trial that takes longer than study.trial_s, or until the study's end.

    Source: https://docs.python.org/3/library/signal.html#signal.setitimer (the handler runs in the main thread)
    """
    limit, left = shared.settings.trial_s, end - time.monotonic()
    if limit == 0 and left == math.inf:
        yield
        return

    def ring(_signal: int, _frame: Any) -> None:
        if left < limit or limit == 0:
            raise Deadline
        raise TimeOut(f"over {limit:g} s (study.trial_s)")

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, max(1e-3, min(left, limit or math.inf)))
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@contextlib.contextmanager
def _beating(shared: Shared, turn: Turn, folder: Path) -> Iterator[None]:
    """Renew the lease while a trial runs; a database that is away for a moment is asked again.

    How far the trial is, as its journal says, is noted beside. A trial that is far over its time in code that Python
    can't interrupt takes its process with it.
    """
    stop, lease_s, limit = threading.Event(), shared.settings.lease_s, shared.settings.trial_s
    hung = time.monotonic() + limit + HUNG_S if limit else math.inf
    note = _noting(shared, turn, folder)

    def beat() -> None:
        while not stop.wait(min(lease_s / 4, max(0.0, hung - time.monotonic()))):
            if time.monotonic() >= hung:
                reason = f"timed out: over {limit:g} s (study.trial_s), in code that can't be interrupted"
                ledger.give_back(shared, turn, reason, failed=True)
                os.kill(os.getpid(), signal.SIGKILL)
            try:
                with shared.engine.begin() as connection:
                    if not slots.renew(connection, turn.slot, lease_s):
                        return
            except SQLAlchemyError as e:
                print(f"lease of slot {turn.slot.number}: {reason_of(e)}; trying again", flush=True)
            else:
                note()

    thread = threading.Thread(target=beat, daemon=True, name="lease")
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def _noting(shared: Shared, turn: Turn, folder: Path) -> Callable[[], None]:
    """Return what notes the last row of a trial's journal in the database, where it is another one and it is time."""
    noted: dict[str, Any] | None = None
    due = time.monotonic() + NOTE_S

    def note() -> None:
        nonlocal noted, due
        row = last_row(folder)
        if row is None or row == noted or time.monotonic() < due:
            return
        due = time.monotonic() + NOTE_S
        # the next one is soon enough; and that the trial is no longer ours is for others to find
        with contextlib.suppress(SQLAlchemyError, OptunaError, HarnessError):
            ledger.note(shared, turn, row)
            noted = row

    return note
