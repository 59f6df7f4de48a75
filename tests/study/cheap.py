"""Worker processes whose trials cost nothing: what they do is chosen by name."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import optuna
import sqlalchemy as sa
from fork_server import CONTEXT
from optuna.trial import FrozenTrial, TrialState

from harness import database
from harness.record.result import Cost, Result
from harness.search.gate import Refused
from harness.study import ledger, pending_results, slots, worker
from harness.study.definition import Definition
from harness.study.refused import is_refused
from harness.study.storage import PATIENCE_S
from harness.study.study import Shared, Study, join

DEFINITION = Definition(
    data={"name": "none", "options": {}, "fingerprint": ""}, space={"x": {"float": [0, 1]}}, proxy={"epochs": 1},
    competition={"formula": "boostcamp2021b"},
)  # fmt: skip
COST = Cost(
    macs=1, parameters=1, latency_ms=1.0, latency_low_ms=1.0, latency_high_ms=1.0,
    ratio=1.0, ratio_low=1.0, ratio_high=1.0, runtime="onnx",
)  # fmt: skip


def opened(
    url: str,
    trials: int,
    lease_s: float = 60.0,
    seed: int = 0,
    patience_s: float = PATIENCE_S,
    **more: Any,
) -> Shared:
    """Join the study; a lease may be shorter here than users may set it, so that tests needn't wait."""
    settings = Study(name="cheap", trials=trials, sampler="random", pruner="none", **more)
    settings.lease_s = lease_s
    return join(settings, DEFINITION, url, seed, patience_s)


def result(trial: optuna.Trial) -> Result:
    """The result of a trial that went well."""
    x = trial.suggest_float("x", 0, 1)
    return Result(COST, f1=x, confusion=None, points=1 - x)


def quick(trial: optuna.Trial, folder: Path) -> Result:
    """Go well at once."""
    return result(trial)


def steady(trial: optuna.Trial, folder: Path) -> Result:
    """Go well after a moment, so that every worker gets a share."""
    time.sleep(0.3)
    return result(trial)


def hang(trial: optuna.Trial, folder: Path) -> Result:
    """Stay in the trial until somebody writes `go`."""
    (folder / "inside").write_text(str(trial.number))
    while not (folder / "go").exists():
        time.sleep(0.05)
    return result(trial)


def suggest_then_hang(trial: optuna.Trial, folder: Path) -> Result:
    """Draw a candidate, and stay in the trial."""
    result(trial)
    return hang(trial, folder)


def hang_deep(trial: optuna.Trial, folder: Path) -> Result:
    """Stay where no signal's handler is run, as in a library's own code."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGALRM})
    time.sleep(60)
    return result(trial)


def refused_then_hang_deep(trial: optuna.Trial, folder: Path) -> Result:
    """Be refused once, late in the time of one trial, and hang then."""
    if trial.number == 0:
        time.sleep(0.4)
        raise Refused("too dear", "gate: macs 2 over the limit 1", 1.0)
    return hang_deep(trial, folder)


def hang_then_prune(trial: optuna.Trial, folder: Path) -> Result:
    """Stay in the trial until somebody writes `go`, then be pruned."""
    hang(trial, folder)
    raise optuna.TrialPruned("gate: late")


def fail(trial: optuna.Trial, folder: Path) -> Result:
    """Go wrong."""
    result(trial)
    raise ValueError("never")


def die(trial: optuna.Trial, folder: Path) -> Result:
    """Kill the worker, as a system without memory does."""
    result(trial)
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("unreachable")


KINDS = (
    quick, steady, hang, suggest_then_hang, hang_deep, refused_then_hang_deep, hang_then_prune, fail, die
)  # fmt: skip
BEHAVIOURS = {f.__name__: f for f in KINDS}


def be_worker(
    url: str, trials: int, lease_s: float, behaviour: str, folder: Path, dies_at: str, more: dict[str, Any]
) -> None:
    """Be a worker process. dies_at: a function (`ledger.count`) that kills it instead of being run, or after it (+)."""
    # a shell starts background jobs with Ctrl-C ignored, and children inherit that; `launch.worker` sets its own too
    signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.stdout = (folder / f"{behaviour}.txt").open("a", buffering=1)
    worker.HUNG_S = 0.5
    if dies_at:
        room, _, name = dies_at.removesuffix("+").partition(".")
        module = {"ledger": ledger, "pending_results": pending_results}[room]
        first = getattr(module, name) if dies_at.endswith("+") else lambda *_a, **_k: None
        setattr(module, name, lambda *a, **k: (first(*a, **k), os.kill(os.getpid(), signal.SIGKILL)))
    shared = opened(url, trials, lease_s, seed=os.getpid(), **more)
    run = BEHAVIOURS[behaviour]
    worker.work(shared, lambda trial, earlier: run(trial, folder), lambda number: folder / str(number))


def start(
    url: str, trials: int, folder: Path, lease_s: float = 60.0, behaviour: str = "quick", dies_at: str = "", **more: Any
) -> BaseProcess:
    """Start a worker process."""
    process = CONTEXT.Process(
        target=be_worker, args=(url, trials, lease_s, behaviour, folder, dies_at, more), daemon=True
    )
    process.start()
    return process


def until(found: Callable[[], object], within_s: float = 300.0) -> None:
    """Wait for something to be so."""
    end = time.monotonic() + within_s
    while not found():
        assert time.monotonic() < end, f"not so within {within_s} s"
        time.sleep(0.05)


def ended(process: BaseProcess, within_s: float = 300.0) -> int | None:
    """Wait for a worker to end and return its exit code; None if it is still running."""
    process.join(within_s)
    return process.exitcode


def run_out(url: str, worker: BaseProcess) -> None:
    """Let a worker's lease run out, and the grace after it, though it was long enough for any busy machine."""
    engine, mine = database.connect(url), slots.SLOTS.c.owner.like(f"%-{worker.pid}/%")
    with engine.begin() as connection:
        aged = connection.execute(sa.update(slots.SLOTS).where(mine).values(until=0.0, lease_s=0.0))
        assert aged.rowcount == 1
    engine.dispose()


def alone(shared: Shared, folder: Path, run: Callable[[optuna.Trial], Result]) -> int:
    """Work in this process."""
    return worker.work(shared, lambda trial, earlier: run(trial), lambda number: folder / str(number))


def check(shared: Shared, trials: int) -> list[FrozenTrial]:
    """Make sure that exactly `trials` trials finished, each counted once, and that none is left half-way."""
    found = shared.optuna.get_trials(deepcopy=False)
    states = Counter(t.state for t in found if not is_refused(t))
    counts = slots.counts(shared.engine, "cheap", trials)
    assert counts == {"free": 0, "leased": 0, "done": trials, "given_up": 0}, f"budget unfinished: {counts}"
    assert states[TrialState.COMPLETE] + states[TrialState.PRUNED] == trials
    assert not states[TrialState.RUNNING] and not states[TrialState.WAITING]
    assert all(t.user_attrs["reason"] for t in found if t.state == TrialState.FAIL)
    return found


def failed(trials: list[FrozenTrial]) -> list[str]:
    """The reasons of the trials that failed."""
    return [t.user_attrs["reason"] for t in trials if t.state == TrialState.FAIL]
