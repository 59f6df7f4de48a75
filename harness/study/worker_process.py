"""One worker process, whoever starts it."""

from __future__ import annotations

import gc
import os
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import optuna
import torch

from harness.data.sets import load
from harness.data.split import Dataset
from harness.errors import HarnessError
from harness.interrupts import deaf, heed
from harness.measure.process import PATIENCE_S as PATIENCE_CLEAN_S
from harness.processors import check_threads, threads
from harness.record.result import Result
from harness.search.gate import Refused
from harness.search.proxy import subset
from harness.seed import derive
from harness.study import honest_trial, own_folder, retiming
from harness.study.definition import Definition
from harness.study.storage import PATIENCE_S
from harness.study.study import Study, join
from harness.study.worker import name_of_worker, work
from harness.track.mirror import mirrored
from harness.train.device import device_of
from harness.train.heap import give_back
from harness.train.precision import fixed


@dataclass(frozen=True)
class Job:
    """What a worker needs beside what its study has stored; `url` may hold a password and is never printed.

    study: its name, budget and leases. here: where its data lie on this machine, by option. deadline: when the study's
    time is over, in seconds since 1970. patience_s: how long a database may be away.
    """

    study: Study
    url: str = field(repr=False)
    here: Mapping[str, Any]
    device: str
    track: str
    runs: Path
    threads: int
    deadline: float | None = None
    patience_s: float = PATIENCE_S
    measure_patience_s: float = PATIENCE_CLEAN_S

    @property
    def folder(self) -> Path:
        """Folder of the study's runs."""
        return self.runs / self.study.name

    def place(self, number: int) -> Path:
        """Return the run folder of a trial."""
        return self.folder / f"{number:05d}"

    def task(self, definition: Definition, dataset: Dataset) -> honest_trial.Task:
        """Return what all trials share."""
        proxy, seed = definition.proxy_settings(), definition.seed
        train, score = subset(dataset, proxy, seed)
        return honest_trial.Task(
            train=train, score=score, classes=dataset.classes, space=definition.space, proxy=proxy,
            competition=definition.rules(), gate=definition.limits(), objective=definition.objective, seed=seed,
            device=device_of(self.device), precision=fixed(definition.layout, definition.dtype),
            reference_cache=self.runs / "reference", latency_s=definition.latency_s, pruner=definition.study["pruner"],
            patience_s=self.patience_s, measure_patience_s=self.measure_patience_s,
        )  # fmt: skip


def worker(job: Job, number: int) -> bool:
    """Be one worker process; return False if it was interrupted.

    Its words go to `worker-*.log` in the study's folder. After it, this process ignores polite signals.
    """
    heed()
    job.folder.mkdir(parents=True, exist_ok=True)
    log = (job.folder / f"worker-{name_of_worker()}.log").open("a", buffering=1)
    os.dup2(log.fileno(), sys.stdout.fileno())
    os.dup2(log.fileno(), sys.stderr.fileno())
    try:
        _work(job, number)
    except KeyboardInterrupt:
        print("interrupted", flush=True)
        return False
    except HarnessError as e:  # a traceback would hide what is to be done
        print(f"error: {e}", flush=True)
        raise SystemExit(2) from e
    finally:
        deaf()
    return True


def _work(job: Job, number: int) -> None:
    torch.set_num_threads(threads(job.threads)[0])
    give_back()  # what the imports left
    gc.freeze()  # what they made stays for good: no collection need look at it, which takes 0.2 s
    seed = derive(job.study.seed, name_of_worker(), number, time.time_ns()) % 2**32
    shared = join(job.study, None, job.url, seed, job.patience_s)
    own_folder.claim(shared.optuna, job.folder)  # on this machine, too, it must be the study's
    definition = shared.definition
    check_threads(definition.rules().threads)
    dataset = load(*definition.reader(job.here))
    definition.with_data(dataset)  # on this machine, too, they must be the study's
    task = job.task(definition, dataset)
    del dataset  # the proxy's images are a copy, or a part of it

    def run_trial(trial: optuna.Trial, earlier: int | None) -> Result:
        give_back()  # what the last trial left
        config = {
            "study": job.study.name,
            "trial": trial.number,
            "data": definition.data["name"],
            "proxy": definition.proxy,
        }
        place, before = job.place(trial.number), None if earlier is None else job.place(earlier)
        with mirrored(
            job.track, place, study=job.study.name, run=f"{trial.number:05d}", job_type="trial", config=config
        ) as mirror:
            try:
                return honest_trial.run(trial, task, shared.known, place, mirror, before)
            except (optuna.TrialPruned, Refused) as e:
                unfinished = e  # W&B would show a run that an exception leaves as crashed
        raise unfinished

    def between(owner: str) -> None:
        retiming.again(shared, owner, job.place, task.reference_cache)

    work(shared, run_trial, job.place, job.deadline, between)
