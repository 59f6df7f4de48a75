"""Workers as processes of this machine, which live no longer than the command that started them."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path

from harness.launch.crew import LIVES, Crew
from harness.parent import die_with
from harness.study.worker import name_of_worker
from harness.study.worker_process import Job, worker

STOP_S = 30.0
"""How long a worker may take to let go of its slot."""


def start(job: Job, workers: int) -> Crew:
    """Start the workers."""
    context = multiprocessing.get_context("spawn")  # fork breaks torch's and W&B's threads

    def member(number: int) -> BaseProcess:
        process = context.Process(target=_member, args=(job, number, os.getpid()))
        process.start()
        return process

    return Processes(member, workers)


def _member(job: Job, number: int, parent: int) -> None:
    """Be a worker until the parent process dies, killed or not."""
    die_with(parent, signal.SIGTERM)
    worker(job, number)


class Processes:
    """Processes, named as the study names their workers; one that is killed is replaced."""

    def __init__(self, start: Callable[[int], BaseProcess], workers: int) -> None:
        self._start, self._kills = start, oom_kills()
        self._processes = [start(number) for number in range(workers)]
        self._lives = [LIVES] * workers
        self._ended: dict[str, str] = {}

    def ended(self) -> dict[str, str]:
        """Tell which have ended and why."""
        for number, process in enumerate(self._processes):
            name, code = name_of_worker(process.pid), process.exitcode
            if code is None or name in self._ended:
                continue
            self._ended[name] = self._words(code)
            if code < 0 and self._lives[number]:
                self._lives[number] -= 1
                self._processes[number] = self._start(number)
        return self._ended

    def running(self) -> int:
        """Count those that have not ended, as of the last look: one that was killed since will be replaced."""
        return sum(name_of_worker(process.pid) not in self._ended for process in self._processes)

    def _words(self, code: int) -> str:
        if code == 0:
            return ""
        if code > 0:
            return f"its worker ended with code {code}"
        if code == -signal.SIGKILL and oom_kills() > self._kills:
            return "out of memory: the system killed its worker"
        hint = " (the system does that when memory runs out)" if code == -signal.SIGKILL else ""
        return f"its worker was killed by signal {-code}{hint}"

    def stop(self) -> None:
        """Stop those that still run: Ctrl-C has reached them already; a SIGTERM has reached this process alone."""
        for process in self._processes:
            process.terminate()
        end = time.monotonic() + STOP_S
        for process in self._processes:
            process.join(max(0.0, end - time.monotonic()))
            process.kill()  # one that is stuck: its lease must run out


def oom_kills() -> int:
    """Count what the system has killed for want of memory: in this control group, else on this machine, since boot.

    Source: https://docs.kernel.org/admin-guide/cgroup-v2.html (memory.events), and Linux' mm/vmstat.c
    """
    own = Path("/proc/self/cgroup")
    groups = [line[3:] for line in own.read_text().splitlines() if line.startswith("0::")] if own.exists() else []
    counters = [*(Path(f"/sys/fs/cgroup{group}/memory.events") for group in groups), Path("/proc/vmstat")]
    for counter in counters:
        if counter.exists():
            rows = dict(line.split() for line in counter.read_text().splitlines())
            return int(rows.get("oom_kill", 0))
    return 0
