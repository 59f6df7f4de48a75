"""Processes to drive a crew from: forks of a server that has imported everything, and has no threads."""

from __future__ import annotations

from collections.abc import Callable
from multiprocessing import get_context
from typing import Any

CONTEXT = get_context("forkserver")
PRELOADED = ["harness.study.worker", "harness.study.study", "harness.study.ledger"]


def apart(act: Callable[..., Any], *arguments: Any, within_s: float) -> None:
    """Call a function in a process of its own; nothing of it is left afterwards."""
    CONTEXT.set_forkserver_preload(PRELOADED)
    process = CONTEXT.Process(target=act, args=arguments)
    process.start()
    try:
        process.join(within_s)
    finally:
        process.kill()  # its workers die with it
        process.join()
    if process.exitcode:
        raise RuntimeError(f"{act.__name__} ended with {process.exitcode}")
