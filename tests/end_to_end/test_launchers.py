"""Studies whose workers are processes of this machine, Slurm jobs and Ray tasks; all of them real."""

from __future__ import annotations

import os
import re
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable
from multiprocessing import get_context
from pathlib import Path
from subprocess import Popen

import in_process
import pytest
import slurm
import sqlalchemy as sa
from commands import BUSY, reasons, started
from optuna.trial import FrozenTrial, TrialState

from harness.errors import HarnessError
from harness.launch import local, ray, start
from harness.launch import slurm as launcher
from harness.launch.launcher import Launch, Ray, Slurm
from harness.study import slots
from harness.study.refused import is_refused
from harness.study.study import Shared, Study, load
from harness.study.worker_process import Job

SECRET = "hush-7231"  # the server takes any password
QUICK = ["study.name=ours", "proxy.epochs=3", "proxy.images=400", "latency_s=1.5", "track=disabled", "study.lease_s=5"]
QUICK += [BUSY]
KILLABLE = "proxy.epochs=15"  # seconds of training, in which `begun` has looked ten times
LONG = ["study.name=ours", "study.trials=9", "proxy.epochs=300", "latency_s=1.5", "track=disabled"]


@pytest.fixture
def url(postgres_url: str) -> str:
    """An empty PostgreSQL database behind a password."""
    return sa.make_url(postgres_url).set(password=SECRET).render_as_string(hide_password=False)


def until(so: Callable[[], object], within_s: float = 600.0) -> None:
    """Wait for something to be so."""
    end = time.monotonic() + within_s
    while not so():
        assert time.monotonic() < end, f"not so within {within_s} s"
        time.sleep(0.2)


def opened(url: str) -> Shared | None:
    """The study, once there is one."""
    try:
        return load("ours", url)
    except HarnessError:
        return None


def begun(url: str, runs: Path, command: Popen[str], count: int = 1) -> list[FrozenTrial]:
    """Wait until trials are being trained, and return them."""
    found: list[FrozenTrial] = []

    def training() -> bool:
        assert command.poll() is None, command.communicate()
        shared = opened(url)
        trials = shared.optuna.get_trials(states=(TrialState.RUNNING,)) if shared else []
        found[:] = [t for t in trials if (runs / "ours" / f"{t.number:05d}" / "latency.json").exists()]
        return len(found) >= count

    until(training)
    return found


def check(url: str, trials: int) -> list[str]:
    """Make sure that exactly `trials` trials finished and none is left half-way; return why others failed.

    Candidates that were refused before training were replaced, and use nothing of the budget. Trials that a noisy
    machine refused to time are left out: it is what the product does, and no launcher's doing.
    """
    shared = load("ours", url)
    found = [t for t in shared.optuna.get_trials(deepcopy=False) if not is_refused(t)]
    states = Counter(t.state for t in found)
    counts = slots.counts(shared.engine, "ours", trials)
    assert counts == {"free": 0, "leased": 0, "done": trials, "given_up": 0}
    assert states[TrialState.COMPLETE] + states[TrialState.PRUNED] == trials
    assert not states[TrialState.RUNNING]
    return [reason for reason in reasons(found) if "the machine is too noisy" not in reason]


def leased(url: str) -> int:
    """How many slots are taken."""
    return slots.counts(load("ours", url).engine, "ours", 9)["leased"]


def job(url: str = "sqlite:///x.db") -> Job:
    """A worker's job that nobody carries out."""
    return Job(study=Study(), url=url, here={}, device="cpu", track="disabled", runs=Path("runs"), threads=1)


# processes of this machine


def test_killing_the_command_ends_its_workers(tmp_path: Path) -> None:
    """Over 5 s: two processes import torch. The workers outlive kill -9 only to give their slots back."""
    url = f"sqlite:///{tmp_path}/x.db"
    command = started(tmp_path, "tune.py", *LONG, "workers=2", f"storage.url={url}", f"runs={tmp_path}/runs")
    workers = [int(t.user_attrs["worker"].rpartition("-")[2]) for t in begun(url, tmp_path / "runs", command, 2)]
    command.kill()
    command.communicate()
    until(lambda: not [pid for pid in workers if Path(f"/proc/{pid}").exists()])
    assert not leased(url)
    trials = load("ours", url).optuna.get_trials()
    assert [(t.state, t.user_attrs["reason"]) for t in trials] == [(TrialState.FAIL, "interrupted")] * 2


def test_a_worker_that_starts_after_its_parent_died_ends(tmp_path: Path) -> None:
    """It hears nothing of a death that came before it asked to be told; so it looks."""
    orphan = get_context("spawn").Process(target=local._member, args=(None, 0, 1))
    orphan.start()
    orphan.join(600)
    assert orphan.exitcode == 1


def test_a_study_goes_on_when_its_only_worker_is_killed(tmp_path: Path) -> None:
    """Over 5 s: two processes import torch, one after the other. The lease needn't run out first."""
    url = f"sqlite:///{tmp_path}/x.db"
    words = [*QUICK, "study.trials=2", KILLABLE, "study.lease_s=600"]
    command = started(tmp_path, "tune.py", *words, f"storage.url={url}", f"runs={tmp_path}/runs")
    (victim,) = begun(url, tmp_path / "runs", command)
    os.kill(int(victim.user_attrs["worker"].rpartition("-")[2]), signal.SIGKILL)
    out, err = command.communicate(timeout=600)
    assert command.returncode == 0, out + err
    killed = "its process was killed by signal 9 (the system does that when memory runs out)"
    assert f"{killed}; the study goes on" in out
    assert check(url, 2) == [killed]
    again = [t for t in load("ours", url).optuna.get_trials() if t.user_attrs.get("retry_of") == victim.number]
    assert len(again) == 1


# Slurm


def slurm_command(folder: Path, url: str, *words: str) -> Popen[str]:
    """Start a study whose workers are Slurm jobs."""
    mine = ["launch=slurm", "slurm.memory_gb=2", f"storage.url={url}", f"runs={folder}/runs"]
    return started(folder, "tune.py", *mine, *words)


@pytest.mark.usefixtures("slurm_cluster")
def test_slurm_jobs_run_a_study_and_keep_its_password(tmp_path: Path, url: str) -> None:
    """Over 5 s, about 30: two jobs import torch and train three trials.

    The password is in no script, log or description of a job; what submitit pickles is ours alone, and removed.
    """
    before = set(slurm.jobs())
    command = slurm_command(tmp_path, url, *QUICK, "study.trials=3", "workers=2", "slurm.extra.comment=tests")
    folder = tmp_path / "runs" / "ours" / "slurm"
    until(lambda: command.poll() is not None or [*folder.glob("*_submitted.pkl")])
    assert folder.stat().st_mode & 0o777 == 0o700
    out, err = command.communicate(timeout=600)
    assert command.returncode == 0, out + err
    assert check(url, 3) == []

    ours = set(slurm.jobs()) - before
    told = [slurm.out("scontrol", "show", "job", job) for job in ours]
    assert len(ours) == 2 and all("JobState=COMPLETED" in text and "Comment=tests" in text for text in told)
    assert {p.name.partition("_log")[0] for p in folder.glob("*_log.out")} == {f"{job}_0" for job in ours}
    assert len([*(tmp_path / "runs" / "ours").glob("worker-*.log")]) == 2
    scripts = [p for p in folder.glob("*.sh")]
    assert scripts and not [*folder.glob("*_submitted.pkl")]
    assert SECRET not in out + err + "".join(told)
    assert not [p for p in tmp_path.rglob("*") if p.is_file() and SECRET.encode() in p.read_bytes()]


@pytest.mark.usefixtures("slurm_cluster")
@pytest.mark.parametrize("polite", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.chaos)])
def test_ctrl_c_cancels_the_jobs(tmp_path: Path, url: str, polite: signal.Signals) -> None:
    """Over 5 s: a job imports torch. One job runs a trial, one waits for a place; both go, and the slot is free."""
    wide = ["workers=2", "slurm.cpus=3"]  # of four processors
    command = slurm_command(tmp_path, url, *LONG, *wide)
    begun(url, tmp_path / "runs", command)
    assert len(slurm.jobs(state="PENDING")) == len(slurm.jobs(state="RUNNING")) == 1
    command.send_signal(polite)
    out, err = command.communicate(timeout=600)
    assert command.returncode == 130 and "stopped; the same command goes on" in out, out + err
    assert "9 of 9 to go" in out and "Traceback" not in out + err
    assert not slurm.jobs(state="PENDING,RUNNING,COMPLETING") and not leased(url)
    (trial,) = load("ours", url).optuna.get_trials()
    assert trial.user_attrs["reason"] == "interrupted"


@pytest.mark.chaos
@pytest.mark.usefixtures("slurm_cluster")
def test_a_job_that_must_make_room_runs_again(tmp_path: Path, url: str) -> None:
    """Over 5 s, about 40: the same job starts twice. It gets submitit's word that its end is near, in mid-trial."""
    command = slurm_command(tmp_path, url, *QUICK, "study.trials=2", "proxy.epochs=30", "workers=1")
    begun(url, tmp_path / "runs", command)
    (running,) = slurm.jobs(state="RUNNING")
    slurm.out("scancel", "--signal=USR2", running)
    out, err = command.communicate(timeout=600)
    assert command.returncode == 0, out + err
    assert "Restarts=1" in slurm.out("scontrol", "show", "job", running)
    assert check(url, 2) == ["interrupted"]


@pytest.mark.chaos
@pytest.mark.usefixtures("slurm_cluster")
def test_a_job_that_an_administrator_cancels_is_told(tmp_path: Path, url: str) -> None:
    """Over 5 s: a job imports torch. Nobody is left then: an error that names job and log."""
    command = slurm_command(tmp_path, url, *LONG, "workers=1")
    begun(url, tmp_path / "runs", command)
    (running,) = slurm.jobs(state="RUNNING")
    slurm.out("scancel", running)
    out, err = command.communicate(timeout=600)
    assert command.returncode == 2 and "all workers ended early, 9 trials are left" in err
    assert re.search(rf"Slurm job {running}: its worker's job is CANCELLED \(see .*{running}_0_log.err\)", out)
    assert not leased(url)


@pytest.mark.usefixtures("slurm_cluster")
def test_what_slurm_refuses_is_one_error(tmp_path: Path, url: str) -> None:
    """The reason is sbatch's own."""
    mine = [*QUICK, f"storage.url={url}", f"runs={tmp_path}/runs"]
    said = in_process.run(tmp_path, "tune.py", "launch=slurm", "slurm.partition=nowhere", *mine, code=2).stderr
    assert "error: launch=slurm: " in said and "invalid partition" in said and "Traceback" not in said
    assert not [p for p in tmp_path.rglob("*") if p.is_file() and SECRET.encode() in p.read_bytes()]


# Ray


def test_ray_tasks_run_a_study_though_one_is_killed(tmp_path: Path) -> None:
    """Over 5 s, about 40: Ray starts, two workers import torch, a third takes a dead one's place after its lease."""
    pytest.importorskip("ray", reason="ray isn't installed (pip install 'latency-cup[scale]')")
    url = f"sqlite:///{tmp_path}/x.db"
    mine = [*QUICK, "study.trials=3", KILLABLE, f"storage.url={url}", f"runs={tmp_path}/runs"]
    command = started(tmp_path, "tune.py", "launch=ray", "workers=2", *mine)
    victim = begun(url, tmp_path / "runs", command)[0]
    os.kill(int(victim.user_attrs["worker"].rpartition("-")[2]), signal.SIGKILL)
    out, err = command.communicate(timeout=600)
    assert command.returncode == 0, out + err
    assert check(url, 3) == ["its worker died"]
    assert len([*(tmp_path / "runs" / "ours").glob("worker-*.log")]) >= 2
    assert err == ""


@pytest.mark.chaos
def test_ctrl_c_interrupts_ray_s_tasks(tmp_path: Path) -> None:
    """Over 5 s: Ray starts and a worker imports torch."""
    pytest.importorskip("ray", reason="ray isn't installed (pip install 'latency-cup[scale]')")
    url = f"sqlite:///{tmp_path}/x.db"
    command = started(
        tmp_path, "tune.py", "launch=ray", *LONG, "workers=2", f"storage.url={url}", f"runs={tmp_path}/runs"
    )
    workers = [int(t.user_attrs["worker"].rpartition("-")[2]) for t in begun(url, tmp_path / "runs", command, 2)]
    failed = load("ours", url).optuna.get_trials(states=(TrialState.FAIL,))  # as a noisy machine makes some
    over = {t.number for t in failed}
    command.send_signal(signal.SIGINT)
    out, err = command.communicate(timeout=600)
    assert command.returncode == 130 and "stopped; the same command goes on" in out, out + err
    assert not leased(url)
    assert not [pid for pid in workers if Path(f"/proc/{pid}").exists()]
    running = [t for t in load("ours", url).optuna.get_trials() if t.number not in over]
    assert [t.user_attrs["reason"] for t in running] == ["interrupted"] * 2


# what can't go well


@pytest.mark.parametrize("words", [["launch=slurm"], ["launch=ray", "ray.address=auto"]])
def test_a_file_can_t_be_shared_by_machines(tmp_path: Path, words: list[str]) -> None:
    """Before anything is loaded or started."""
    said = in_process.run(tmp_path, "tune.py", *words, "storage.url=sqlite:///x.db", code=2).stderr
    assert "storage.url=sqlite:///x.db: launch=" in said and "can't share a SQLite file" in said
    assert "python -m harness db start host=0.0.0.0" in said
    assert [place.name for place in tmp_path.iterdir()] in ([], ["runs"])  # which was tried: can it be written to?


def test_an_unknown_launcher_names_those_there_are(tmp_path: Path) -> None:
    """And the nearest of them."""
    with pytest.raises(HarnessError, match="launch: unknown 'slrum'; allowed: local, ray, slurm"):
        start.run(job(), None, Launch("slrum"))
    with pytest.raises(HarnessError, match="slurm.cpus=0: allowed: a number, 1 to"):
        Slurm(cpus=0)


@pytest.mark.parametrize(("module", "start"), [("submitit", launcher.start), ("ray", ray.start)])
def test_what_isn_t_installed_is_named(monkeypatch: pytest.MonkeyPatch, module: str, start: Callable) -> None:
    """With the command that installs it."""
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(HarnessError, match=r"pip install 'latency-cup\[scale\]'"):
        start(job(), Launch())


@pytest.mark.parametrize("address", ["127.0.0.1:1", "127.0.0.1:what", "auto"])
def test_a_ray_that_isn_t_there_is_named(address: str) -> None:
    """At once: Ray itself would go on trying for minutes."""
    pytest.importorskip("ray", reason="ray isn't installed (pip install 'latency-cup[scale]')")
    with pytest.raises(HarnessError, match=f"ray.address={address}: can't be joined: "):
        ray.start(job(), Launch(ray=Ray(address)))


def test_a_ray_cluster_s_users_don_t_see_the_password(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    """Ray would show the command line to them."""
    monkeypatch.setattr(sys, "argv", ["tune.py", f"storage.url={url}"])
    with pytest.raises(HarnessError, match="HARNESS_STORAGE_URL") as e:
        ray.start(job(url), Launch(ray=Ray("auto")))
    assert SECRET not in str(e.value)
