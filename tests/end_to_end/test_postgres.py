"""A team's study on PostgreSQL: four workers, one of them killed."""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from pathlib import Path
from subprocess import Popen

import sqlalchemy as sa
from commands import BUSY, reasons, started
from optuna.trial import FrozenTrial, TrialState

from harness import database
from harness.errors import HarnessError
from harness.study import slots
from harness.study.refused import is_refused
from harness.study.study import load

SECRET = "hush-7231"  # the server takes any password
TRIALS = 6


def kill_one_in_mid_trial(command: Popen[str], url: str, runs: Path) -> FrozenTrial:
    """Wait until a worker has begun a trial, kill it and return the trial."""
    end = time.monotonic() + 600
    while time.monotonic() < end and command.poll() is None:
        for trial in running(url):
            folder = runs / "ours" / f"{trial.number:05d}"
            if (folder / "candidate.json").exists() and not (folder / "result.json").exists():
                os.kill(int(trial.user_attrs["worker"].rpartition("-")[2]), signal.SIGKILL)
                return trial
        time.sleep(0.1)
    raise AssertionError(f"no worker began a trial: {command.communicate()}")


def running(url: str) -> list[FrozenTrial]:
    """The trials that are being run now."""
    try:
        return load("ours", url).optuna.get_trials(states=(TrialState.RUNNING,))
    except HarnessError:  # the study isn't there yet
        return []


def everything(engine: sa.Engine) -> str:
    """All that the database holds."""
    tables = sa.MetaData()
    tables.reflect(engine)
    with engine.connect() as connection:
        return repr([connection.execute(sa.select(t)).all() for t in tables.tables.values()])


def test_a_team_of_four_loses_a_worker_and_no_trial(postgres_url: str, tmp_path: Path) -> None:
    """Over 5 s, about 40 on two quiet cores: four workers import torch, and a lease has to run out.

    The budget is exact, nothing stays running, no two workers try the same, and the password is nowhere.
    """
    url = sa.make_url(postgres_url).set(password=SECRET).render_as_string(hide_password=False)
    command = started(
        tmp_path, "tune.py", f"storage.url={url}", f"runs={tmp_path}/runs", "workers=4", "study.name=ours",
        f"study.trials={TRIALS}", "study.lease_s=5", "proxy.epochs=5", "proxy.images=400", "latency_s=1.5",
        BUSY,
    )  # fmt: skip
    victim = kill_one_in_mid_trial(command, url, tmp_path / "runs")
    out, err = command.communicate(timeout=600)
    assert command.returncode == 0, out + err
    killed = "its process was killed by signal 9 (the system does that when memory runs out)"
    assert f"{killed}; the study goes on" in out

    shared = load("ours", url)
    trials = shared.optuna.get_trials()
    kept = [t for t in trials if not is_refused(t)]
    states = Counter(t.state for t in kept)
    assert states[TrialState.COMPLETE] + states[TrialState.PRUNED] == TRIALS
    assert slots.counts(shared.engine, "ours", TRIALS) == {"free": 0, "leased": 0, "done": TRIALS, "given_up": 0}
    dead = trials[victim.number]
    assert (dead.state, dead.user_attrs["reason"]) == (TrialState.FAIL, killed)
    assert reasons(kept) == [killed]
    tried = [t.user_attrs["digest"] for t in kept if t.state != TrialState.FAIL]
    assert len(set(tried)) == TRIALS
    again = [t for t in trials if t.user_attrs.get("retry_of") == dead.number]
    assert [t.user_attrs["digest"] for t in again] == [dead.user_attrs["digest"]]

    assert SECRET not in out + err
    assert SECRET not in everything(database.connect(url))
    files = [p for p in (tmp_path / "runs").rglob("*") if p.is_file()]
    mirrored = [p.read_bytes() for p in files if p.suffix == ".wandb"]
    assert sum(b"ours" in content for content in mirrored) >= TRIALS  # they can be searched
    assert not [p for p in files if SECRET.encode() in p.read_bytes()]
