"""Interrupts: Ctrl-C, SIGTERM and a time limit are exceptions which a signal's handler raises; they can wait."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

HELD = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR2, signal.SIGALRM)
"""Signals whose handlers may raise; a time limit's last, since only the first one that raises is heard."""

POLITE = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR2)
"""Ctrl-C, a kill, and submitit's word for a job whose end is near."""


def heed(heard: Callable[[], None] = lambda: None) -> None:
    """Have the first polite signal raise KeyboardInterrupt, and the others ignored: none may break into cleaning up.

    heard: is called before; a library may turn the interrupt into an error of its own.
    """

    def end(_signal: int, _frame: Any) -> None:
        heard()
        deaf()
        raise KeyboardInterrupt

    for polite in POLITE:
        signal.signal(polite, end)


def deaf() -> None:
    """Ignore polite signals from now on."""
    for polite in POLITE:
        signal.signal(polite, signal.SIG_IGN)


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Hold back what a signal's handler raises until this is over; a second signal of a kind comes through.

    It may fall anywhere in SQLAlchemy or in a driver. A statement that it leaves half read keeps a SQLite file locked
    for as long as its traceback lives, and whoever gives a slot back meanwhile waits for himself, and all others with
    him; a lock of the pool that it leaves taken stays so.
    """
    if threading.current_thread() is not threading.main_thread():  # handlers run in the main one alone
        yield
        return
    before: dict[int, Any] = {number: handler for number in HELD if callable(handler := signal.getsignal(number))}
    came: set[int] = set()
    over = False

    def note(number: int, frame: Any) -> None:
        if over or number in came:
            before[number](number, frame)
        came.add(number)

    try:
        for number in before:
            signal.signal(number, note)
        yield
    finally:
        over = True
        for number, handler in before.items():
            signal.signal(number, handler)
        for number in before:
            if number in came:
                signal.raise_signal(number)
