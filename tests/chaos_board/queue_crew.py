"""The crew of a storm on the queue: judges and clients, each a fork of a process that has opened no database."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterator

import queue_victims as victims
import sqlalchemy as sa
from crew import Crew, Member, _forked, take_lock
from queue_plan import Fate, Ground

from harness import database

LOCKS = {
    "sqlite": ("BEGIN EXCLUSIVE", "ROLLBACK"),
    "postgresql": ("BEGIN; LOCK TABLE entries IN ACCESS EXCLUSIVE MODE", "ROLLBACK"),
    "mysql": ("LOCK TABLES entries WRITE", "UNLOCK TABLES"),
}
CUT = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND usename = current_user"
PLAIN = Fate()


class Benches(Crew):
    """Start judges and clients, and let things befall them; all of it goes into the history."""

    ground: Ground

    def __init__(self, ground: Ground) -> None:
        super().__init__(ground)  # type: ignore[arg-type]
        sa.create_engine(database.address(ground.url))  # the driver is imported here, once, and nothing is opened
        self.helped(lambda: victims.set_up(ground))

    def judge(self, fate: Fate = PLAIN) -> Member:
        """Start a judge."""
        name = f"judge-{self._number()}"
        return self._add(name, fate, _forked(lambda: victims.judge(self.ground, fate, name)))

    def client(self, team: int, first: int, last: int, fate: Fate = PLAIN) -> Member:
        """Start a client that submits what a team has from `first` to `last`."""
        name = f"client-{self._number()}"
        act = (self.ground, fate, name, team, first, last)
        return self._add(name, fate, _forked(lambda: victims.client(*act)))

    def one(self, contents: list[str], fate: Fate = PLAIN) -> Member:
        """Start a client that submits these entries for the first team."""
        name = f"client-{self._number()}"
        return self._add(name, fate, _forked(lambda: victims.one(self.ground, fate, name, contents)))

    def _number(self) -> int:
        self._started += 1
        return self._started

    def _add(self, name: str, fate: Fate, pid: int) -> Member:
        self.live[pid] = Member(name, pid, fate)  # type: ignore[arg-type]
        self._history.write("started", worker=name, pid=pid, point=fate.point)
        return self.live[pid]

    def ask(self, member: Member) -> None:
        """Ask a judge politely to end."""
        self._history.write("asked", worker=member.name)
        os.kill(member.pid, signal.SIGTERM)

    def judges(self) -> list[Member]:
        return [m for m in self.live.values() if m.name.startswith("judge")]

    def outage(self, lasts_s: float) -> None:
        """Lock the entries' table, in a process of its own, for so long; cut connections where there are some."""
        self.outages += 1
        self._lockers.append(_forked(lambda: _lock(self.ground.url, lasts_s, self)))

    def dismiss(self, within_s: float = 20.0) -> None:
        """Ask all judges to end, and wait until everybody has."""
        for member in self.judges():
            if member.wakes is not None:
                self.wake(member)
            self.ask(member)
        with contextlib.suppress(TimeoutError):  # whoever is left hangs, and `close` says so
            self.until(lambda: not self.live and not self._lockers, within_s)

    def noted(self, event: str) -> None:
        self._history.write(event)

    def idle(self) -> bool:
        """Tell whether no entry waits or is being judged."""
        return self.helped(lambda: _busy(self.ground.url)) == 0

    def helped(self, act: object) -> int:
        """Do something with the database, in a process of its own; return its exit code."""
        _, status = os.waitpid(_forked(act), 0)  # type: ignore[arg-type]
        return os.waitstatus_to_exitcode(status)


@contextlib.contextmanager
def benches(ground: Ground) -> Iterator[Benches]:
    """A crew of which nobody is left in the end, whatever happens."""
    ground.folder.mkdir(parents=True, exist_ok=True)
    made = Benches(ground)
    try:
        yield made
    finally:
        made.close()


def _busy(url: str) -> int:
    engine = sa.create_engine(database.address(url).difference_update_query(["timeout"]))
    with engine.connect() as connection:
        query = "SELECT count(*) FROM entries WHERE state NOT IN ('COMPLETE', 'FAIL')"
        return int(bool(connection.execute(sa.text(query)).scalar()))


def _lock(url: str, lasts_s: float, crew: Benches) -> int:
    engine = sa.create_engine(database.address(url), isolation_level="AUTOCOMMIT")
    take, give = LOCKS[engine.dialect.name]
    with engine.connect() as connection:
        if engine.dialect.name == "postgresql":
            connection.exec_driver_sql(CUT)
        take_lock(connection, take)
        crew.noted("away-begin")
        time.sleep(lasts_s)
        connection.exec_driver_sql(give)
        crew.noted("away-end")
    return 0
