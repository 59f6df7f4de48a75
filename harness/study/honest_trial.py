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

from harness.data.prepare import Preprocessing, prepare, statistics
from harness.data.split import Images
from harness.measure.cache import timed
from harness.measure.cost import macs_of_onnx, parameters_of_onnx
from harness.measure.machine import versions
from harness.measure.process import predict
from harness.measure.quality import macro_f1
from harness.models.build import build
from harness.record import files
from harness.record.candidate import Candidate
from harness.record.journal import Journal
from harness.rules.competition import Competition
from harness.rules.formulas import Figures, formula_of, points
from harness.rules.reference import reference_model
from harness.runtime.export import export
from harness.search import duplicates, gate
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
) -> dict[str, Any]:
    """Run a trial and return its figures; its folder holds what rebuilds it.

    earlier: the run folder of a trial of the same candidate that was stopped; training goes on from its checkpoint.

    Raises:
        optuna.TrialPruned: the gate refused it, or the pruner stopped it; the reason is the message.
        Duplicate: another trial builds and trains the same.
        HarnessError, Diverged, MemoryError and whatever else goes wrong: the caller fails the trial with the reason.
    """
    begin = time.perf_counter()
    folder.mkdir(parents=True, exist_ok=True)
    candidate = together(trial, task.patience_s, lambda: _suggested(trial, task))
    files.write_json(folder / "candidate.json", candidate.to_dict())
    mirror.describe({"candidate": candidate.to_dict()})

    model = build(candidate.model, len(task.classes), candidate.resolution_px, seed=derive(task.seed, "weights"))
    artefact = export(model, candidate.resolution_px, folder / "model.onnx")
    duplicates.refuse(trial, duplicates.built(candidate, artefact))
    cost = {"macs": macs_of_onnx(artefact), "parameters": parameters_of_onnx(artefact)}
    reference = reference_model(task.competition.reference, task.reference_cache)
    runtime, latency, cached_from = timed(task.reference_cache, artefact, reference, task.competition, task.latency_s)
    files.write_json(folder / "latency.json", {"runtime": runtime, "cached_from": cached_from} | latency.to_dict())
    cost |= {"latency_ms": latency.ms, "ratio": latency.ratio}
    trial.set_user_attr("cost", cost)
    mirror.summary(cost)
    _refuse(gate.too_dear(task.gate, cost["macs"], cost["parameters"], latency.ms))
    blank = Figures(f1=0.0, ratio=latency.ratio, macs=cost["macs"])
    if task.objective == "points":
        _refuse(gate.hopeless(task.competition, blank, known()))
    _refuse(too_big(training_gb(model, candidate.resolution_px, candidate.recipe.batch)))

    if earlier:
        resume.bring(earlier, folder)
    done = _train(trial, task, candidate, model, blank, known, folder, mirror)
    export(done.network, candidate.resolution_px, artefact)
    give_back()  # training's memory: the images to score are the next large thing
    logits = predict(artefact, prepare(task.score.pixels, done.preprocessing), task.competition.threads)
    f1 = macro_f1(task.score.labels, logits.argmax(1), len(task.classes))
    figures = {
        "f1": f1,
        "points": _points(task, blank, f1),
        **cost,
        "rungs": {str(k): v for k, v in done.rungs.items()},
    }
    figures |= {"ratio_low": latency.ratio_low, "ratio_high": latency.ratio_high}
    figures |= {"precision": done.precision.to_dict(), "seconds": round(time.perf_counter() - begin, 2)}
    files.write_json(
        folder / "result.json", figures | {"preprocessing": done.preprocessing.to_dict(), "versions": versions()}
    )
    mirror.summary(figures)
    return figures


def _suggested(trial: optuna.Trial, task: Task) -> Candidate:
    """Draw a candidate and note it."""
    candidate = suggest(task.searched(), trial)
    trial.set_user_attr("candidate", candidate.to_dict())
    trial.set_user_attr("digest", candidate.digest())
    return candidate


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
    candidate: Candidate,
    model: torch.nn.Module,
    blank: Figures,
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
            row["points"] = _points(task, blank, row["f1_forecast"])
        mirror.log(journal.log(**row))
        if epoch.number in rungs and task.objective == "points":
            trial.report(row["points"], epoch.number)
            if trial.should_prune():
                raise optuna.TrialPruned(
                    f"pruner: heading for {row['points']:.4f} points after {epoch.number} of {epochs} epochs"
                )

    try:
        trained = fit(
            model, images, small, candidate.recipe, candidate.augment, precision, seed=derive(task.seed, "fit"),
            device=task.device, on_epoch=on_epoch, save_to=folder / resume.CHECKPOINT, save_every_s=SAVE_S,
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


def _points(task: Task, blank: Figures, f1: float) -> float | None:
    """Score an F1 at this trial's cost; None where the formula ranks whole boards."""
    scores_one = formula_of(task.competition).score
    return points(task.competition, replace(blank, f1=f1)) if scores_one else None


def _refuse(reason: str | None) -> None:
    if reason:
        raise optuna.TrialPruned(f"gate: {reason}")
