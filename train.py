"""Train one network long, on everything but the test part; kill it at any moment, the same command goes on.

    python train.py study=digits-vgg trial=best                  the best trial of a study, by what it optimises
    python train.py study=digits-vgg trial=best_f1               the highest F1, whatever its time
    python train.py study=digits-vgg trial=best_under_ms=0.5     the highest F1 among those that take up to 0.5 ms
    python train.py study=cifar10-vgg trial=17 recipe.epochs=100
    python train.py candidate=runs/ours/00017 data=cifar10 data.root=PATH
    python train.py model=conf/model/mobilenetv3.yaml data=cifar10 data.root=PATH     the course's YAML, or ours
    python train.py study=ours trial=17 weights=runs/final/NAME/weights.pt    begin with a run's weights

With study=, the data set and the competition are the study's. recipe.* and augment.* change the candidate's.
"""

import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from harness import config
from harness.__main__ import shell
from harness.errors import HarnessError
from harness.processors import check_threads, threads
from harness.record import names


def main(arguments: list[str]) -> None:
    """Train what the settings name."""
    from harness.study.best import chosen, doubt
    from harness.study.study import load

    study = config.given(arguments, "study")
    number = None
    if study:
        url = config.load("train", [a for a in arguments if a.startswith("storage.")]).storage.url
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
    candidate, name = _candidate(settings, which if study else None)
    if settings.run:
        names.check(settings.run, "run")
    _train(settings, candidate, settings.run or (f"{study}-trial{number:05d}" if study else name))


def _candidate(settings: config.Train, trial: Any) -> tuple[Any, str]:
    """Return the candidate that is to be trained, and a name for its run."""
    from harness.record.candidate import of_model
    from harness.record.run_folder import read_candidate
    from harness.search.attributes import candidate_of

    named = [n for n in ("study", "candidate", "model") if getattr(settings, n)]
    if len(named) != 1:
        raise HarnessError(
            f"train.py: {' and '.join(named) or 'nothing'} given",
            "give one of study=NAME, candidate=FILE, model=FILE; --help shows examples",
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
    path = Path(settings.candidate or settings.model)
    if settings.candidate:
        return read_candidate(path), path.parent.name if path.stem == "candidate" else path.stem
    resolution = settings.resolution_px or int(settings.data.get("side_px", 32))
    return of_model(config.read_yaml(path, "model"), path, resolution), path.stem


def _train(settings: config.Train, candidate: Any, name: str) -> None:
    import torch

    from harness.data.sets import load as load_data
    from harness.record import files
    from harness.track.environment import settled
    from harness.track.mirror import mirrored
    from harness.train import final
    from harness.train.device import device_of
    from harness.train.precision import fixed
    from harness.train.start import source

    track = settled(settings.track, Path(settings.runs) / "final" / name)
    files.writable(Path(settings.runs), "runs")
    check_threads(settings.competition.threads)  # now: the result is timed at the end
    used, words = threads(settings.threads)
    if words:
        print(words)
    torch.set_num_threads(used)
    change = {k: v for k, v in asdict(settings.recipe).items() if v is not None and k != "lr"}
    recipe = replace(candidate.recipe, **change)
    if settings.recipe.lr is not None:
        recipe = replace(recipe, optimizer=recipe.optimizer | {"lr": settings.recipe.lr})
    augment = replace(candidate.augment, **{k: v for k, v in asdict(settings.augment).items() if v is not None})
    weights = source(Path(settings.weights)) if settings.weights else candidate.weights
    recipe = replace(recipe, start="he") if weights else recipe  # as the weights are
    candidate = replace(candidate, recipe=recipe, augment=augment, weights=weights)
    data_name, options = config.data_options(settings.data)
    folder = Path(settings.runs) / "final" / name
    plan = final.Plan(
        candidate=candidate, dataset=load_data(data_name, options), data_options=asdict(options),
        competition=settings.competition, seed=settings.seed, device=device_of(settings.device),
        precision=fixed(settings.layout, settings.dtype), threads=used, hold_out=settings.hold_out,
        folder=folder, reference_cache=Path(settings.runs) / "reference", latency_s=settings.latency_s,
        measure_patience_s=settings.measure.patience_s,
    )  # fmt: skip
    group, short = settings.study or "final", name.removeprefix(f"{settings.study}-")
    with mirrored(track, folder, study=group, run=short, job_type="train", config=plan.identity()) as mirror:
        run = final.train(plan, mirror)
    cost, f1 = run.metrics.cost, run.metrics.f1
    speed = f"{cost.latency_ms:.4f} ms ({cost.ratio:.3f} of the reference)"
    size = f"{cost.macs / 1e6:.2f} MMACs, {cost.parameters:,} parameters"
    print(f"trained in {run.train_s:.0f} s: {speed}, {size}" + ("" if f1 is None else f", F1 {f1:.4f}"))
    print(f"next:  python inference.py run={folder} name={name}")


if __name__ == "__main__":
    shell(main, sys.argv[1:], __doc__, root="train")
