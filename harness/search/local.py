"""Workers as processes of this machine, which live no longer than the command that started them."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
import socket
import sys
import time
from collections.abc import Sequence
from multiprocessing.process import BaseProcess
from pathlib import Path

from harness.search.crew import Crew
from harness.search.process import Job, worker

STOP_S = 30.0
"""How long a worker may take to let go of its slot."""
PR_SET_PDEATHSIG = 1  # Source: https://man7.org/linux/man-pages/man2/PR_SET_PDEATHSIG.2const.html


def start(job: Job, workers: int) -> Crew:
    """Start the workers."""
    context = multiprocessing.get_context("spawn")  # fork breaks torch's and W&B's threads
    crew = Processes([context.Process(target=_member, args=(job, i, os.getpid())) for i in range(workers)])
    for process in crew.processes:
        process.start()
    return crew


def _member(job: Job, number: int, parent: int) -> None:
    """Be a worker until the parent process dies, killed or not."""
    if sys.platform == "linux":
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM):
            raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")
    if os.getppid() != parent:  # it died before this process had asked for the signal
        sys.exit("the command that started this worker is gone")
    worker(job, number)


class Processes:
    """Processes, named as the study names their workers."""

    def __init__(self, processes: Sequence[BaseProcess]) -> None:
        self.processes = processes
        self._kills = oom_kills()

    def ended(self) -> dict[str, str]:
        """Tell which have ended and why."""
        found = {p: p.exitcode for p in self.processes}
        return {f"{socket.gethostname()}-{p.pid}": self._words(code) for p, code in found.items() if code is not None}

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
        for process in self.processes:
            process.terminate()
        end = time.monotonic() + STOP_S
        for process in self.processes:
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
