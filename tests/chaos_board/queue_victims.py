"""Judges and clients of the storm: the product's own loop and queue, a judge that costs nothing, and a history."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import sqlite3
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import wraps
from pathlib import Path
from typing import Any

import hosting
import queue_mutants
import queue_points
from history import History
from queue_plan import COMPETITION, REFUSED, Fate, Ground, drawn, task
from sqlalchemy import Engine
from sqlalchemy.exc import OperationalError

from harness import database
from harness.board import competitions, idle, queue, store, teams, worker
from harness.board.quota import Full
from harness.errors import HarnessError
from harness.interrupts import heed
from harness.record.verdict import Verdict
from harness.sandbox.refused import Refused

DATASET = hosting.squares()
POLL_S = LAST_PAUSE_S = 0.2
"""Leases are a sixtieth of real ones: so are pauses."""
BACKLOG = 60
"""Waiting entries at which clients pause, so that they still submit when the storm ends."""
OPENS_S = 20.0
"""How long a command is given again that finds the database away as it begins."""
PAUSE = "pause"
"""The file at which they pause, too: the driver's, when the blows lag behind the entries."""


def set_up(ground: Ground) -> int:
    """Host the competition, and let the teams in."""
    engine = store.open(ground.url)
    hosting.host(engine, COMPETITION, submissions_a_day=ground.cap)
    for team in range(ground.teams):
        teams.add(engine, f"team {team}")
    return 0


def judge(ground: Ground, fate: Fate, name: str) -> int:
    """Judge entries until fate strikes, or SIGTERM; return the exit code."""

    def work(history: History) -> None:
        stop = threading.Event()
        heed(stop.set)  # as the product's judges do
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # as in `_process`
        idle.POLL_S = POLL_S
        engine = opened(ground.url, history)
        beats(engine, history, fate.cut_off_s)
        hosted = competitions.find(engine, COMPETITION)
        gives_back = fate.nth if "give_back" in fate.point else 0
        judging = _judge(history, name, gives_back)
        history.write("ready")
        place = (ground.folder / "files", hosted, DATASET, ground.folder, name)
        worker.work(engine, *place, judge=judging, lease_s=ground.lease_s, stop=stop)

    return _process(ground, replace(fate, nth=1) if "give_back" in fate.point else fate, name, work)


def client(ground: Ground, fate: Fate, name: str, team: int, first: int, last: int) -> int:
    """Submit a team's entries from `first` to before `last`, or from a little before where an earlier one died."""
    mark = ground.folder / f"at-{team}-{last}"

    def work(history: History) -> None:
        engine = opened(ground.url, history)
        hosted, number = competitions.find(engine, COMPETITION), teams.find(engine, f"team {team}").id
        begin = max(first, int(mark.read_text() or 0) - 3) if mark.exists() else first
        for i in range(begin, last):
            send(engine, number, hosted.id, drawn(ground, team, i), f"e{i}", history)
            mark.write_text(str(i))
            while (ground.folder / PAUSE).exists():
                time.sleep(POLL_S)
            while i % 10 == 0 and queue.counts(engine, hosted.id)["WAITING"] > BACKLOG:
                time.sleep(0.2)

    return _process(ground, fate, name, work)


def one(ground: Ground, fate: Fate, name: str, contents: list[str]) -> int:
    """Submit these entries for the first team, once nobody pauses."""

    def work(history: History) -> None:
        engine = opened(ground.url, history)
        hosted, number = competitions.find(engine, COMPETITION), teams.find(engine, "team 0").id
        history.write("opened")
        while (ground.folder / PAUSE).exists():
            time.sleep(POLL_S / 20)
        for content in contents:
            send(engine, number, hosted.id, content, content[-12:], history)

    return _process(ground, fate, name, work)


def opened(url: str, history: History) -> Engine:
    """Open the board; whoever finds it away at that moment gives the same command again, as the error says."""
    end = time.monotonic() + OPENS_S
    while True:
        try:
            return store.open(url)
        except HarnessError:
            if time.monotonic() > end:
                raise
            history.write("unopened")
            time.sleep(POLL_S)


def send(engine: Engine, team: int, competition: int, content: str, name: str, history: History) -> None:
    """Submit an entry, and note what came of it."""
    history.write("submitting", team=team, content=content)
    manifest = {"name": name, "files": {"model.onnx": content}}
    try:
        entry, new = queue.submit(engine, team, competition, content, hosting.SIZES, manifest)
        history.write("submitted", team=team, content=content, entry=entry, new=new)
    except Full:
        history.write("full", team=team, content=content)


def _process(ground: Ground, fate: Fate, name: str, work: Callable[[History], None]) -> int:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a user's Ctrl-C is for the driver, which kills its crew
    log = os.open(ground.folder / f"{name.partition('-')[0]}.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(log, 1)
    os.dup2(log, 2)
    history = History(ground.folder, who=name)
    random.seed(os.getpid())  # all are forks of one process, and would else pause alike
    database.patience.LAST_PAUSE_S = LAST_PAUSE_S
    try:
        if fate.mutant:
            queue_mutants.MUTANTS[fate.mutant].alter()
        record(history)
        if fate.point:
            queue_points.strike(fate.point, fate.nth, fate.stops, history)
        work(history)
        return 0
    except KeyboardInterrupt:
        return 0
    except HarnessError as e:
        traceback.print_exc()
        if "entries in a row" not in str(e):
            return 1
        history.write("limping")  # as it shall: where nothing is left but what no judge can judge
        return 0
    except Exception:
        traceback.print_exc()
        return 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()


def _judge(history: History, name: str, gives_back: int) -> Callable[..., Verdict]:
    """Make a judge. gives_back: at which entry it gets a SIGTERM."""
    judged = 0

    def judging(folder: Path, dataset: Any, rules: Any, cache: Path, progress: Any, **_: Any) -> Verdict:
        nonlocal judged
        judged += 1
        what = task(folder.name)
        progress("score")
        if what.kind == "poison":
            history.write("dying", point="poison")
            os.kill(os.getpid(), signal.SIGKILL)
        if judged == gives_back:
            os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(what.seconds / 2)
        queue_points.Judging.step()
        time.sleep(what.seconds / 2)
        if what.kind == "refused":
            raise Refused(REFUSED, "model.onnx: an operator 'Loop'; allowed: none", "export it again")
        if what.kind == "fault":
            raise HarnessError("the machine is too noisy", "wait")
        verdict = hosting.verdict(folder.name[-12:], what.f1, rules=rules)
        return replace(verdict, machine={"token": f"{name} {judged}"})

    return judging


def record(history: History) -> None:
    """Let the product's functions leave a line as they are passed.

    `claiming` stands before the commit, so that no kill can hide it; the last one of an entry and its fence holds.
    """

    def lines(function: str, begin: str, end: str, facts: Callable[..., dict[str, Any]]) -> None:
        def by(real: Callable[..., Any]) -> Callable[..., Any]:
            @wraps(real)
            def call(*arguments: Any, **options: Any) -> Any:
                told = facts(*arguments)
                history.write(begin, **told)
                ok = real(*arguments, **options)
                history.write(end, ok=ok, **told)
                return ok

            return call

        queue_points.wrap(function, by)

    def held(claim: Any) -> dict[str, Any]:
        return {"entry": claim.entry, "fence": claim.fence}

    def claims(event: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
        def by(real: Callable[..., Any]) -> Callable[..., Any]:
            @wraps(real)
            def call(*arguments: Any, **options: Any) -> Any:
                claim = real(*arguments, **options)
                if claim is not None:
                    history.write(event, **held(claim))
                return claim

            return call

        return by

    queue_points.wrap("queue._claimed", claims("claiming"))
    queue_points.wrap("queue.claim", claims("claimed"))
    lines("queue.finish", "finishing", "finished", lambda _, claim, v, *__: held(claim) | {"token": v.machine["token"]})
    lines("queue.fail", "failing", "failed", lambda _, claim, reason, *__: held(claim) | {"reason": reason})
    lines("queue.give_back", "giving-back", "gave-back", lambda _, claim, *__: held(claim))


def beats(engine: Engine, history: History, cut_off_s: float) -> None:
    """Note each attempt to renew the lease, from its beginning on: who waits for the database isn't silent.

    cut_off_s: how long they fail, from the first on.
    """
    real, first = engine.begin, 0.0

    @contextlib.contextmanager
    def begin() -> Iterator[Any]:
        if threading.current_thread() is threading.main_thread():
            with real() as connection:
                yield connection
            return
        nonlocal first
        first = first or time.monotonic()
        history.write("beat-begin")
        try:
            if time.monotonic() < first + cut_off_s:
                away = sqlite3.OperationalError("cut off")
                away.sqlite_errorcode = sqlite3.SQLITE_BUSY
                raise OperationalError("beat", {}, away)
            with real() as connection:
                yield connection
        finally:
            history.write("beat-end")

    engine.begin = begin  # type: ignore[method-assign]
