"""A worker of the kill test: the product's own loop, a trial that costs nothing, and a history of what it did."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import random
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import wraps
from pathlib import Path
from typing import Any

import mutants
import optuna
import points
from history import History
from sqlalchemy.exc import OperationalError

from harness.record import files
from harness.record.result import Cost, Result
from harness.search.duplicates import Duplicate
from harness.search.gate import Refused
from harness.study import ledger, worker
from harness.study.definition import Definition
from harness.study.study import Shared, Study, join

PR_SET_PDEATHSIG = 1
DEFINITION = Definition(
    data={"name": "none", "options": {}, "fingerprint": ""}, space={"x": {"float": [0, 1]}}, proxy={"epochs": 1},
    competition={"formula": "boostcamp2021b"},
)  # fmt: skip
COST = Cost(
    macs=1, parameters=1, latency_ms=1.0, latency_low_ms=1.0, latency_high_ms=1.0,
    ratio=1.0, ratio_low=1.0, ratio_high=1.0, runtime="onnx",
)  # fmt: skip
STEPS = 4
PLANNED = "ValueError: planned"


@dataclass(frozen=True)
class Ground:
    """Where a crew works."""

    url: str = field(repr=False)
    study: str
    trials: int
    lease_s: float
    folder: Path


@dataclass(frozen=True)
class Fate:
    """What awaits one worker. point: where it is struck, at its nth passing, by SIGKILL or, if it stops, SIGSTOP.

    heir_of: the process whose death it tells of. trial_s: how long its trials take; mixed where there is no telling.
    ends: how its trials end; mixed, too. cut_off_s: how long, since it joined, its beats don't reach the database.
    oversleeps_s: how much longer than lease and grace it sleeps, each time it is stopped.
    """

    point: str = ""
    nth: int = 1
    stops: bool = False
    mutant: str = ""
    heir_of: str = ""
    trial_s: float = 0.0
    ends: str = ""
    cut_off_s: float = 0.0
    oversleeps_s: float = 0.0


def die_with_parent(parent: int) -> None:
    """Let this process not outlive the one that started it, killed or not."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it died before this one had asked for the signal
        os._exit(1)


def be(ground: Ground, fate: Fate, name: str) -> int:
    """Be a worker until the study is finished, or fate strikes; return the exit code."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a user's Ctrl-C is for the driver, which kills its crew
    log = os.open(ground.folder / f"{name}.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(log, 1)
    os.dup2(log, 2)
    history = History(ground.folder, who=name, study=ground.study)
    random.seed(os.getpid())  # all are forks of one process, and would else pause alike
    try:
        _work(ground, fate, history)
        return 0
    except Exception:
        traceback.print_exc()
        return 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()


def _work(ground: Ground, fate: Fate, history: History) -> None:
    if fate.mutant:
        mutants.MUTANTS[fate.mutant].alter()
    record(history)
    if fate.point:
        points.strike(fate.point, fate.nth, fate.stops, history)
    settings = Study(name=ground.study, trials=ground.trials, sampler="random", pruner="none")
    settings.lease_s = ground.lease_s  # shorter than users may set it, so that nobody need wait
    shared = join(settings, DEFINITION, ground.url, time.time_ns() % 2**32)
    beats(shared, history, time.monotonic() + fate.cut_off_s)
    history.write("joined", owner=worker.name_of_worker())
    if fate.heir_of:
        ledger.died(shared, fate.heir_of, "its worker was killed by signal 9")
    place = (ground.folder / ground.study).joinpath
    worker.work(shared, lambda t, earlier: trial(t, earlier, fate, place, history), lambda n: place(str(n)))


def trial(
    trial: optuna.Trial, earlier: int | None, fate: Fate, place: Callable[[str], Path], history: History
) -> Result:
    """Add up a sum, step by step with a checkpoint after each; go on from the checkpoint of an earlier trial."""
    folder = place(str(trial.number))
    folder.mkdir(parents=True, exist_ok=True)
    x = trial.suggest_float("x", 0, 1)
    draw = random.Random(f"{x} {trial.number}")  # what a trial is like hangs on nothing but itself
    step_s = (fate.trial_s or draw.choices((draw.uniform(0.02, 0.1), draw.uniform(0.5, 2.0)), (3, 1))[0]) / STEPS
    end = fate.ends or draw.choices(("well", "pruned", "badly", "double", "dear"), (68, 8, 8, 8, 8))[0]
    step, total = resumed(place(str(earlier))) if earlier is not None else (0, 0.0)
    history.write("execute-begin", id=trial._trial_id, number=trial.number, x=x, earlier=earlier, step=step)
    for i in range(step, STEPS):
        time.sleep(step_s)
        points.Trial.step()
        total += x * (i + 1)
        files.write(folder / "checkpoint.json", lambda f, i=i, total=total: _dump(f, [i + 1, total]), durable=True)
        points.Trial.checkpoint()
        trial.report(total, i) if i == 0 else None
    if end == "badly":
        raise ValueError("planned")
    if end == "double" and trial.number:
        raise Duplicate(trial.number - 1, None, None)
    if end == "dear":
        raise Refused("too dear", "gate: macs 2 over the limit 1", excess=1.0)
    history.write("execute-end", id=trial._trial_id, number=trial.number, x=x, value=total)
    if end == "pruned":
        raise optuna.TrialPruned("planned")
    return Result(COST, f1=x, confusion=None, points=total)


def _dump(file: Any, what: Any) -> None:
    """Write JSON in two halves: a kill may come between."""
    text = json.dumps(what).encode()
    file.write(text[: len(text) // 2])
    file.flush()
    points.Trial.half()
    file.write(text[len(text) // 2 :])


def resumed(folder: Path) -> tuple[int, float]:
    """Return the step and the sum of an earlier trial's checkpoint."""
    path = folder / "checkpoint.json"
    if not path.exists():
        return 0, 0.0
    step, total = json.loads(path.read_text())  # a torn one would raise, and fail the trial for a reason not planned
    return step, total


def record(history: History) -> None:
    """Let the product's functions leave a line as they are passed.

    Those of claim and begin stand before the commit, so that no kill can hide them; the last one of a trial holds.
    """

    def after(function: str, event: str, facts: Callable[..., dict[str, Any] | None]) -> None:
        def by(real: Callable[..., Any]) -> Callable[..., Any]:
            @wraps(real)
            def call(*arguments: Any, **options: Any) -> Any:
                result = real(*arguments, **options)
                if (found := facts(result, *arguments)) is not None:
                    history.write(event, **found)
                return result

            return call

        points.wrap(function, by)

    def before_count(real: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(real)
        def call(shared: Shared, slot: Any, outcome: Any) -> Any:
            history.write("tell-begin", id=outcome.trial, **_slot(slot))
            return real(shared, slot, outcome)

        return call

    after("slots.claim", "claim", lambda slot, *_: slot and _slot(slot) | {"lost": slot.lost})
    after("slots.attach", "begin", lambda _, __, slot, trial: _slot(slot) | {"id": trial})
    after("ledger.take", "taken", lambda turn, *_: turn and _turn(turn))
    after("ledger.replace", "replaced", lambda turn, _, old, *__: {"old": old.trial._trial_id} | _turn(turn or old))
    after("pending_results.write", "outcome", lambda _, __, o: {"id": o.trial, "slot": o.slot, "token": o.token})
    after("ledger.count", "told", lambda ok, _, slot, o: {"id": o.trial, "ok": ok} | _slot(slot))
    after("ledger.give_back", "gave-back", lambda ok, _, turn, why, *__: {"ok": ok, "why": why} | _turn(turn))
    after("ledger.replay", "replayed", lambda words, _, o: {"id": o.trial, "words": words})
    points.wrap("ledger.count", before_count)


def _slot(slot: Any) -> dict[str, Any]:
    return {"slot": slot.number, "token": slot.token}


def _turn(turn: Any) -> dict[str, Any]:
    return {"id": turn.trial._trial_id, "number": turn.trial.number} | _slot(turn.slot)


def beats(shared: Shared, history: History, cut_off: float) -> None:
    """Note each attempt to renew the lease, from its beginning on: who waits for the database isn't silent.

    cut_off: until when they fail.
    """
    real = shared.engine.begin

    @contextlib.contextmanager
    def begin() -> Iterator[Any]:
        if threading.current_thread().name != "lease":
            with real() as connection:
                yield connection
            return
        history.write("beat-begin")
        try:
            if time.monotonic() < cut_off:
                raise OperationalError("renew", {}, ConnectionError("cut off"))
            with real() as connection:
                yield connection
        finally:
            history.write("beat-end")

    shared.engine.begin = begin  # type: ignore[method-assign]
