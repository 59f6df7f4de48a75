"""Workers as Ray tasks."""

from __future__ import annotations

import logging
import os
import signal
import socket
import sys
from pathlib import Path
from typing import Any

from harness import database
from harness.errors import HarnessError
from harness.extras import install
from harness.launch.launcher import Launch, Workers
from harness.launch.pool import LIVES, STOP_S
from harness.study.worker_process import Job, worker

REACH_S = 10.0
"""How long a cluster may take to answer."""
STORE_BYTES = 100 << 20  # for objects that tasks exchange: ours have none
# Ray would call home, and under `uv run` send the whole folder to each worker
QUIET = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0"}


def start(job: Job, how: Launch) -> Workers:
    """Start the workers, each as a task with as many processors as it has threads.

    Raises:
        HarnessError: Ray isn't here, or the cluster can't be joined.
    """
    address, workers = how.ray.address, how.workers
    if address:
        _refuse_shown_password(job)
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    try:
        import ray
    except ImportError as e:
        raise HarnessError("launch=ray: ray isn't installed", install("scale")) from e
    ours = {"num_cpus": workers * job.threads, "object_store_memory": STORE_BYTES, "include_dashboard": False}
    polite = signal.getsignal(signal.SIGTERM)
    try:
        _reach(address)
        ray.init(address or "local", logging_level=logging.ERROR, log_to_driver=False, **({} if address else ours))
    except (OSError, ValueError, RuntimeError) as e:
        reason = (str(e).strip().splitlines() or [type(e).__name__])[0]
        raise HarnessError(f"ray.address={address}: can't be joined: {reason}", "check it with `ray status`") from e
    signal.signal(signal.SIGTERM, polite)  # Ray has put its own there
    member = ray.remote(num_cpus=job.threads, max_retries=LIVES)(_member)
    names = [f"harness-{job.study.name}-{i}" for i in range(workers)]
    return Tasks({name: member.options(name=name).remote(job, i, Path.cwd()) for i, name in enumerate(names)})


def _reach(address: str) -> None:
    """Try to connect to a cluster's host:port, which Ray itself would try for minutes.

    Raises:
        OSError: nobody answers.
    """
    host, colon, port = address.rpartition("//")[2].rpartition(":")
    if colon:
        socket.create_connection((host, int(port)), timeout=REACH_S).close()


def _refuse_shown_password(job: Job) -> None:
    """Keep the password from a cluster's other users: Ray lists each driver's command line."""
    secret = database.address(job.url).password
    if secret and any(str(secret) in word for word in sys.argv):
        raise HarnessError(
            "storage.url: Ray shows this command line, with its password, to all users of the cluster",
            "export HARNESS_STORAGE_URL=... in place of storage.url=...",
        )


def _member(job: Job, number: int, folder: Path) -> None:
    os.chdir(folder)  # relative paths mean what they mean to the command
    worker(job, number)


class Tasks:
    """Ray tasks, by name."""

    def __init__(self, tasks: dict[str, Any]) -> None:
        self._tasks = tasks
        self._ended: dict[str, str] = {}

    def ended(self) -> dict[str, str]:
        """Tell which have ended and why."""
        self._wait(0)
        return self._ended

    def running(self) -> int:
        """Count those that have not ended, as of the last look."""
        return len(self._tasks) - len(self._ended)

    def _wait(self, timeout_s: float) -> None:
        import ray

        running = {name: task for name, task in self._tasks.items() if name not in self._ended}
        if not running:
            return
        done, _ = ray.wait(list(running.values()), num_returns=len(running), timeout=timeout_s)
        for name, task in running.items():
            if task in done:
                try:
                    ray.get(task)
                    self._ended[name] = ""
                except ray.exceptions.RayError as e:
                    self._ended[name] = f"its worker failed: {str(e).strip().splitlines()[-1]}"

    def stop(self) -> None:
        """Interrupt those that still run, and leave Ray; one that was started on this machine ends."""
        import ray

        if not ray.is_initialized():
            return
        for name, task in self._tasks.items():
            if name not in self._ended:
                ray.cancel(task)
        self._wait(STOP_S)
        ray.shutdown()
