"""One honest trial, from start to end."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import optuna
import torch

from harness.data.loader import fitting_batch
from harness.data.prepare import Preprocessing, prepare, statistics
from harness.data.split import Images
from harness.measure.cache import Timing, timed
from harness.measure.cost import cost as cost_of
from harness.measure.cost import macs_of_onnx, parameters_of_onnx
from harness.measure.machine import versions
from harness.measure.process import PATIENCE_S as PATIENCE_CLEAN_S
from harness.measure.process import predict
from harness.measure.quality import macro_f1
from harness.measure.result import result
from harness.record import run_folder
from harness.record.candidate import Candidate
from harness.record.journal import Journal
from harness.record.result import Cost, Result
from harness.rules.competition import Competition
from harness.rules.formulas import scored
from harness.rules.reference import reference_model
from harness.runtime.export import export
from harness.search import attributes, duplicates, gate
from harness.search.proxy import Proxy, at
from harness.search.pruning import PRUNERS
from harness.search.space import fixed, suggest
from harness.seed import derive
from harness.study import resume
from harness.study.objective import OBJECTIVES, worth
from harness.study.storage import PATIENCE_S, together
from harness.track.mirror import Mirror
from harness.train.fit import Diverged, Epoch, fit
from harness.train.fit import predict as predict_in_memory
from harness.train.footprint import never_fits, training_gb, wait_for_memory
from harness.train.heap import give_back
from harness.train.precision import Precision
from harness.train.probe import probe
from harness.train.start import network

RUNGS = (0.4, 0.7)  # shares of the epochs after which a trial reports: earlier, large nets look worse than they are
SAVE_S = 10.0  # between checkpoints: what a dead worker's trial costs at most, beside its lease
RUNG_IMAGES = 2_500  # on how many images: enough to tell a bad trial


@dataclass(frozen=True)
class Task:
    """What all trials of a study have in common, loaded once a worker. precision: None leaves it to the probe."""

    train: Images
    score: Images
    classes: tuple[str, ...]
    space: Mapping[str, Any]
    proxy: Proxy
    competition: Competition
    gate: gate.Gate
    objective: str
    seed: int
    device: torch.device
    precision: Precision | None
    reference_cache: Path
    latency_s: float
    pruner: str = "median"
    patience_s: float = PATIENCE_S
    measure_patience_s: float = PATIENCE_CLEAN_S

    @cached_property
    def statistics(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Mean and standard deviation of the training pixels, by channel."""
        return statistics(self.train.pixels)

    def searched(self) -> dict[str, Any]:
        """Return the space with the proxy's fixed parts in it."""
        return fixed(dict(self.space), {"recipe.epochs": self.proxy.epochs} | self.proxy.fix)


Known = Callable[[], list[gate.Known]]


def run(
    trial: optuna.Trial, task: Task, known: Known, folder: Path, mirror: Mirror, earlier: Path | None = None
) -> Result:
    """Run a trial and return its result; its folder holds what rebuilds it.

    earlier: the run folder of a trial of the same candidate that was stopped; training goes on from its checkpoint.

    Raises:
        optuna.TrialPruned: the pruner stopped it; the reason is the message.
        Refused: it isn't worth its training: too dear, hopeless, too big for this machine, or another trains the same.
        MemoryError: there was no room for its training in time, which says nothing about the candidate.
        HarnessError, Diverged and whatever else goes wrong: the caller fails the trial with the reason.
    """
    begin = time.perf_counter()
    candidate = together(trial, task.patience_s, lambda: _suggested(trial, task))
    run_folder.write_candidate(folder, candidate)
    mirror.describe({"candidate": candidate.to_dict(), "fidelity": task.proxy.fidelity()})

    model = network(candidate, len(task.classes), derive(task.seed, "weights"))
    artefact = export(model, candidate.resolution_px, folder / "model.onnx")
    macs, parameters = macs_of_onnx(artefact), parameters_of_onnx(artefact)
    gate.refuse_dear(task.gate, macs=macs, parameters=parameters)
    timing = _timed(task, artefact, folder)
    cost = cost_of(macs, parameters, timing.runtime, timing.latency, timing.name)
    trial.set_user_attr(attributes.COST, cost.to_dict())
    mirror.summary(cost.to_dict())
    gate.refuse_dear(task.gate, latency_ms=cost.latency_low_ms)
    if task.objective == "points":
        gate.refuse_hopeless(task.competition, cost, known())
    need_gb = training_gb(model, candidate.resolution_px, candidate.recipe.batch)
    if reason := never_fits(need_gb):
        raise gate.Refused("too big", f"gate: {reason}", excess=need_gb)
    duplicates.refuse(trial, duplicates.built(candidate, model))
    wait_for_memory(need_gb)

    if earlier:
        resume.bring(earlier, folder)
    trained = _train(
        trial, task, candidate=candidate, model=model, cost=cost, known=known, folder=folder, mirror=mirror
    )
    export(trained.network, candidate.resolution_px, artefact)
    give_back()  # training's memory: the images to score are the next large thing
    logits = predict(artefact, prepare(task.score.pixels, trained.preprocessing), task.competition.threads)

    found = result(
        task.competition, cost, task.score.labels, logits.argmax(1), len(task.classes), rungs=trained.rungs,
        fidelity=task.proxy.fidelity(), precision=trained.precision.to_dict(),
        seconds=round(time.perf_counter() - begin, 2),
    )  # fmt: skip
    run_folder.write_result(folder, found, trained.preprocessing, versions())
    mirror.summary(found.figures())
    return found


def _suggested(trial: optuna.Trial, task: Task) -> Candidate:
    """Draw a candidate and note it: with the batch that it trains with, where the images are few."""
    candidate = suggest(task.searched(), trial)
    batch = fitting_batch(candidate.recipe.batch, len(task.train))
    candidate = replace(candidate, recipe=replace(candidate.recipe, batch=batch))
    trial.set_user_attr(attributes.CANDIDATE, candidate.to_dict())
    trial.set_user_attr(attributes.DIGEST, candidate.digest())
    return candidate


def _timed(task: Task, artefact: Path, folder: Path) -> Timing:
    """Time a network that isn't trained yet."""
    reference = reference_model(task.competition.reference, task.reference_cache)
    timing = timed(task.reference_cache, artefact, reference, task.competition, task.latency_s, task.measure_patience_s)
    cached_from = None if timing.model == str(artefact) else timing.model
    run_folder.write_latency(folder, timing.runtime, timing.latency.to_dict(), cached_from)
    return timing


@dataclass(frozen=True)
class _Trained:
    """A trained network, how it takes its images, and its F1 at the rungs, by epoch."""

    network: torch.nn.Module
    preprocessing: Preprocessing
    precision: Precision
    rungs: dict[int, float]


def _train(
    trial: optuna.Trial,
    task: Task,
    *,
    candidate: Candidate,
    model: torch.nn.Module,
    cost: Cost,
    known: Known,
    folder: Path,
    mirror: Mirror,
) -> _Trained:
    """Train on the proxy; at each rung, report the points that the trial is heading for."""
    train_px = max(4, round(candidate.resolution_px * task.proxy.pixels))
    run_folder.write_transforms(folder, candidate.augment.transforms, train_px)
    small, whole = (Preprocessing(px, *task.statistics) for px in (train_px, candidate.resolution_px))
    images, score = at(task.train, train_px), at(task.score.take(slice_of(task.score)), train_px)
    begun = resume.begun(folder) or task.precision or probe(model, train_px, candidate.recipe.batch, task.device)
    precision = resume.begin(folder, begun)
    journal, epochs = Journal(folder), candidate.recipe.epochs
    f1_at = {row["epoch"]: row["f1"] for row in journal.rows() if "f1" in row}
    rungs = {round(epochs * share) for share in RUNGS} - {0, epochs}

    def on_epoch(epoch: Epoch) -> None:
        row = {"epoch": epoch.number, "loss": epoch.loss, "images_per_s": round(epoch.images_per_s, 1)}
        if epoch.number in rungs:
            found = predict_in_memory(epoch.model, score.pixels, small, precision)
            f1_at[epoch.number] = row["f1"] = macro_f1(score.labels, found, len(task.classes))
            row["points"] = scored(task.competition, cost, row["f1"])
        mirror.log(journal.log(**row))
        if epoch.number in rungs:
            _look(trial, task, cost, f1_at, known)

    try:
        trained = fit(
            model, images, preprocessing=small, recipe=candidate.recipe, how=candidate.augment, precision=precision,
            seed=derive(task.seed, "fit"), device=task.device, on_epoch=on_epoch,
            save_to=folder / resume.CHECKPOINT, save_every_s=SAVE_S,
        )  # fmt: skip
    except (optuna.TrialPruned, Diverged):
        resume.forget(folder)
        raise
    torch.save(trained.state_dict(), folder / "weights.pt")
    resume.forget(folder)
    return _Trained(trained, whole, precision, f1_at)


def _look(trial: optuna.Trial, task: Task, cost: Cost, rungs: Mapping[int, float], known: Known) -> None:
    """Note a trial's raw F1 at its rungs, and ask the pruner, which compares all trials by what is known now.

    What Optuna keeps is worth the same whenever it is looked at: a forecast would change as others finish.

    Raises:
        optuna.TrialPruned: it isn't worth going on.
    """
    epoch = max(rungs)
    trial.set_user_attr(attributes.RUNGS, {str(at): f1 for at, f1 in rungs.items()})
    directions = OBJECTIVES[task.objective].directions(task.competition)
    if len(directions) > 1:  # nothing orders such trials, and Optuna takes no reports of them
        return
    value = worth(task.objective, task.competition)
    trial.report(value(cost, rungs[epoch]), epoch)
    lower = directions == ["minimize"]
    if reason := PRUNERS[task.pruner](value, lower, cost, rungs, known()):
        raise optuna.TrialPruned(f"pruner: {task.objective} {reason}")


def slice_of(score: Images) -> Any:
    """Choose the images that the rungs look at: a fixed, evenly spread part."""
    return torch.linspace(0, len(score) - 1, min(RUNG_IMAGES, len(score))).long().numpy()
