"""One measurement a host at a time."""

from __future__ import annotations

import logging
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

PATIENCE_S = 3.0
"""A wait that is longer than this is told."""


def host_lock() -> FileLock:
    """Return the lock that every measurement on this host holds; the system frees it when its holder dies."""
    return FileLock(Path(tempfile.gettempdir()) / f"harness-measure-{os.getuid()}.lock")


@contextmanager
def alone() -> Iterator[float]:
    """Hold the host's lock, however long it takes to get it; yields the seconds waited."""
    lock, begin = host_lock(), time.monotonic()
    try:
        lock.acquire(timeout=PATIENCE_S)
    except Timeout:
        logging.getLogger(__name__).warning("waiting for another measurement on this machine to end")
        lock.acquire()
    try:
        yield time.monotonic() - begin
    finally:
        lock.release()
