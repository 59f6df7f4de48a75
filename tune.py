"""Join the team's study: every trial trains a small proxy model and measures it.

    python tune.py                                          8x8 digits, SQLite, minutes
    python tune.py data=cifar10 data.root=PATH proxy=small_cifar study.trials=40 workers=2
    python tune.py storage.url=postgresql://user:password@host/db study.name=ours workers=4
    python tune.py launch=slurm slurm.partition=cpu workers=40         the same as Slurm jobs; or launch=ray

The same command resumes a study; the same url and study.name on another machine joins it: all else is the study's.
"""

import sys
from dataclasses import asdict
from pathlib import Path

from harness import config
from harness.__main__ import shell
from harness.processors import threads


def main(arguments: list[str]) -> None:
    """Run a study."""
    settings: config.Tune = config.load("tune", _with_data_of_the_study(arguments))
    from harness.launch import start
    from harness.launch.launcher import Launch
    from harness.study.definition import Definition, parted
    from harness.study.summary import summarise
    from harness.study.worker_process import Job
    from harness.train.precision import fixed

    fixed(settings.layout, settings.dtype)  # says what is wrong with them, if anything is
    name, options = config.data_options(settings.data)
    definition = Definition.of(
        data_name=name, data_options=options, space=settings.space, proxy=settings.proxy,
        competition=settings.competition, gate=settings.gate, study=settings.study, latency_s=settings.latency_s,
        layout=settings.layout, dtype=settings.dtype,
    )  # fmt: skip
    how = Launch(settings.launch, settings.workers, settings.slurm, settings.ray)
    used, words = (settings.slurm.cpus, "") if settings.launch == "slurm" else threads(workers=settings.workers)
    if words:
        print(words)
    job = Job(
        study=settings.study, url=settings.storage.url, here=parted(asdict(options))[1], device=settings.device,
        track=settings.track, runs=Path(settings.runs), patience_s=settings.storage.patience_s,
        measure_patience_s=settings.measure.patience_s, threads=used,
    )  # fmt: skip
    named = [word.partition("=")[0] for word in arguments]
    shared = start.run(job, definition, how, named)
    summarise(shared.optuna, job.folder, shared.definition.rules(), config.carried(arguments, "runs", "storage.url"))


def _with_data_of_the_study(arguments: list[str]) -> list[str]:
    """Have a study that is joined by its name choose the data set and the competition, unless the command line does."""
    from harness.study.study import there_is

    name = config.given(arguments, "study.name")
    url = config.load("tune", [a for a in arguments if a.startswith("storage.")]).storage.url
    there = there_is(name, url) if name else None
    if there is None:
        return arguments
    there.engine.dispose()
    return [*config.of_study(there.definition.data, there.definition.competition, arguments), *arguments]


if __name__ == "__main__":
    shell(main, sys.argv[1:], __doc__, root="tune")
