"""Start the workers of this machine and show how the study goes."""

from __future__ import annotations

import gc
import json
import multiprocessing
import os
import signal
import sys
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import torch
from optuna.trial import FrozenTrial, TrialState
from tqdm import tqdm

from harness.data.augment import Augment, augment
from harness.data.sets import load
from harness.data.split import Dataset
from harness.errors import HarnessError
from harness.measure.competition import Competition, formula_of
from harness.measure.machine import cores
from harness.measure.reference import reference_model
from harness.search import budget, objective, space
from harness.search.gate import Gate
from harness.search.proxy import Proxy, subset
from harness.search.study import Definition, Shared, Study, join
from harness.search.worker import bury, name_of_this_worker, work
from harness.seed import derive
from harness.track.mirror import check, mirrored
from harness.train.device import device_of
from harness.train.heap import give_back
from harness.train.precision import Precision


@dataclass(frozen=True)
class Job:
    """All that a worker needs; `url` may hold a password and is never printed."""

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

    @property
    def folder(self) -> Path:
        """Folder of the study's runs."""
        return self.runs / self.study.name

    def place(self, number: int) -> Path:
        """Return the run folder of a trial."""
        return self.folder / f"{number:05d}"

    def definition(self, dataset: Dataset) -> Definition:
        """Return what all workers of the study must share."""
        data = {"name": dataset.name, "options": asdict(self.data_options), "fingerprint": dataset.fingerprint()}
        return Definition(
            data, {k: v for k, v in self.space.items() if k != "name"}, self.proxy.to_dict(), asdict(self.competition),
            self.study.objective,
        )  # fmt: skip

    def task(self, dataset: Dataset) -> objective.Task:
        """Return what all trials share."""
        train, score = subset(dataset, self.proxy, self.study.seed)
        return objective.Task(
            train, score, dataset.classes, self.space, self.proxy, self.competition, self.gate, self.study.objective,
            self.study.seed, device_of(self.device), self.precision, self.runs / "reference", self.latency_s,
        )  # fmt: skip


def run(job: Job, workers: int) -> Shared:
    """Run a study with `workers` processes on this machine until its budget is finished.

    Raises:
        HarnessError: something is wrong before the first trial; nothing has been started then.
    """
    if workers < 1:
        raise HarnessError(f"workers={workers}: allowed: 1 or more", "set workers=2")
    check(job.track)
    if job.study.objective == "points" and formula_of(job.competition).score is None:
        raise HarnessError(
            f"competition.formula={job.competition.formula}: ranks a whole board and has no points for one trial",
            "set study.objective=pareto, or take another formula",
        )
    dataset = load(job.data_name, job.data_options)
    space.check(job.task(dataset).searched())
    reference_model(job.competition.reference, job.runs / "reference")
    shared = join(job.study, job.definition(dataset), job.url, job.study.seed)
    _write(job.folder / "data.json", {"counts": dataset.counts(), "classes": dataset.classes, "report": dataset.report})
    _announce(job, dataset, workers)
    del dataset  # each worker has its own
    if not _left(shared):
        print(f"all {job.study.trials} trials are finished: a larger study.trials runs more")
        return shared
    augment(np.zeros((1, 4, 4, 3), np.uint8), Augment(), np.random.default_rng(0))  # compile once, not in every worker
    context = multiprocessing.get_context("spawn")  # fork breaks torch's and W&B's threads
    started = [context.Process(target=worker, args=(job, i), name=f"worker-{i}") for i in range(workers)]
    for process in started:
        process.start()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        _watch(shared, started)
        bury(shared)
    except KeyboardInterrupt:
        for process in started:
            process.terminate()  # Ctrl-C has reached them already; a SIGTERM has reached this process alone
            process.join(30)
        print(f"\nstopped; the same command goes on where this ended ({_left(shared)} of {job.study.trials} to go)")
        raise
    _refuse_all_failed(shared, job)
    return shared


def _refuse_all_failed(shared: Shared, job: Job) -> None:
    """Say it as an error when not one trial of the budget went well."""
    trials = shared.optuna.get_trials(deepcopy=False)
    if any(t.state in (TrialState.COMPLETE, TrialState.PRUNED) for t in trials):
        return
    reasons = sorted({str(t.user_attrs.get("reason")) for t in trials if t.state == TrialState.FAIL})
    raise HarnessError(
        f"study {job.study.name}: every trial failed: {'; '.join(reasons[:3])}",
        f"see {job.folder}/*/error.txt, mend it, and take a new study.name",
    )


def worker(job: Job, number: int) -> None:
    """Be one worker process; its words go to `worker-N.log` in the study's folder."""
    for polite in (signal.SIGINT, signal.SIGTERM):
        signal.signal(polite, _stop)
    job.folder.mkdir(parents=True, exist_ok=True)
    log = (job.folder / f"worker-{name_of_this_worker()}.log").open("a", buffering=1)
    os.dup2(log.fileno(), sys.stdout.fileno())
    os.dup2(log.fileno(), sys.stderr.fileno())
    torch.set_num_threads(job.threads)
    give_back()  # what the imports left
    gc.freeze()  # what they made stays for good: no collection need look at it, which takes 0.2 s
    seed = derive(job.study.seed, name_of_this_worker(), number, time.time_ns()) % 2**32
    dataset = load(job.data_name, job.data_options)
    shared, task = join(job.study, job.definition(dataset), job.url, seed), job.task(dataset)
    del dataset  # the proxy's images are a copy, or a part of it

    def run_trial(trial: optuna.Trial, known: objective.Known) -> dict[str, Any]:
        give_back()  # what the last trial left
        config = {"study": job.study.name, "trial": trial.number, "data": job.data_name, "proxy": job.proxy.to_dict()}
        place = job.place(trial.number)
        with mirrored(
            job.track, place, study=job.study.name, run=f"{trial.number:05d}", job_type="trial", config=config
        ) as mirror:
            try:
                return objective.run(trial, task, known, place, mirror)
            except optuna.TrialPruned as e:
                pruned = e  # W&B would show a run that an exception leaves as crashed
        raise pruned

    try:
        work(shared, run_trial, job.place)
    except KeyboardInterrupt:
        print("interrupted")


def _stop(_signal: int, _frame: Any) -> None:
    """End on Ctrl-C and on a polite kill, once: a second signal must not break into giving the slot back."""
    for polite in (signal.SIGINT, signal.SIGTERM):
        signal.signal(polite, signal.SIG_IGN)
    raise KeyboardInterrupt


def _watch(shared: Shared, started: list[multiprocessing.Process]) -> None:
    """Show each trial as it ends, and the whole as a bar, until all workers have ended."""
    shown: set[int] = set()
    dead: set[str] = set()
    study, total = shared.optuna, shared.settings.trials
    with tqdm(total=total, unit="trial", desc=shared.settings.name, file=sys.stdout, dynamic_ncols=True) as bar:
        while True:
            alive = any(p.is_alive() for p in started)
            trials = study.get_trials(deepcopy=False)
            for trial in trials:
                if trial.state.is_finished() and trial.number not in shown:
                    shown.add(trial.number)
                    bar.write(line(trial))
            for process in started:
                if process.exitcode and process.name not in dead:
                    dead.add(process.name)
                    bar.write(f"{process.name} ended with code {process.exitcode}; the others go on")
            if (done := total - _left(shared)) != bar.n or sys.stdout.isatty():
                bar.n = done
                bar.refresh()
            if not alive:
                break
            time.sleep(1)
    if all(p.exitcode for p in started) and _left(shared):
        raise HarnessError(
            f"all workers ended early, {_left(shared)} trials are left",
            f"see worker-*.log in the folder of study {shared.settings.name}, then run the same command again",
        )


def line(trial: FrozenTrial) -> str:
    """Say in one line how a trial ended."""
    cost = trial.user_attrs.get("cost", {})
    speed = f"{cost['latency_ms']:.4f} ms  {cost['macs'] / 1e6:6.2f} MMACs" if cost else ""
    if trial.state == TrialState.COMPLETE:
        f = trial.user_attrs["figures"]
        return f"trial {trial.number:4d}  {f['points']:.4f} points  F1 {f['f1']:.4f}  {speed}  {f['seconds']:.0f} s"
    return f"trial {trial.number:4d}  {trial.state.name.lower()}: {trial.user_attrs.get('reason', '')}  {speed}"


def _left(shared: Shared) -> int:
    counts = budget.counts(shared.engine, shared.settings.name, shared.settings.trials)
    return counts["free"] + counts["leased"]


def _announce(job: Job, dataset: Dataset, workers: int) -> None:
    sizes = ", ".join(f"{name} {sum(c)}" for name, c in dataset.counts().items())
    where = f"{workers} workers x {job.threads} threads, {cores()} cores"
    print(f"study {job.study.name}: {job.study.trials} trials, {where}")
    print(f"data {dataset.name}: {sizes}, {len(dataset.classes)} classes (see {job.folder / 'data.json'})", flush=True)
    for name, count in dataset.report.get("rare_classes", {}).items():
        annotated = dataset.report["annotated"][name]
        print(f"  class left out: {name}: {count} of {annotated} objects left by the other rules")
    damaged = dataset.report.get("damaged") or []
    for entry in damaged[:5]:
        print(f"  left out: {entry['name']}: {entry['reason']}")
    if len(damaged) > 5:
        print(f"  and {len(damaged) - 5} more damaged images, all named in {job.folder / 'data.json'}")


def _write(path: Path, what: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(what, indent=2, default=str) + "\n")
