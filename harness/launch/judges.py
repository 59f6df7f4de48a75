"""Judges as processes of this machine, each with its share of the processors."""

from __future__ import annotations

import math
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from multiprocessing.process import BaseProcess

from harness.errors import HarnessError
from harness.interrupts import POLITE, heed
from harness.launch.pool import Pool
from harness.measure.pinning import shares, siblings
from harness.parent import die_with
from harness.processors import given

PAUSE_S = 1.0
FAILED = 2


def run(judges: int, work: Callable[[threading.Event], None]) -> None:
    """Run `work` in so many forked processes until all have ended; one that is killed is replaced, each time.

    A polite signal to this process reaches all of them: it sets the event that `work` is given, and raises
    KeyboardInterrupt in it.

    Raises:
        HarnessError: every one of them ended with an error.
    """
    context = multiprocessing.get_context("fork")
    here = given()
    if not 1 <= judges <= here.cores:
        raise HarnessError(
            f"workers={judges}: allowed: 1 to {here.cores}, one a processor; this process is given {here}",
            f"set workers={here.cores}",
        )
    parts = shares(here.allowed, siblings(here.allowed), judges)

    def start(number: int) -> BaseProcess:
        share = (os.getpid(), parts[number], work)
        process = context.Process(target=_judge, args=share, name=f"judge {number}")
        process.start()
        return process

    before = {polite: signal.getsignal(polite) for polite in POLITE}
    heed()
    pool = Pool(start, judges, name=lambda judge: f"{judge.name} (process {judge.pid})", lives=math.inf)
    try:
        watch(pool)
    finally:
        pool.stop()
        for polite, handler in before.items():
            signal.signal(polite, handler)


def watch(pool: Pool) -> None:
    """Say who was killed, until all have ended."""
    said: set[str] = set()
    while True:
        ended = pool.ended()
        for name, words in ended.items():
            if words and name not in said:
                print(f"{name}: {words}{'; another has begun' if pool.running() else ''}", flush=True)
                said.add(name)
        if not pool.running():
            break
        time.sleep(PAUSE_S)
    if all(ended.values()):
        raise HarnessError("every judge ended with an error", "see the lines above; the entries wait")


def _judge(parent: int, cores: list[int], work: Callable[[threading.Event], None]) -> None:
    stop = threading.Event()
    heed(stop.set)  # a database's driver may turn the interrupt into an error of its own
    die_with(parent, signal.SIGTERM)
    os.sched_setaffinity(0, cores)
    try:
        work(stop)
    except KeyboardInterrupt:
        pass  # as asked; `work` has given back what it had in hand
    except HarnessError as e:
        print(f"error: {e}", file=sys.stderr, flush=True)
        sys.exit(FAILED)
