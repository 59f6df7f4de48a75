"""Start a study's workers and show how it goes."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
from optuna.trial import FrozenTrial, TrialState

from harness import database
from harness.data import overview
from harness.data.augment import Augment, augment
from harness.data.loader import fitting_batch
from harness.data.sets import load
from harness.data.split import Dataset
from harness.errors import HarnessError, pick
from harness.interrupts import deaf
from harness.launch import local, ray, slurm
from harness.launch.display import Display
from harness.launch.launcher import Launch, Workers
from harness.processors import check_threads, given
from harness.record import files
from harness.record.recipe import Recipe
from harness.rules.formulas import formula_of
from harness.rules.reference import reference_model
from harness.search import space
from harness.search.attributes import cost_of, result_of
from harness.study import ledger, own_folder, progress, refused, slots
from harness.study.definition import Definition, listed
from harness.study.ending import reasons_in, word
from harness.study.honest_trial import Task
from harness.study.study import Shared, Study, differences, join, refuse, there_is
from harness.study.worker_process import Job
from harness.track.environment import settled
from harness.track.mirror import trouble

LAUNCHERS: dict[str, Callable[[Job, Launch], Workers]] = {"local": local.start, "slurm": slurm.start, "ray": ray.start}
IDLE_S = 30.0
"""How long a worker may take to find that nothing is left; one that still waits for a place then needn't begin."""


def run(job: Job, definition: Definition, how: Launch, named: Sequence[str] = ()) -> Shared:
    """Run a study until its budget is finished.

    definition: what it is to be, if it is made now; one that is there keeps its own. named: the settings that somebody
    has set for this command: they must be the study's.

    Raises:
        HarnessError: something is wrong before the first trial; nothing has been started then.
    """
    start = pick(LAUNCHERS, how.launcher, "launch")
    _check(job, how)
    _refuse_past(job.study)
    job = replace(job, track=settled(job.track, job.folder / "*"))
    if there := there_is(job.study.name, job.url):
        definition, job = _taken_over(there, definition, job, named)
        there.engine.dispose()
    _check_points(definition)
    if not how.elsewhere:
        check_threads(definition.rules().threads)
    dataset = load(*definition.reader(job.here))
    definition = definition.with_data(dataset)
    task = job.task(definition, dataset)
    space.check(task.searched())
    reference_model(definition.rules().reference, job.runs / "reference")
    shared = join(job.study, definition, job.url, definition.seed, job.patience_s, job.here)
    own_folder.claim(shared.optuna, job.folder)
    _announce(job, how, dataset)
    _announce_batch(task)
    del dataset, task  # each worker has its own
    if not _left(shared):
        print(f"all {job.study.trials} trials are finished: a larger study.trials runs more")
        return shared
    augment(np.zeros((1, 4, 4, 3), np.uint8), Augment(), np.random.default_rng(0))  # compile once, not in every worker
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        _watch(shared, start(replace(job, deadline=_deadline(shared)), how), job)
    except KeyboardInterrupt:
        print(f"\nstopped; the same command goes on where this ended ({_left(shared)} of {job.study.trials} to go)")
        raise
    if left := _left(shared):
        if over := _over(shared):
            print(f"the study's time is over ({over})")
        print(f"{left} of {job.study.trials} trials are left: the same command goes on with them")
        return shared
    _refuse_all_failed(shared, job)
    return shared


def _taken_over(there: Shared, definition: Definition, job: Job, named: Sequence[str]) -> tuple[Definition, Job]:
    """Return a study's own definition, and the job with what that decides; say what is otherwise here.

    Its budget is the study's, too, unless somebody has set `study.trials`.

    Raises:
        HarnessError: a setting that somebody has set is otherwise.
    """
    differ = differences(there, definition)
    refuse(job.study.name, [d for d in differ if d.is_named(named)])
    if differ:
        print(f"study {job.study.name} keeps the settings it was made with: {listed(differ)}")
    here = there.here | {name: value for name, value in job.here.items() if value}
    study = there.definition.applied(job.study)
    if "study.trials" not in named:
        study = replace(study, trials=slots.budget(there.engine, study.name) or study.trials)
    return there.definition, replace(job, here=here, study=study)


def _check(job: Job, how: Launch) -> None:
    """Refuse what can't go well."""
    if how.workers < 1:
        raise HarnessError(f"workers={how.workers}: allowed: 1 or more", "set workers=2")
    _check_folders(job)
    files.writable(job.runs, "runs")
    if how.elsewhere and database.address(job.url).get_backend_name() == "sqlite":
        raise HarnessError(
            f"storage.url={database.shown(job.url)}: launch={how.launcher} runs workers on other machines, which can't "
            "share a SQLite file",
            "start a PostgreSQL with `python -m harness db start host=0.0.0.0` and set its storage.url",
        )


def _check_folders(job: Job) -> None:
    """Refuse folders of runs that another account has made for itself.

    Raises:
        HarnessError: this one can't write to them.
    """
    for folder in (job.runs, job.folder, job.runs / "reference"):
        if folder.is_dir() and not os.access(folder, os.W_OK | os.X_OK):
            raise HarnessError(
                f"runs={job.runs}: {folder} belongs to another account (user {folder.stat().st_uid}), and this one "
                "can't write to it",
                "set runs= to a folder of your own; the study's database may be common to several accounts",
            )


def _check_points(definition: Definition) -> None:
    competition = definition.rules()
    if definition.objective == "points" and formula_of(competition).score is None:
        raise HarnessError(
            f"competition.formula={competition.formula}: ranks a whole board and has no points for one trial",
            "set study.objective=pareto or study.objective=f1, or take another formula",
        )


def _deadline(shared: Shared) -> float | None:
    """Return when the study's time is over, in seconds since 1970: study.hours count from now."""
    settings = shared.settings
    ends = [settings.deadline_at(), ledger.clock(shared) + 3600 * settings.hours if settings.hours else None]
    return min((end for end in ends if end is not None), default=None)


def _over(shared: Shared) -> str:
    """Name the limit that a study's time has come to; '' where it hasn't."""
    settings, at = shared.settings, shared.settings.deadline_at()
    if at is not None and at <= ledger.clock(shared):
        return f"study.deadline={settings.deadline}"
    return f"study.hours={settings.hours:g} of this command" if settings.hours else ""


def _refuse_past(study: Study) -> None:
    """Refuse to begin after the deadline.

    Raises:
        HarnessError: it has passed.
    """
    at = study.deadline_at()
    if at is not None and at <= time.time():
        local = datetime.fromtimestamp(at).astimezone()
        raise HarnessError(
            f"study.deadline={study.deadline}: was {local:%Y-%m-%d %H:%M %Z}, which is over: no trial is begun",
            "set another study.deadline, or leave it out",
        )


def _refuse_all_failed(shared: Shared, job: Job) -> None:
    """Say it as an error when not one trial of the whole budget went well."""
    trials = [t for t in shared.optuna.get_trials(deepcopy=False) if not refused.is_refused(t)]
    if any(t.state in (TrialState.COMPLETE, TrialState.PRUNED) for t in trials):
        return
    reasons = sorted({str(t.user_attrs.get("reason")) for t in trials if t.state == TrialState.FAIL})
    raise HarnessError(
        f"study {job.study.name}: every trial failed: {'; '.join(reasons[:3])}",
        f"see {reasons_in(job.folder) or job.folder}, mend it, and take a new study.name",
    )


def _say_trouble(display: Display, folder: Path) -> bool:
    """Say what went wrong with a trial's mirror, which only its worker's log has; tell whether anything did."""
    if words := trouble(folder):
        display.say(f"W&B: {words}\n  {folder} keeps the record; track=disabled avoids this, and the study goes on")
    return bool(words)


def _watch(shared: Shared, workers: Workers, job: Job) -> None:
    """Show each trial as it ends, and how far the others are, until all workers have ended; none outlives this.

    Those that had ended before are not shown again.
    """
    study, total = shared.optuna, shared.settings.trials
    shown = {t.number for t in study.get_trials(deepcopy=False) if t.state.is_finished()}
    reported: set[str] = set()
    finished_at, said = None, False
    try:
        with Display(shared.settings.name, total=total, done=total - _left(shared)) as display:
            while True:
                ended = workers.ended()
                trials = study.get_trials(deepcopy=False)
                for trial in trials:
                    if trial.state.is_finished() and trial.number not in shown and not refused.is_refused(trial):
                        shown.add(trial.number)
                        display.say(line(trial))
                        said = said or _say_trouble(display, job.place(trial.number))
                for name, words in ended.items():
                    if words and name not in reported:
                        reported.add(name)
                        ledger.died(shared, name, words)  # it may have held a slot: another takes it up at once
                        display.say(f"{name}: {words}{'; the study goes on' if workers.running() else ''}")
                left = _left(shared)
                at_work = progress.running(study, trials, job.folder)
                display.show(total - left, at_work, refused.words(refused.counts(trials)))
                finished_at = finished_at or (None if left else time.monotonic())
                if not workers.running() or (finished_at and time.monotonic() - finished_at > IDLE_S):
                    break
                time.sleep(1)
    except KeyboardInterrupt:
        deaf()  # a second Ctrl-C must not keep the workers from hearing of it
        raise
    finally:
        workers.stop()
    if left and all(ended.values()):
        raise HarnessError(
            f"all workers ended early, {left} trials are left",
            f"see {reasons_in(job.folder) or job.folder}, then run the same command again",
        )


def line(trial: FrozenTrial) -> str:
    """Say in one line how a trial ended."""
    cost, result = cost_of(trial), result_of(trial)
    speed = f"{cost.latency_ms:.4f} ms  {cost.macs / 1e6:6.2f} MMACs" if cost else ""
    if trial.state == TrialState.COMPLETE:
        points = "" if result.points is None else f"{result.points:.4f} points  "
        return f"trial {trial.number:4d}  {points}F1 {result.f1:.4f}  {speed}  {result.seconds:.0f} s"
    reason = trial.user_attrs.get("reason", "")
    return f"trial {trial.number:4d}  {word(trial)}{'' if reason in ('', word(trial)) else f': {reason}'}  {speed}"


def _left(shared: Shared) -> int:
    counts = ledger.counts(shared)
    return counts["free"] + counts["leased"]


def _announce(job: Job, how: Launch, dataset: Dataset) -> None:
    """Say what begins, and what its data are; all that was left out of them is named in the study's folder."""
    where = f"{how.workers} workers x {job.threads} threads, {how.launcher if how.elsewhere else given()}"
    print(f"study {job.study.name}: {job.study.trials} trials, {where}", flush=True)
    path = job.folder / "data.json"
    about = {"counts": dataset.counts(), "classes": dataset.classes, "report": dataset.report}
    _write(path, about | {"copies": [c.to_dict() for c in overview.show(dataset)]})
    print(f"all of it by name: {path}", flush=True)


def _announce_batch(task: Task) -> None:
    """Say which batches are lowered because an epoch of these images would be one step."""
    count, largest = len(task.train), max(_batches(task.searched().get("recipe")), default=Recipe.batch)
    if (lowered := fitting_batch(largest, count)) < largest:
        why = f"{count} images to learn from, an epoch would be one step"
        print(f"note:  a batch of more than {count // 2} is lowered to {lowered}: {why}", flush=True)


def _batches(node: Any, inside: bool = False) -> Iterator[int]:
    """Yield the numbers that a space has for its batch."""
    if isinstance(node, Mapping):
        for name, value in node.items():
            yield from _batches(value, inside or name == "batch")
    elif isinstance(node, Sequence) and not isinstance(node, str):
        for value in node:
            yield from _batches(value, inside)
    elif inside and isinstance(node, int):
        yield node


def _write(path: Path, what: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    files.write_json(path, json.loads(json.dumps(what, default=str)))
