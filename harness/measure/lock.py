"""One measurement a host at a time, whatever account it runs under."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from harness.host_lock import held

PATIENCE_S = 3.0
"""A wait that is longer than this is told."""


@contextmanager
def alone() -> Iterator[float]:
    """Hold the lock that every measurement on this host holds, however long it takes to get it; yields the wait in s.

    Raises:
        HarnessError: another account has made the lock unusable.
    """

    def waiting() -> None:
        logging.getLogger(__name__).warning("waiting for another measurement on this machine to end")

    with held("measure", PATIENCE_S, waiting) as waited_s:
        yield waited_s
