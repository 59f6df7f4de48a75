"""One worker process, whoever starts it."""

from __future__ import annotations

import gc
import os
import signal
import sys
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import optuna
import torch

from harness.data.sets import load
from harness.data.split import Dataset
from harness.launch.crew import Ray, Slurm
from harness.record.result import Result
from harness.rules.competition import Competition
from harness.search.gate import Gate, Refused
from harness.search.proxy import Proxy, subset
from harness.seed import derive
from harness.study import honest_trial
from harness.study.storage import PATIENCE_S
from harness.study.study import Definition, Study, join
from harness.study.worker import name_of_worker, work
from harness.track.mirror import mirrored
from harness.train.device import device_of
from harness.train.heap import give_back
from harness.train.precision import Precision

POLITE = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR2)
"""Ctrl-C, a kill, and submitit's word for a job whose end is near."""


@dataclass(frozen=True)
class Job:
    """All that a worker needs; `url` may hold a password and is never printed.

    deadline: when the study's time is over, in seconds since 1970. patience_s: how long a database may be away.
    """

    data_name: str
    data_options: Any
    space: dict[str, Any]
    proxy: Proxy
    competition: Competition
    gate: Gate
    study: Study
    url: str = field(repr=False)
    latency_s: float
    device: str
    precision: Precision | None
    track: str
    runs: Path
    threads: int
    launch: str = "local"
    slurm: Slurm = field(default_factory=Slurm)
    ray: Ray = field(default_factory=Ray)
    deadline: float | None = None
    patience_s: float = PATIENCE_S

    @property
    def folder(self) -> Path:
        """Folder of the study's runs."""
        return self.runs / self.study.name

    @property
    def elsewhere(self) -> bool:
        """Whether its workers may run on other machines."""
        return self.launch == "slurm" or (self.launch == "ray" and self.ray.address != "")

    def place(self, number: int) -> Path:
        """Return the run folder of a trial."""
        return self.folder / f"{number:05d}"

    def definition(self, dataset: Dataset) -> Definition:
        """Return what all workers of the study must share."""
        data = {"name": dataset.name, "options": asdict(self.data_options), "fingerprint": dataset.fingerprint()}
        return Definition(
            data, {k: v for k, v in self.space.items() if k != "name"}, self.proxy.to_dict(), self.competition.rules(),
            self.study.objective,
        )  # fmt: skip

    def task(self, dataset: Dataset) -> honest_trial.Task:
        """Return what all trials share."""
        train, score = subset(dataset, self.proxy, self.study.seed)
        return honest_trial.Task(
            train=train, score=score, classes=dataset.classes, space=self.space, proxy=self.proxy,
            competition=self.competition, gate=self.gate, objective=self.study.objective, seed=self.study.seed,
            device=device_of(self.device), precision=self.precision, reference_cache=self.runs / "reference",
            latency_s=self.latency_s, pruner=self.study.pruner,
        )  # fmt: skip


def worker(job: Job, number: int) -> bool:
    """Be one worker process; return False if it was interrupted.

    Its words go to `worker-*.log` in the study's folder. After it, this process ignores polite signals.
    """
    for polite in POLITE:
        signal.signal(polite, _stop)
    job.folder.mkdir(parents=True, exist_ok=True)
    log = (job.folder / f"worker-{name_of_worker()}.log").open("a", buffering=1)
    os.dup2(log.fileno(), sys.stdout.fileno())
    os.dup2(log.fileno(), sys.stderr.fileno())
    try:
        _work(job, number)
    except KeyboardInterrupt:
        print("interrupted", flush=True)
        return False
    finally:
        deaf()
    return True


def _work(job: Job, number: int) -> None:
    torch.set_num_threads(job.threads)
    give_back()  # what the imports left
    gc.freeze()  # what they made stays for good: no collection need look at it, which takes 0.2 s
    seed = derive(job.study.seed, name_of_worker(), number, time.time_ns()) % 2**32
    dataset = load(job.data_name, job.data_options)
    shared = join(job.study, job.definition(dataset), job.url, seed, job.patience_s)
    task = job.task(dataset)
    del dataset  # the proxy's images are a copy, or a part of it

    def run_trial(trial: optuna.Trial, earlier: int | None) -> Result:
        give_back()  # what the last trial left
        config = {"study": job.study.name, "trial": trial.number, "data": job.data_name, "proxy": job.proxy.to_dict()}
        place, before = job.place(trial.number), None if earlier is None else job.place(earlier)
        with mirrored(
            job.track, place, study=job.study.name, run=f"{trial.number:05d}", job_type="trial", config=config
        ) as mirror:
            try:
                return honest_trial.run(trial, task, shared.known, place, mirror, before)
            except (optuna.TrialPruned, Refused) as e:
                unfinished = e  # W&B would show a run that an exception leaves as crashed
        raise unfinished

    work(shared, run_trial, job.place, job.deadline)


def _stop(_signal: int, _frame: Any) -> None:
    """End on a polite signal, once: a second one must not break into giving the slot back."""
    deaf()
    raise KeyboardInterrupt


def deaf() -> None:
    """Ignore polite signals from now on."""
    for polite in POLITE:
        signal.signal(polite, signal.SIG_IGN)
