"""A crew of worker processes: forks of this one, which has imported everything and opened no database."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import sqlalchemy as sa
import victim
from history import History, read
from victim import Fate, Ground

from harness import database
from harness.database.lease import GRACE

POLL_S = 0.01
MARGIN_S = 1.2
"""How much longer than lease and grace a stopped worker stays so: another must have come by."""
LOCKS = {
    "sqlite": ("BEGIN EXCLUSIVE", "ROLLBACK"),
    "postgresql": ("BEGIN; LOCK TABLE harness_slots IN ACCESS EXCLUSIVE MODE", "ROLLBACK"),
    "mysql": ("LOCK TABLES harness_slots WRITE", "UNLOCK TABLES"),
}


@dataclass
class Member:
    """A live worker. wakes: when it is to go on, if it is stopped."""

    name: str
    pid: int
    fate: Fate
    wakes: float | None = None


class Crew:
    """Start workers, kill, stop and wake them, and see how each ends; all of it goes into the history."""

    def __init__(self, ground: Ground) -> None:
        self.ground = ground
        self.live: dict[int, Member] = {}
        self.died: list[Member] = []
        self.woken = self.outages = 0
        self._lockers: list[int] = []
        self._history = History(ground.folder, who="driver", study=ground.study)
        self._started = 0
        self._history.write("study", trials=ground.trials, lease_s=ground.lease_s)

    def start(self, fate: Fate = Fate()) -> Member:  # noqa: B008 (it is frozen)
        """Start a worker."""
        self._started += 1
        name = f"{self.ground.study}-w{self._started}"
        pid = _forked(lambda: victim.be(self.ground, fate, name))
        self.live[pid] = Member(name, pid, fate)
        self._history.write("started", worker=name, pid=pid, point=fate.point)
        return self.live[pid]

    def kill(self, member: Member) -> None:
        """Kill a worker, as a system without memory does."""
        self._history.write("killed", worker=member.name)
        os.kill(member.pid, signal.SIGKILL)

    def stop(self, member: Member) -> None:
        """Stop a worker for longer than its lease and the grace; `poll` wakes it."""
        self._history.write("stopped", worker=member.name)
        os.kill(member.pid, signal.SIGSTOP)

    def wake(self, member: Member) -> None:
        """Let a stopped worker go on."""
        member.wakes = None
        self.woken += 1
        self._history.write("woken", worker=member.name)
        os.kill(member.pid, signal.SIGCONT)

    def poll(self) -> None:
        """See who has ended or stopped, and wake those who have slept long enough."""
        for pid, member in list(self.live.items()):
            if member.wakes is not None and time.monotonic() > member.wakes:
                self.wake(member)
            found, status = os.waitpid(pid, os.WNOHANG | os.WUNTRACED)
            if found == 0:
                continue
            if os.WIFSTOPPED(status):
                if member.wakes is None:
                    asleep_s = self.ground.lease_s * (1 + GRACE) + MARGIN_S + member.fate.oversleeps_s
                    member.wakes = time.monotonic() + asleep_s
                continue
            self._ended(member, os.waitstatus_to_exitcode(status))
        self._lockers = [pid for pid in self._lockers if os.waitpid(pid, os.WNOHANG)[0] == 0]

    def _ended(self, member: Member, code: int) -> None:
        del self.live[member.pid]
        self._history.write("ended", worker=member.name, code=code)
        if code == -signal.SIGKILL:
            self.died.append(member)

    def outage(self, lasts_s: float) -> None:
        """Lock the budget's table, in a process of its own, for so long."""
        self.outages += 1
        self._lockers.append(_forked(lambda: _lock(self.ground.url, lasts_s, self._history)))

    def until(self, happened: Callable[[], object], within_s: float = 30.0) -> None:
        """Go on until something is so."""
        end = time.monotonic() + within_s
        while not happened():
            if time.monotonic() > end:
                raise TimeoutError(f"not so within {within_s} s")
            self.poll()
            time.sleep(POLL_S)

    def saw(self, event: str, worker: str = "", times: int = 1) -> bool:
        """Tell whether the history has such a line, of this worker."""
        lines = read(self.ground.folder)
        return sum(line["event"] == event and line["who"].startswith(worker) for line in lines) >= times

    def close(self) -> None:
        """Kill whoever is left: it hangs, and the history says so."""
        for member in list(self.live.values()):
            self._history.write("hung", worker=member.name)
            with contextlib.suppress(ProcessLookupError):
                os.kill(member.pid, signal.SIGKILL)
        for pid in self._lockers:
            os.kill(pid, signal.SIGKILL)
        while self.live or self._lockers:
            self.poll()
            time.sleep(POLL_S)


@contextlib.contextmanager
def crew(ground: Ground) -> Iterator[Crew]:
    """A crew of which nobody is left in the end, whatever happens."""
    ground.folder.mkdir(parents=True, exist_ok=True)
    made = Crew(ground)
    try:
        yield made
    finally:
        made.close()


def process_name(member: Member) -> str:
    """Return what the study calls a worker."""
    return f"{socket.gethostname()}-{member.pid}"


def _forked(act: Callable[[], int]) -> int:
    """Do it in a forked child, which never comes back into the program of its parent; return the child's number."""
    parent, child = os.getpid(), os.fork()
    if child:
        return child
    code = 1
    victim.die_with_parent(parent)
    try:
        code = act()
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        os._exit(code)


def take_lock(connection: sa.Connection, take: str) -> None:
    """Lock a table, however long it takes.

    On MySQL's kind whoever waits for it lets nobody else at the table meanwhile: not the driver either, who would have
    to wake the stopped one that holds it. So a wait is short, and then begun anew.
    """
    if connection.dialect.name != "mysql":
        connection.exec_driver_sql(take)
        return
    connection.exec_driver_sql("SET SESSION lock_wait_timeout = 1")
    for _ in range(60):
        try:
            connection.exec_driver_sql(take)
            return
        except sa.exc.OperationalError:
            time.sleep(0.1)
    raise TimeoutError(take)


def _lock(url: str, lasts_s: float, history: History) -> int:
    engine = sa.create_engine(database.address(url), isolation_level="AUTOCOMMIT")
    take, give = LOCKS[engine.dialect.name]
    with engine.connect() as connection:
        take_lock(connection, take)
        history.write("away-begin")
        time.sleep(lasts_s)
        connection.exec_driver_sql(give)
        history.write("away-end")
    return 0
