"""64 submissions of one team at once, from eight processes, when it may have one more."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from typing import Any

import hosting
import sqlalchemy as sa

from harness.board import competitions, queue, store, teams
from harness.board.quota import Full
from harness.board.tables import Entry
from harness.parent import die_with

PROCESSES, THREADS = 8, 8
CAP = 2
NAME = "squares"
WITHIN_S = 300
CONTEXT = multiprocessing.get_context("fork")
Alter = Callable[[], None]


def rounds(url: str, number: int, alter: Alter | None = None) -> list[int]:
    """Return how many entries each team has in the end, one team a round: two, if nothing is wrong.

    alter: takes a safeguard out of the queue, in the processes that submit.
    """
    set_up = CONTEXT.Process(target=_set_up, args=(url, number))
    set_up.start()
    set_up.join(WITHIN_S)
    gate, told = CONTEXT.Barrier(PROCESSES * THREADS), CONTEXT.SimpleQueue()
    crew = [CONTEXT.Process(target=_rivals, args=(url, number, p, gate, told, alter)) for p in range(PROCESSES)]
    for process in crew:
        process.start()
    answers = [told.get() for _ in crew]
    for process in crew:
        process.join(WITHIN_S)
    assert [process.exitcode for process in crew] == [0] * PROCESSES, answers
    admitted = [sum(of_round) for of_round in zip(*answers, strict=True)]
    there = _there(url)
    assert there == [n + CAP - 1 for n in admitted], "what clients were told isn't what is there"
    return there


def _set_up(url: str, number: int) -> None:
    engine = store.open(url)
    hosted = hosting.host(engine, NAME, submissions_a_day=CAP)
    for n in range(number):
        team, _ = teams.add(engine, f"team {n}")
        for i in range(CAP - 1):
            hosting.submit(engine, team.id, hosted, f"before {n} {i}")


def _rivals(url: str, number: int, process: int, gate: Any, told: Any, alter: Alter | None) -> None:
    """Be one of the processes: tell how many of its threads were let in, each round."""
    import os
    import signal

    die_with(os.getppid(), signal.SIGKILL)
    if alter is not None:
        alter()
    engine = store.open(url)
    hosted = competitions.find(engine, NAME)
    found = [teams.find(engine, f"team {n}").id for n in range(number)]

    def one(team: int, thread: int) -> bool:
        content = sha256(f"{team} {process} {thread}".encode()).hexdigest()
        gate.wait(WITHIN_S)
        try:
            queue.submit(engine, team, hosted.id, content, hosting.SIZES, hosting.manifest(f"{process}-{thread}"))
        except Full:
            return False
        return True

    admitted = []
    with ThreadPoolExecutor(THREADS) as pool:
        for team in found:
            admitted.append(sum(pool.map(one, [team] * THREADS, range(THREADS))))
    told.put(admitted)


def _there(url: str) -> list[int]:
    engine = store.open(url)
    query = sa.select(sa.func.count()).select_from(Entry).group_by(Entry.team_id).order_by(Entry.team_id)
    counts = store.look(engine, lambda c: list(c.scalars(query).all()))
    engine.dispose()
    return counts
