"""The long training of one network, resumable at any moment to the same result."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from harness.data.prepare import Preprocessing, prepare, resize, statistics
from harness.data.split import Dataset, Images, merge
from harness.errors import HarnessError
from harness.measure.cost import cost as cost_of
from harness.measure.cost import macs_of_onnx, parameters_of_onnx
from harness.measure.fastest import timed
from harness.measure.machine import versions
from harness.measure.process import PATIENCE_S, predict
from harness.measure.quality import macro_f1
from harness.measure.result import result
from harness.record import files, run_folder
from harness.record.candidate import Candidate
from harness.record.journal import Journal
from harness.record.result import Result
from harness.record.run import Run
from harness.rules.competition import Competition
from harness.rules.reference import reference_model
from harness.runtime.export import export
from harness.seed import derive
from harness.track.mirror import Mirror
from harness.train import checkpoint
from harness.train.display import Display
from harness.train.fit import Diverged, Epoch, fit
from harness.train.fit import predict as predict_in_memory
from harness.train.footprint import too_big, training_gb
from harness.train.precision import Precision
from harness.train.probe import probe
from harness.train.start import network

LOOKS = 10
"""How often a training looks at the part that is held out, which costs a third of what learning from it would."""


@dataclass(frozen=True)
class Plan:
    """What is trained, on what, and where it goes.

    hold_out: keep the validation part out and score it; else everything but the test part is learnt from.
    precision: None leaves it to the probe. latency_s: the most that timing the result takes, about.
    """

    candidate: Candidate
    dataset: Dataset
    data_options: dict[str, Any]
    competition: Competition
    seed: int
    device: torch.device
    precision: Precision | None
    threads: int
    hold_out: bool
    folder: Path
    reference_cache: Path
    latency_s: float = 3.0
    measure_patience_s: float = PATIENCE_S

    def identity(self) -> dict[str, Any]:
        """Return what a resumed run must share with the one that began."""
        return {
            "candidate": self.candidate.to_dict(), "fingerprint": self.dataset.fingerprint(), "seed": self.seed,
            "threads": self.threads, "hold_out": self.hold_out, "device": self.device.type,
            "precision": self.precision and self.precision.to_dict(),
        }  # fmt: skip


def train(plan: Plan, mirror: Mirror) -> Run:
    """Train to the end, export, measure and record; a second call goes on where the first was stopped.

    Raises:
        HarnessError: the folder holds a run of something else.
    """
    begun, candidate = _begin(plan), plan.candidate
    images = plan.dataset.train if plan.hold_out else merge(plan.dataset.train, plan.dataset.validation)
    how = Preprocessing(candidate.resolution_px, *statistics(images.pixels))
    images = images.with_pixels(resize(images.pixels, candidate.resolution_px))
    precision = Precision(**begun["precision"])
    model = network(candidate, len(plan.dataset.classes), derive(plan.seed, "weights"))
    print(f"run {plan.folder}: {len(images)} images at {candidate.resolution_px} px, {candidate.recipe.epochs} epochs, "
          f"{precision.layout} {precision.dtype}, {plan.threads} threads", flush=True)  # fmt: skip
    trained = _fit(plan, model, images, how, precision, mirror)
    artefact = export(trained, candidate.resolution_px, plan.folder / "model.onnx")
    torch.save(trained.state_dict(), plan.folder / "weights.pt")
    measured = _result(plan, artefact, how, precision)
    mirror.summary(measured.figures())
    data = {
        "name": plan.dataset.name, "options": plan.data_options,
        "fingerprint": plan.dataset.fingerprint(), "classes": list(plan.dataset.classes),
        "side_px": plan.dataset.side_px,
    }  # fmt: skip
    train_s = sum(row["seconds"] for row in Journal(plan.folder).rows())
    run = Run(
        candidate=plan.candidate.to_dict(), data=data, preprocessing=how.to_dict(), precision=precision.to_dict(),
        competition=plan.competition.rules(), seed=plan.seed, metrics=measured, versions=versions(),
        train_s=round(train_s, 1),
    )  # fmt: skip
    run_folder.write_run(plan.folder, run)
    return run


def _begin(plan: Plan) -> dict[str, Any]:
    """Start the folder's record, or check that it is of this very run."""
    path = plan.folder / "begun.json"
    plan.folder.mkdir(parents=True, exist_ok=True)
    identity = json.loads(json.dumps(plan.identity()))
    if path.exists():
        begun = json.loads(path.read_text())
        differ = [k for k in identity if begun["identity"].get(k) != identity[k]]
        if differ:
            raise HarnessError(
                f"run folder {plan.folder}: holds a run with another {' and another '.join(differ)}",
                "run the command it began with, give another run=NAME, or remove the folder",
            )
        return begun
    # found once and kept: a resumed run must compute in the same way
    side_px, batch = plan.candidate.resolution_px, plan.candidate.recipe.batch
    model = network(plan.candidate, len(plan.dataset.classes), derive(plan.seed, "weights"))
    if reason := too_big(training_gb(model, side_px, batch)):
        raise HarnessError(f"run {plan.folder}: {reason}", "set a smaller recipe.batch or resolution_px")
    found = plan.precision or probe(model, side_px, batch, plan.device)
    begun = {"identity": identity, "precision": found.to_dict()}
    run_folder.write_candidate(plan.folder, plan.candidate)
    files.write_json(path, begun, durable=True)
    return begun


def _fit(
    plan: Plan, model: torch.nn.Module, images: Images, how: Preprocessing, precision: Precision, mirror: Mirror
) -> torch.nn.Module:
    saved, recipe = plan.folder / "checkpoint.pt", plan.candidate.recipe
    done = int(checkpoint.load(saved)["epoch"]) if saved.exists() else 0
    journal = Journal(plan.folder)
    journal.rewind(done)
    if done:
        print(f"resumed after epoch {done}", flush=True)
    before = journal.rows()
    steps = max(1, len(images) // recipe.batch)
    look = _looking(plan, how, precision)
    with Display(
        plan.folder.name, epochs=recipe.epochs, steps=steps, batch=min(recipe.batch, len(images)), done=done,
        loss=before[-1]["loss"] if before else None, f1=next((r["f1"] for r in reversed(before) if "f1" in r), None),
    ) as display:  # fmt: skip

        def on_epoch(epoch: Epoch) -> None:
            row = {"epoch": epoch.number, "loss": epoch.loss, "seconds": round(epoch.seconds, 2)}
            row |= {"images_per_s": round(epoch.images_per_s, 1)} | look(epoch)
            mirror.log(journal.log(**row))
            display.epoch(epoch.loss, row.get("f1"))

        try:
            return fit(
                model, images, preprocessing=how, recipe=recipe, how=plan.candidate.augment, precision=precision,
                seed=derive(plan.seed, "fit"), device=plan.device, on_epoch=on_epoch, on_step=display.step,
                save_to=saved,
            )  # fmt: skip
        except Diverged as e:
            lr = recipe.optimizer["lr"]
            raise HarnessError(f"run {plan.folder}: {e}", f"set run=NAME and a recipe.lr below {lr:g}") from e


def _looking(plan: Plan, how: Preprocessing, precision: Precision) -> Callable[[Epoch], dict[str, float]]:
    """Return what tells the F1 on the part that is held out, at ten epochs, the last among them; nothing at others."""
    epochs, part = plan.candidate.recipe.epochs, plan.dataset.validation
    looks = {round(epochs * (i + 1) / LOOKS) for i in range(LOOKS)} if plan.hold_out else set()
    pixels = resize(part.pixels, how.resolution_px) if looks else part.pixels

    def look(epoch: Epoch) -> dict[str, float]:
        if epoch.number not in looks:
            return {}
        found = predict_in_memory(epoch.model, pixels, how, precision)
        return {"f1": macro_f1(part.labels, found, len(plan.dataset.classes))}

    return look


def _result(plan: Plan, artefact: Path, how: Preprocessing, precision: Precision) -> Result:
    """Measure the artefact; F1 only of images that it hasn't learnt from, so never of the test part."""
    begin = time.perf_counter()
    reference = reference_model(plan.competition.reference, plan.reference_cache)
    runtime, latency = timed(artefact, reference, plan.competition, plan.latency_s, patience_s=plan.measure_patience_s)
    run_folder.write_latency(plan.folder, runtime, latency.to_dict())
    cost = cost_of(macs_of_onnx(artefact), parameters_of_onnx(artefact), runtime, latency)
    if not plan.hold_out:
        return Result(cost, f1=None, confusion=None, points=None, precision=precision.to_dict(), seconds=_since(begin))
    part = plan.dataset.validation
    found = predict(artefact, prepare(part.pixels, how), plan.competition.threads).argmax(1)
    return result(
        plan.competition, cost, part.labels, found, len(plan.dataset.classes),
        precision=precision.to_dict(), seconds=_since(begin),
    )  # fmt: skip


def _since(begin: float) -> float:
    return round(time.perf_counter() - begin, 1)
