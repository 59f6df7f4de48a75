"""Train one network long; kill it at any moment, the same command goes on.

A part of the images is held out, and the run tells its F1 on them; hold_out=false learns from them, too: the last run.
With study=, the data set and the competition are the study's. recipe.* and augment.* change the candidate's.
"""

import contextlib
import os
import shlex
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from harness import config
from harness.errors import HarnessError
from harness.invoked import spelt
from harness.processors import check_threads, cores, threads
from harness.record import names
from harness.settings import AUTO
from harness.torchrun import Place, place


def train(arguments: list[str]) -> None:
    """Train what the settings name; of those that torchrun has started, the first alone shows and writes."""
    where = place()
    with contextlib.ExitStack() as stack:
        if where and where.rank:
            stack.enter_context(contextlib.redirect_stdout(stack.enter_context(open(os.devnull, "w"))))
        _command(arguments, where)


def _command(arguments: list[str], where: Place | None) -> None:
    from harness.study.best import chosen, doubt
    from harness.study.study import load
    from harness.submission.pack import ENTRIES, free_name

    typed, study = arguments, config.given(arguments, "study")
    number = None
    if study:
        url = config.load("train", config.only(arguments, "storage.")).storage.url
        shared = load(study, url)
        which = chosen(shared.optuna, config.given(arguments, "trial") or "best")
        number = which.number
        by_points = (config.given(arguments, "trial") or "best") == "best"
        if by_points and shared.definition.is_whole and (words := doubt(shared.optuna, shared.definition.rules())):
            print(f"note:  {words}", flush=True)
        data = shared.definition.data
        there = data | {"options": data["options"] | shared.here}  # where they lay for whoever made the study
        arguments = [*config.of_study(there, shared.definition.competition, arguments), *arguments]
    settings: config.Train = config.load("train", arguments)
    if study:
        settings.competition = config.competition_of(shared.definition.competition, arguments, settings.competition)
    candidate, name = _candidate(settings, which if study else None, arguments)
    if settings.run:
        names.check(settings.run, "run")
    folder = _train(settings, candidate, settings.run or (f"{study}-trial{number:05d}" if study else name), where)
    if where and where.rank:
        return
    lines = [f"{spelt('pack')} run={shlex.quote(str(folder))} name={free_name(folder.name, Path(ENTRIES))}"]
    lines[0] += config.carried(arguments, "runs")
    if settings.hold_out:
        keys = dict.fromkeys(key for a in typed if (key := a.partition("=")[0]) not in ("run", "hold_out", "conf"))
        named = f"hold_out=false run={shlex.quote(f'{folder.name}-all')}"
        lines.append(f"{spelt('train')}{config.carried(typed, *keys)} {named}")
        print("note:  the last run learns from the images that were held out, too: the second line, hold_out=false")
    config.say_next(*lines)


def _candidate(settings: config.Train, trial: Any, arguments: list[str]) -> tuple[Any, str]:
    """Return the candidate that is to be trained, and a name for its run."""
    from harness.models.build import build
    from harness.record.candidate import of_model, side_px_of_model
    from harness.record.run_folder import read_candidate
    from harness.search.attributes import candidate_of

    named = [n for n in ("study", "candidate", "model") if getattr(settings, n)]
    if len(named) != 1:
        raise HarnessError(
            f"train: {' and '.join(named) or 'nothing'} given",
            "give one of study=NAME, candidate=FILE, model=FILE or NAME; --help shows examples",
        )
    if settings.resolution_px and not settings.model:
        raise HarnessError(
            f"resolution_px={settings.resolution_px}: is of model=FILE alone; a candidate has its own input size",
            "leave it out, or write another resolution_px into a copy of the candidate's file",
        )
    if settings.trial != "best" and not settings.study:
        raise HarnessError(
            f"trial={settings.trial}: is of study=NAME alone", "leave it out, or name the study that the trial is of"
        )
    if settings.study:
        return candidate_of(trial), ""
    if settings.candidate:
        path = Path(settings.candidate)
        return read_candidate(path), path.parent.name if path.stem == "candidate" else path.stem
    path = config.model_file(settings.model, arguments)
    raw = config.read_yaml(path, "model")
    with config.lines_of(path):
        own_px = side_px_of_model(raw, path)
        resolution_px = settings.resolution_px or own_px or int(settings.data.get("side_px", 32))
        candidate = of_model(raw, path, resolution_px)
        build(candidate.model, classes=2, resolution_px=resolution_px)  # now: the data take their time
    if own_px:
        chosen = "" if resolution_px == own_px else f"; trained at {resolution_px} px, as resolution_px says"
        print(f"input size: {own_px} px, as {path} says{chosen}")
    return candidate, path.stem


def _train(settings: config.Train, candidate: Any, name: str, where: Place | None) -> Path:
    """Train it, print what came of it, and return its folder."""
    import torch

    from harness.data import overview, transforms
    from harness.data.loader import fitting_batch
    from harness.data.sets import load as load_data
    from harness.record import files
    from harness.track.environment import settled
    from harness.track.mirror import mirrored
    from harness.train import final
    from harness.train.device import device_of
    from harness.train.precision import fixed
    from harness.train.start import source

    folder = Path(settings.runs) / "final" / name
    first, track = not where or where.rank == 0, "disabled"
    if first:
        track = settled(settings.track, folder)
        files.writable(Path(settings.runs), "runs")
        check_threads(settings.competition.threads)  # now: the result is timed at the end
    used = _threads(settings, where)
    torch.set_num_threads(used)
    change = {k: v for k, v in asdict(settings.recipe).items() if v is not None and k != "lr"}
    recipe = replace(candidate.recipe, **change)
    if settings.recipe.lr is not None:
        recipe = replace(recipe, optimizer=recipe.optimizer | {"lr": settings.recipe.lr})
    augment = replace(candidate.augment, **{k: v for k, v in asdict(settings.augment).items() if v is not None})
    transforms.tried(augment.transforms, candidate.resolution_px)
    weights = source(Path(settings.weights)) if settings.weights else candidate.weights
    recipe = replace(recipe, start="he") if weights else recipe  # as the weights are
    data_name, options = config.data_options(settings.data)
    dataset = load_data(data_name, options)
    overview.show(dataset)
    count = len(dataset.train) + (0 if settings.hold_out else len(dataset.validation))
    if (batch := fitting_batch(recipe.batch, count)) < recipe.batch:
        print(f"note:  recipe.batch={recipe.batch} is lowered to {batch}: {count} images, an epoch would be one step")
        recipe = replace(recipe, batch=batch)
    candidate = replace(candidate, recipe=recipe, augment=augment, weights=weights)
    plan = final.Plan(
        candidate=candidate, dataset=dataset, data_options=asdict(options),
        competition=settings.competition, seed=settings.seed, device=device_of(settings.device),
        precision=fixed(settings.layout, settings.dtype), threads=used, hold_out=settings.hold_out,
        processes=None if settings.processes == AUTO else int(settings.processes), place=where,
        folder=folder, reference_cache=Path(settings.runs) / "reference", latency_s=settings.latency_s,
        measure_patience_s=settings.measure.patience_s,
    )  # fmt: skip
    group, short = settings.study or "final", name.removeprefix(f"{settings.study}-")
    with mirrored(track, folder, study=group, run=short, job_type="train", config=plan.identity()) as mirror:
        run = final.train(plan, mirror)
    if run is None:
        return folder
    cost, f1 = run.metrics.cost, run.metrics.f1
    speed = f"{cost.latency_ms:.4f} ms ({cost.ratio:.3f} of the reference)"
    size = f"{cost.macs / 1e6:.2f} MMACs, {cost.parameters:,} parameters"
    print(f"trained in {run.train_s:.0f} s: {speed}, {size}" + ("" if f1 is None else f", F1 {f1:.4f}"))
    _show(run, folder)
    return folder


def _threads(settings: config.Train, where: Place | None) -> int:
    """Return the threads of all processes that train, and say what is not as asked."""
    if where and settings.processes not in (AUTO, str(where.world)):
        what = f"processes={settings.processes}: torchrun has started {where.world}"
        raise HarnessError(what, "leave processes= out, or start as many")
    # torchrun sets OMP_NUM_THREADS to 1 where nobody has: the host's processors are shared out all the same
    used, words = threads(settings.threads or (cores() if where else 0))
    if words:
        print(words)
    return where.world * max(1, used // where.beside) if where else used


def _show(run: Any, folder: Path) -> None:
    """Print and draw what the images that were held out say, if any were."""
    from rich.console import Console

    from harness.report import confusion

    found, classes = run.metrics, run.data["classes"]
    if found.confusion is not None:
        title = f"F1 {found.f1:.4f} on {found.images} images held out"
        Console(width=None if sys.stdout.isatty() else 140).print(confusion.table(found.confusion, classes, title))
        print(f"wrote {confusion.picture(found.confusion, classes, folder / 'confusion.png', title)}")
