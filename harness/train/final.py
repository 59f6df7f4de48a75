"""The long training of one network, resumable at any moment to the same result."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from harness.data.prepare import Preprocessing, prepare, resize, statistics
from harness.data.shared import Shared, share
from harness.data.split import Dataset, Images, merge
from harness.errors import HarnessError
from harness.measure.cost import cost as cost_of
from harness.measure.cost import macs_of_onnx, parameters_of_onnx
from harness.measure.fastest import timed
from harness.measure.machine import versions
from harness.measure.process import PATIENCE_S, predict
from harness.measure.quality import macro_f1
from harness.measure.result import result
from harness.processors import cores
from harness.record import files, run_folder
from harness.record.candidate import Candidate
from harness.record.journal import Journal
from harness.record.result import Result
from harness.record.run import Run
from harness.rules.competition import Competition
from harness.rules.reference import reference_model
from harness.runtime.export import export
from harness.seed import derive
from harness.torchrun import Place
from harness.track.mirror import Mirror
from harness.train import checkpoint, distributed
from harness.train.display import Display
from harness.train.fit import Diverged, Epoch, fit
from harness.train.fit import predict as predict_in_memory
from harness.train.footprint import together_gb, too_big
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
    threads: of all processes that train together. processes: their number; None leaves it to this machine. place:
    this process's among those that torchrun has started, if any.
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
    processes: int | None = None
    place: Place | None = None

    def identity(self) -> dict[str, Any]:
        """Return what a resumed run must share with the one that began."""
        return {
            "candidate": self.candidate.to_dict(), "fingerprint": self.dataset.fingerprint(), "seed": self.seed,
            "threads": self.threads, "hold_out": self.hold_out, "device": self.device.type,
            "precision": self.precision and self.precision.to_dict(),
        }  # fmt: skip


def train(plan: Plan, mirror: Mirror) -> Run | None:
    """Train to the end, export, measure and record; a second call goes on where the first was stopped.

    Several processes share each batch: those that this one starts, or those that torchrun has started, of which the
    first alone writes, measures and returns a record.

    Raises:
        HarnessError: the folder holds a run of something else; one of the processes is gone.
    """
    place, candidate = plan.place, plan.candidate
    with distributed.joined(place, plan.device) if place else contextlib.nullcontext():
        begun = _agreed(plan, place) if place else _begin(plan)
        images = plan.dataset.train if plan.hold_out else merge(plan.dataset.train, plan.dataset.validation)
        how = Preprocessing(candidate.resolution_px, *statistics(images.pixels))
        precision, processes = Precision(**begun["precision"]), begun["processes"]
        lesson = Lesson(
            candidate=candidate, classes=len(plan.dataset.classes), how=how, precision=precision, seed=plan.seed,
            device=plan.device, processes=processes, threads=max(1, plan.threads // processes),
            saved=plan.folder / "checkpoint.pt",
        )  # fmt: skip
        if place and place.rank:
            lesson.learn(lesson.sized(images), place.rank, place.here)
            return None
        each = f"{processes} processes x " if processes > 1 else ""
        print(f"run {plan.folder}: {len(images)} images at {candidate.resolution_px} px, "
              f"{candidate.recipe.epochs} epochs, {precision.layout} {precision.dtype}, "
              f"{each}{lesson.threads} thread{'s' * (lesson.threads > 1)}", flush=True)  # fmt: skip
        trained = _fit(plan, lesson, images, mirror)
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


@dataclass(frozen=True)
class Lesson:
    """What every process that trains must know beside the images.

    threads: of each process. saved: the checkpoint, which the first process writes.
    """

    candidate: Candidate
    classes: int
    how: Preprocessing
    precision: Precision
    seed: int
    device: torch.device
    processes: int
    threads: int
    saved: Path

    def sized(self, images: Images) -> Images:
        """Return the images at the network's own side."""
        return images.with_pixels(resize(images.pixels, self.how.resolution_px))

    def learn(self, images: Images, rank: int, here: int, **heard: Callable[..., None]) -> torch.nn.Module:
        """Train as one of the processes, by its number among all and on this host; `heard` is fit's own."""
        torch.set_num_threads(self.threads)
        several = self.processes > 1
        return fit(
            network(self.candidate, self.classes, derive(self.seed, "weights")), images, preprocessing=self.how,
            recipe=self.candidate.recipe, how=self.candidate.augment, precision=self.precision,
            seed=derive(self.seed, "fit"), device=distributed.own_device(self.device, here) if several else self.device,
            save_to=self.saved, rank=rank, world=self.processes, **heard,
        )  # fmt: skip


def _another(lesson: Lesson, shared: Shared, rank: int) -> None:
    """Be another process that this host's first has started."""
    with contextlib.suppress(Diverged):  # the first one sees the same loss, and says it
        lesson.learn(shared.images(), rank, rank)


def _agreed(plan: Plan, place: Place) -> dict[str, Any]:
    """Begin in the first process of a group that torchrun has started; the others check that they train the same."""
    begun = distributed.told(_begin(plan) if place.rank == 0 else None)
    if differ := _differ(begun, plan):
        what = f"{place}: has another {' and another '.join(differ)} than the first one"
        raise HarnessError(what, "give all of them the same command, data and weights")
    return begun


def _differ(begun: dict[str, Any], plan: Plan) -> list[str]:
    """Name what a run has begun with and this plan has otherwise."""
    identity = json.loads(json.dumps(plan.identity()))
    asked = plan.place.world if plan.place else plan.processes
    names = [name for name in identity if begun["identity"].get(name) != identity[name]]
    return names + ["number of processes"] * (asked not in (None, begun["processes"]))


def _begin(plan: Plan) -> dict[str, Any]:
    """Start the folder's record, or check that it is of this very run."""
    path = plan.folder / "begun.json"
    plan.folder.mkdir(parents=True, exist_ok=True)
    if path.exists():
        begun = {"processes": 1} | json.loads(path.read_text())  # before there were several
        if differ := _differ(begun, plan):
            raise HarnessError(
                f"run folder {plan.folder}: holds a run with another {' and another '.join(differ)}",
                "run the command it began with, give another run=NAME, or remove the folder",
            )
        _check_number(plan, begun["processes"])
        return begun
    # found once and kept: a resumed run must compute in the same way
    side_px, batch = plan.candidate.resolution_px, plan.candidate.recipe.batch
    model = network(plan.candidate, len(plan.dataset.classes), derive(plan.seed, "weights"))
    processes = _processes(plan, model)
    torch.set_num_threads(max(1, plan.threads // processes))
    found = plan.precision or probe(model, side_px, -(-batch // processes), plan.device)
    begun = {"identity": json.loads(json.dumps(plan.identity())), "precision": found.to_dict(), "processes": processes}
    run_folder.write_candidate(plan.folder, plan.candidate)
    run_folder.write_transforms(plan.folder, plan.candidate.augment.transforms, side_px)
    files.write_json(path, begun, durable=True)
    return begun


def _processes(plan: Plan, model: torch.nn.Module) -> int:
    """Choose how many processes train: as asked for, else the best number that fits into memory.

    Raises:
        HarnessError: that number can't train this batch, or a step doesn't fit.
    """
    side_px, batch = plan.candidate.resolution_px, plan.candidate.recipe.batch
    asked = plan.place.world if plan.place else plan.processes
    if asked:
        _check_number(plan, asked)
    for number in [asked] if asked else distributed.numbers(plan.threads, batch, plan.device):
        beside = plan.place.beside if plan.place else number
        if not (reason := too_big(together_gb(model, side_px, batch, number, beside))):
            return number
    fewer = ", or fewer processes" * (number > 1)
    raise HarnessError(f"run {plan.folder}: {reason}", f"set a smaller recipe.batch or resolution_px{fewer}")


def _check_number(plan: Plan, processes: int) -> None:
    beside = plan.place.beside if plan.place else processes
    distributed.check_number(processes, plan.candidate.recipe.batch, plan.device, beside)


def _fit(plan: Plan, lesson: Lesson, images: Images, mirror: Mirror) -> torch.nn.Module:
    """Train as the first process, and start the others unless torchrun has."""
    recipe = lesson.candidate.recipe
    done = int(checkpoint.load(lesson.saved)["epoch"]) if lesson.saved.exists() else 0
    journal = Journal(plan.folder)
    journal.rewind(done)
    if done:
        print(f"resumed after epoch {done}", flush=True)
    before = journal.rows()
    steps = max(1, len(images) // recipe.batch)
    look = _looking(plan, lesson.how, lesson.precision)
    with contextlib.ExitStack() as stack:
        if lesson.processes > 1 and not plan.place:
            images = stack.enter_context(_with_others(lesson, images, plan.folder))
        else:
            images = lesson.sized(images)
        display = stack.enter_context(Display(
            plan.folder.name, epochs=recipe.epochs, steps=steps, batch=min(recipe.batch, len(images)), done=done,
            loss=before[-1]["loss"] if before else None,
            f1=next((r["f1"] for r in reversed(before) if "f1" in r), None),
        ))  # fmt: skip

        def on_epoch(epoch: Epoch) -> None:
            row = {"epoch": epoch.number, "loss": epoch.loss, "seconds": round(epoch.seconds, 2)}
            row |= {"images_per_s": round(epoch.images_per_s, 1)} | look(epoch)
            mirror.log(journal.log(**row))
            display.epoch(epoch.loss, row.get("f1"))

        try:
            return lesson.learn(images, 0, 0, on_epoch=on_epoch, on_step=display.step)
        except Diverged as e:
            lr = recipe.optimizer["lr"]
            raise HarnessError(f"run {plan.folder}: {e}", f"set run=NAME and a recipe.lr below {lr:g}") from e


@contextlib.contextmanager
def _with_others(lesson: Lesson, images: Images, folder: Path) -> Iterator[Images]:
    """Start the other processes, and yield the images as all of them read them: from one copy, in the run folder."""
    copy = folder / "images.bin"
    try:
        shared = share(lesson.sized(images), copy)
        with distributed.started(
            lesson.processes, lesson.device, partial(_another, lesson, shared), folder / "meeting"
        ):
            yield shared.images()
    finally:
        copy.unlink(missing_ok=True)


def _looking(plan: Plan, how: Preprocessing, precision: Precision) -> Callable[[Epoch], dict[str, float]]:
    """Return what tells the F1 on the part that is held out, at ten epochs, the last among them; nothing at others."""
    epochs, part = plan.candidate.recipe.epochs, plan.dataset.validation
    looks = {round(epochs * (i + 1) / LOOKS) for i in range(LOOKS)} if plan.hold_out else set()
    pixels = resize(part.pixels, how.resolution_px) if looks else part.pixels

    def look(epoch: Epoch) -> dict[str, float]:
        if epoch.number not in looks:
            return {}
        each = torch.get_num_threads()
        torch.set_num_threads(min(plan.threads, cores()))  # the other processes wait meanwhile
        found = predict_in_memory(epoch.model, pixels, how, precision)
        torch.set_num_threads(each)
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
