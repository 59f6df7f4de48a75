"""One honest trial, from start to end."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import optuna
import torch

from harness.data.prepare import Preprocessing, prepare, statistics
from harness.data.split import Images
from harness.measure.cache import timed
from harness.measure.cost import cost as cost_of
from harness.measure.cost import macs_of_onnx, parameters_of_onnx
from harness.measure.machine import versions
from harness.measure.process import predict
from harness.measure.quality import macro_f1
from harness.measure.result import result
from harness.record import run_folder
from harness.record.candidate import Candidate
from harness.record.journal import Journal
from harness.record.result import Cost, Result
from harness.rules.competition import Competition
from harness.rules.formulas import figures, scored
from harness.rules.reference import reference_model
from harness.runtime.export import export
from harness.search import attributes, duplicates, gate
from harness.search.forecast import forecast
from harness.search.proxy import Proxy, at
from harness.search.space import fixed, suggest
from harness.seed import derive
from harness.study import resume
from harness.study.storage import PATIENCE_S, together
from harness.track.mirror import Mirror
from harness.train.fit import Diverged, Epoch, fit
from harness.train.fit import predict as predict_in_memory
from harness.train.footprint import too_big, training_gb
from harness.train.heap import give_back
from harness.train.precision import Precision, probe
from harness.train.start import network

RUNGS = (0.4, 0.7)  # shares of the epochs after which a trial reports: earlier, large nets look worse than they are
SAVE_S = 10.0  # between checkpoints: what a dead worker's trial costs at most, beside its lease
RUNG_IMAGES = 2_500  # on how many images: enough to tell a bad trial
HEADING = {"points": ("points", "{:.4f} points"), "f1": ("f1_forecast", "F1 {:.4f}")}
"""What the pruner is told at a rung, by objective, and its words; with two objectives Optuna has no pruner."""


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
    patience_s: float = PATIENCE_S

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
        optuna.TrialPruned: the gate refused it, or the pruner stopped it; the reason is the message.
        Duplicate: another trial builds and trains the same.
        HarnessError, Diverged, MemoryError and whatever else goes wrong: the caller fails the trial with the reason.
    """
    begin = time.perf_counter()
    candidate = together(trial, task.patience_s, lambda: _suggested(trial, task))
    run_folder.write_candidate(folder, candidate)
    mirror.describe({"candidate": candidate.to_dict(), "fidelity": task.proxy.fidelity()})

    model = network(candidate, len(task.classes), derive(task.seed, "weights"))
    artefact = export(model, candidate.resolution_px, folder / "model.onnx")
    duplicates.refuse(trial, duplicates.built(candidate, artefact))
    cost = _measured(task, artefact, folder)
    trial.set_user_attr(attributes.COST, cost.to_dict())
    mirror.summary(cost.to_dict())
    _refuse(gate.too_dear(task.gate, cost.macs, cost.parameters, cost.latency_ms))
    if task.objective == "points":
        _refuse(gate.hopeless(task.competition, figures(cost, f1=0.0), known()))
    _refuse(too_big(training_gb(model, candidate.resolution_px, candidate.recipe.batch)))

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
    """Draw a candidate and note it."""
    candidate = suggest(task.searched(), trial)
    trial.set_user_attr(attributes.CANDIDATE, candidate.to_dict())
    trial.set_user_attr(attributes.DIGEST, candidate.digest())
    return candidate


def _measured(task: Task, artefact: Path, folder: Path) -> Cost:
    """Time a network that isn't trained yet, and count what it computes and stores."""
    reference = reference_model(task.competition.reference, task.reference_cache)
    runtime, latency, cached_from = timed(task.reference_cache, artefact, reference, task.competition, task.latency_s)
    run_folder.write_latency(folder, runtime, latency.to_dict(), cached_from)
    return cost_of(macs_of_onnx(artefact), parameters_of_onnx(artefact), runtime, latency)


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
    small, whole = (Preprocessing(px, *task.statistics) for px in (train_px, candidate.resolution_px))
    images, score = at(task.train, train_px), at(task.score.take(slice_of(task.score)), train_px)
    begun = resume.begun(folder) or task.precision or probe(model, train_px, candidate.recipe.batch, task.device)
    precision = resume.begin(folder, begun)
    journal, epochs = Journal(folder), candidate.recipe.epochs
    seen = {row["epoch"]: row["f1"] for row in journal.rows() if "f1" in row}
    rungs = {round(epochs * share) for share in RUNGS} - {0, epochs}

    def on_epoch(epoch: Epoch) -> None:
        row = {"epoch": epoch.number, "loss": epoch.loss, "images_per_s": round(epoch.images_per_s, 1)}
        if epoch.number in rungs:
            found = predict_in_memory(epoch.model, score.pixels, small, precision)
            seen[epoch.number] = row["f1"] = macro_f1(score.labels, found, len(task.classes))
            row["f1_forecast"] = forecast(row["f1"], epoch.number, known())
            row["points"] = scored(task.competition, cost, row["f1_forecast"])
        mirror.log(journal.log(**row))
        if epoch.number in rungs and task.objective in HEADING:
            column, words = HEADING[task.objective]
            trial.report(row[column], epoch.number)
            if trial.should_prune():
                heading = f"heading for {words.format(row[column])}"
                raise optuna.TrialPruned(f"pruner: {heading} after {epoch.number} of {epochs} epochs")

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
    return _Trained(trained, whole, precision, seen)


def slice_of(score: Images) -> Any:
    """Choose the images that the rungs look at: a fixed, evenly spread part."""
    return torch.linspace(0, len(score) - 1, min(RUNG_IMAGES, len(score))).long().numpy()


def _refuse(reason: str | None) -> None:
    if reason:
        raise optuna.TrialPruned(f"gate: {reason}")
