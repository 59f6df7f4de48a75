"""Several judges on one machine: processes of their own, replaced when they are killed, ended together."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from typing import Any

from harness.errors import HarnessError
from harness.parent import die_with

POLITE = (signal.SIGINT, signal.SIGTERM)
PAUSE_S = 1.0
FAILED = 2


def run(workers: int, work: Callable[[threading.Event], None]) -> None:
    """Run `work` in so many forked processes until all have ended; one that is killed is started again.

    Each has its share of this process's processors. A polite signal to this process reaches all of them: it sets the
    event that `work` is given, and raises KeyboardInterrupt in it.

    Raises:
        HarnessError: every one of them ended with an error.
    """
    context = multiprocessing.get_context("fork")
    cores = sorted(os.sched_getaffinity(0))
    if not 1 <= workers <= len(cores):
        raise HarnessError(
            f"workers={workers}: allowed: 1 to {len(cores)}, one a processor", f"set workers={len(cores)}"
        )

    def start(number: int) -> BaseProcess:
        place = (os.getpid(), cores[number::workers], work)
        process = context.Process(target=_child, args=place, name=f"judge {number}")
        process.start()
        return process

    before = {polite: signal.signal(polite, _stop) for polite in POLITE}
    crew = [start(number) for number in range(workers)]
    try:
        _watch(crew, start)
    finally:
        for polite in POLITE:
            signal.signal(polite, signal.SIG_IGN)
        for process in crew:
            if process.is_alive():
                process.terminate()
        for process in crew:
            process.join()
        for polite, handler in before.items():
            signal.signal(polite, handler)


def _watch(crew: list[BaseProcess], start: Callable[[int], BaseProcess]) -> None:
    while True:
        codes = [process.exitcode for process in crew]  # one look: whoever is killed after it is found by the next
        for number, code in enumerate(codes):
            if code is not None and code < 0:
                print(f"{crew[number].name}: killed by {signal.Signals(-code).name}; another begins", flush=True)
                crew[number] = start(number)
        if all(code is not None and code >= 0 for code in codes):
            break
        time.sleep(PAUSE_S)
    if all(codes):
        raise HarnessError("every judge ended with an error", "see the lines above; the entries wait")


def heed(stop: threading.Event) -> None:
    """Have a polite signal to this process set `stop` and raise KeyboardInterrupt, once."""

    def end(number: int, frame: Any) -> None:
        stop.set()  # a database's driver may turn the interrupt into an error of its own
        _stop(number, frame)

    for polite in POLITE:
        signal.signal(polite, end)


def _child(parent: int, cores: list[int], work: Callable[[threading.Event], None]) -> None:
    stop = threading.Event()
    heed(stop)
    die_with(parent, signal.SIGTERM)
    os.sched_setaffinity(0, cores)
    try:
        work(stop)
    except KeyboardInterrupt:
        pass  # as asked; `work` has given back what it had in hand
    except HarnessError as e:
        print(f"error: {e}", file=sys.stderr, flush=True)
        sys.exit(FAILED)


def _stop(_signal: int, _frame: Any) -> None:
    """End on a polite signal, once: a second one must not break into giving the entry back."""
    for polite in POLITE:
        signal.signal(polite, signal.SIG_IGN)
    raise KeyboardInterrupt
