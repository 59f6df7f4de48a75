"""Processes of this machine that do one kind of work: those that are killed are replaced, all are stopped together."""

from __future__ import annotations

import time
from collections.abc import Callable
from multiprocessing.process import BaseProcess

from harness.ended import oom_kills, words

LIVES = 10
"""How many times a worker is started again whose process died. A candidate that kills its worker is set aside after
three, and the budget is exact anyway: this ends what can't go well at all."""
STOP_S = 30.0
"""How long a process may take to let go of what it has in hand."""


class Pool:
    """So many processes at a time; one that is killed is replaced, one that ends by itself isn't.

    start: starts one, by its number. name: how it is called when it has ended. lives: how often each is replaced.
    """

    def __init__(
        self, start: Callable[[int], BaseProcess], processes: int, *, name: Callable[[BaseProcess], str], lives: float
    ) -> None:
        self._start, self._name, self._kills = start, name, oom_kills()
        self._processes = [start(number) for number in range(processes)]
        self._lives = [lives] * processes
        self._ended: dict[str, str] = {}

    def ended(self) -> dict[str, str]:
        """Tell which have ended, by name, and what went wrong ('': nothing); replace those that were killed."""
        for number, process in enumerate(self._processes):
            name, code = self._name(process), process.exitcode
            if code is None or name in self._ended:
                continue
            self._ended[name] = words(code, self._kills)
            if code < 0 and self._lives[number]:
                self._lives[number] -= 1
                self._processes[number] = self._start(number)
        return self._ended

    def running(self) -> int:
        """Count those that have not ended, as of the last look: one that was killed since will be replaced."""
        return sum(self._name(process) not in self._ended for process in self._processes)

    def stop(self) -> None:
        """Stop those that still run: Ctrl-C has reached them already; a SIGTERM has reached this process alone."""
        for process in self._processes:
            process.terminate()
        end = time.monotonic() + STOP_S
        for process in self._processes:
            process.join(max(0.0, end - time.monotonic()))
            process.kill()  # one that is stuck: its lease must run out
