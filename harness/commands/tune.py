"""Join the team's study: every trial trains a small proxy model and measures it.

The same command resumes a study; the same url and study.name on another machine joins it: all else is the study's.
"""

from dataclasses import asdict
from pathlib import Path

from harness import config
from harness.processors import threads


def tune(arguments: list[str]) -> None:
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
    named = [key for word in arguments if (key := word.partition("=")[0]) != "conf"]
    shared = start.run(job, definition, how, named)
    where = config.carried(arguments, "runs", "storage.url")
    config.say_next(*summarise(shared.optuna, job.folder, shared.definition.rules(), where))


def _with_data_of_the_study(arguments: list[str]) -> list[str]:
    """Have a study that is joined by its name choose the data set and the competition, unless the command line does."""
    from harness.study.study import there_is

    name = config.given(arguments, "study.name")
    url = config.load("tune", config.only(arguments, "storage.")).storage.url
    there = there_is(name, url) if name else None
    if there is None:
        return arguments
    there.engine.dispose()
    return [*config.of_study(there.definition.data, there.definition.competition, arguments), *arguments]
