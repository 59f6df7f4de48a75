"""Workers as processes of this machine, which live no longer than the command that started them."""

from __future__ import annotations

import multiprocessing
import os
import signal
from multiprocessing.process import BaseProcess

from harness.launch.launcher import Launch, Workers
from harness.launch.pool import LIVES, Pool
from harness.parent import die_with
from harness.study.worker import name_of_worker
from harness.study.worker_process import Job, worker


def start(job: Job, how: Launch) -> Workers:
    """Start the workers."""
    context = multiprocessing.get_context("spawn")  # fork breaks torch's and W&B's threads

    def member(number: int) -> BaseProcess:
        process = context.Process(target=_member, args=(job, number, os.getpid()))
        process.start()
        return process

    return Pool(member, how.workers, name=lambda process: name_of_worker(process.pid), lives=LIVES)


def _member(job: Job, number: int, parent: int) -> None:
    """Be a worker until the parent process dies, killed or not."""
    die_with(parent, signal.SIGTERM)
    worker(job, number)
