"""A lease that is prolonged while its holder is at work."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from harness.database import Away

BEATS = 3
"""In a lease."""


@contextmanager
def beating(beat: Callable[[], bool], lease_s: float, what: str) -> Iterator[None]:
    """Prolong a lease for as long as this lasts, from a thread, though the database be away for a while.

    beat: prolongs it; False where another has what was held, whose fence refuses what comes late. what: for messages.
    """
    over = threading.Event()

    def beats() -> None:
        while not over.wait(lease_s / BEATS):
            try:
                if not beat():
                    return
            except Away as e:
                print(f"{what}: no beat: {e.what}", flush=True)

    thread = threading.Thread(target=beats, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
