"""Join the team's study: every trial trains a small proxy model and measures it.

    python tune.py                                          8x8 digits, SQLite, minutes
    python tune.py data=cifar10 data.root=PATH proxy=small_cifar study.trials=40 workers=2
    python tune.py storage.url=postgresql://user:password@host/db study.name=ours workers=4
    python tune.py launch=slurm slurm.partition=cpu workers=40         the same as Slurm jobs; or launch=ray

The same command resumes a study; the same url and study.name on another machine joins it.
"""

import sys
from pathlib import Path

from harness import config
from harness.__main__ import shell
from harness.measure.machine import cores


def main(arguments: list[str]) -> None:
    """Run a study."""
    settings: config.Tune = config.load("tune", arguments)
    from harness.launch import start
    from harness.study.summary import summarise
    from harness.train.precision import fixed

    name, options = config.data_options(settings.data)
    job = start.Job(
        name, options, settings.space, settings.proxy, settings.competition, settings.gate, settings.study,
        settings.storage.url, settings.latency_s, settings.device, fixed(settings.layout, settings.dtype),
        settings.track, Path(settings.runs),
        settings.slurm.cpus if settings.launch == "slurm" else max(1, cores() // max(1, settings.workers)),
        settings.launch, settings.slurm, settings.ray,
        patience_s=settings.storage.patience_s,
    )  # fmt: skip
    summarise(start.run(job, settings.workers).optuna, job.folder, job.competition)


if __name__ == "__main__":
    shell(main, sys.argv[1:], __doc__, root="tune")
