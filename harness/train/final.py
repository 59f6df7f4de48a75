"""The long training of one network, resumable at any moment to the same result."""

from __future__ import annotations

import json
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from harness.data.augment import Augment
from harness.data.prepare import Preprocessing, prepare, resize, statistics
from harness.data.split import Dataset, Images, merge
from harness.errors import HarnessError
from harness.measure.cost import macs_of_onnx, parameters_of_onnx
from harness.measure.fastest import timed
from harness.measure.machine import versions
from harness.measure.process import predict
from harness.measure.quality import macro_f1
from harness.models.build import build
from harness.models.spec import ModelSpec
from harness.record import files
from harness.record.journal import Journal
from harness.record.recipe import Recipe
from harness.record.run import Run
from harness.rules.competition import Competition
from harness.rules.formulas import Figures, formula_of, points
from harness.rules.reference import reference_model
from harness.runtime.export import export
from harness.seed import derive
from harness.track.mirror import Mirror
from harness.train import checkpoint
from harness.train.fit import Diverged, Epoch, fit
from harness.train.footprint import too_big, training_gb
from harness.train.precision import Precision, probe


@dataclass(frozen=True)
class Plan:
    """What is trained, on what, and where it goes. candidate: its plain values, kept with the run.

    hold_out: keep the validation part out and score it; else everything but the test part is learnt from.
    precision: None leaves it to the probe. latency_s: the most that timing the result takes, about.
    """

    candidate: dict[str, Any]
    model: ModelSpec
    resolution_px: int
    recipe: Recipe
    augment: Augment
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

    def identity(self) -> dict[str, Any]:
        """Return what a resumed run must share with the one that began."""
        return {
            "candidate": self.candidate, "fingerprint": self.dataset.fingerprint(), "seed": self.seed,
            "threads": self.threads, "hold_out": self.hold_out, "device": self.device.type,
            "precision": self.precision and self.precision.to_dict(),
        }  # fmt: skip


def train(plan: Plan, mirror: Mirror) -> Run:
    """Train to the end, export, measure and record; a second call goes on where the first was stopped.

    Raises:
        HarnessError: the folder holds a run of something else.
    """
    begun = _begin(plan)
    images = plan.dataset.train if plan.hold_out else merge(plan.dataset.train, plan.dataset.validation)
    how = Preprocessing(plan.resolution_px, *statistics(images.pixels))
    images = Images(resize(images.pixels, plan.resolution_px), images.labels, images.names)
    precision = Precision(**begun["precision"])
    model = build(plan.model, len(plan.dataset.classes), plan.resolution_px, seed=derive(plan.seed, "weights"))
    print(f"run {plan.folder}: {len(images)} images at {plan.resolution_px} px, {plan.recipe.epochs} epochs, "
          f"{precision.layout} {precision.dtype}, {plan.threads} threads", flush=True)  # fmt: skip
    trained = _fit(plan, model, images, how, precision, mirror)
    artefact = export(trained, plan.resolution_px, plan.folder / "model.onnx")
    torch.save(trained.state_dict(), plan.folder / "weights.pt")
    metrics = _metrics(plan, artefact, how)
    mirror.summary(metrics)
    data = {
        "name": plan.dataset.name, "options": plan.data_options,
        "fingerprint": plan.dataset.fingerprint(), "classes": list(plan.dataset.classes),
    }  # fmt: skip
    train_s = sum(row["seconds"] for row in Journal(plan.folder).rows())
    run = Run(
        plan.candidate, data, how.to_dict(), precision.to_dict(), plan.competition.rules(), plan.seed, metrics,
        versions(), round(train_s, 1),
    )  # fmt: skip
    run.write(plan.folder)
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
    model = build(plan.model, len(plan.dataset.classes), plan.resolution_px)
    if reason := too_big(training_gb(model, plan.resolution_px, plan.recipe.batch)):
        raise HarnessError(f"run {plan.folder}: {reason}", "set a smaller recipe.batch or resolution_px")
    found = plan.precision or probe(model, plan.resolution_px, plan.recipe.batch, plan.device)
    begun = {"identity": identity, "precision": found.to_dict()}
    files.write_json(plan.folder / "candidate.json", plan.candidate)
    files.write_json(path, begun, durable=True)
    return begun


def _fit(
    plan: Plan, model: torch.nn.Module, images: Images, how: Preprocessing, precision: Precision, mirror: Mirror
) -> torch.nn.Module:
    saved = plan.folder / "checkpoint.pt"
    done = int(checkpoint.load(saved)["epoch"]) if saved.exists() else 0
    journal = Journal(plan.folder)
    journal.rewind(done)
    steps = max(1, len(images) // plan.recipe.batch)
    if done:
        print(f"resumed after epoch {done}", flush=True)
    with tqdm(
        total=plan.recipe.epochs * steps, initial=done * steps, unit="step", desc=plan.folder.name, file=sys.stdout,
        dynamic_ncols=True, mininterval=1 if sys.stdout.isatty() else 60,
    ) as bar:  # fmt: skip

        def on_step(step: int, loss: float) -> None:
            bar.update()

        def on_epoch(epoch: Epoch) -> None:
            row = {"epoch": epoch.number, "loss": epoch.loss, "seconds": round(epoch.seconds, 2)}
            mirror.log(journal.log(**row, images_per_s=round(epoch.images_per_s, 1)))
            seen = {"epoch": epoch.number, "loss": f"{epoch.loss:.4f}", "images_per_s": round(epoch.images_per_s)}
            bar.set_postfix(seen, refresh=False)

        try:
            return fit(
                model, images, how, plan.recipe, plan.augment, precision, seed=derive(plan.seed, "fit"),
                device=plan.device, on_epoch=on_epoch, on_step=on_step, save_to=saved,
            )  # fmt: skip
        except Diverged as e:
            lr = plan.recipe.optimizer["lr"]
            raise HarnessError(f"run {plan.folder}: {e}", f"set run=NAME and a recipe.lr below {lr:g}") from e


def _metrics(plan: Plan, artefact: Path, how: Preprocessing) -> dict[str, Any]:
    """Measure the artefact; F1 only of images that it hasn't learnt from, so never of the test part."""
    begin = time.perf_counter()
    reference = reference_model(plan.competition.reference, plan.reference_cache)
    runtime, latency = timed(artefact, reference, plan.competition, plan.latency_s)
    files.write_json(plan.folder / "latency.json", {"runtime": runtime} | latency.to_dict())
    macs = macs_of_onnx(artefact)
    metrics = {
        "latency_ms": latency.ms, "latency_low_ms": latency.low_ms, "latency_high_ms": latency.high_ms,
        "ratio": latency.ratio, "macs": macs, "parameters": parameters_of_onnx(artefact),
    }  # fmt: skip
    if plan.hold_out:
        part = plan.dataset.validation
        found = predict(artefact, prepare(part.pixels, how), plan.competition.threads).argmax(1)
        metrics["f1"] = macro_f1(part.labels, found, len(plan.dataset.classes))
        if formula_of(plan.competition).score:
            figures = Figures(metrics["f1"], latency.ratio, macs)
            metrics["points"] = points(plan.competition, figures)
    return metrics | {"measure_s": round(time.perf_counter() - begin, 1)}
