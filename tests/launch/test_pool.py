"""A pool replaces processes that are killed, for workers and for judges alike, and says how each ended."""

from __future__ import annotations

import math
import multiprocessing
import signal
import threading
import time

import pytest

from harness import ended
from harness.ended import oom_kills
from harness.errors import HarnessError
from harness.launch import judges, pool
from harness.launch.pool import LIVES, Pool

FORK = multiprocessing.get_context("fork")


class Dead:
    """A process that has ended, or runs."""

    def __init__(self, pid: int, exitcode: int | None) -> None:
        self.pid, self.exitcode, self.name = pid, exitcode, f"judge {pid}"


def by_number(process: Dead) -> str:
    """Name a process."""
    return str(process.pid)


def test_how_processes_ended_is_said_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory is named where the system counted a kill for it."""
    dead = [Dead(1, 0), Dead(2, 3), Dead(3, -9), Dead(4, -11), Dead(5, None)]
    crew = Pool(lambda number: dead[number], len(dead), name=by_number, lives=0)
    assert crew.ended() == {
        "1": "", "2": "its process ended with code 3", "4": "its process was killed by signal 11",
        "3": "its process was killed by signal 9 (the system does that when memory runs out)",
    }  # fmt: skip
    assert crew.running() == 1
    kills = oom_kills()
    dead[4].exitcode = -9
    monkeypatch.setattr(ended, "oom_kills", lambda: kills + 1)
    assert [*crew.ended().values()][-1] == "out of memory: the system killed its process"


@pytest.mark.parametrize(("lives", "looks"), [(LIVES, LIVES), (math.inf, 19)])
def test_a_killed_process_is_replaced_until_its_lives_are_spent(lives: float, looks: int) -> None:
    """One that ended by itself, well or not, isn't. A judge is replaced each time: its entry is set aside, not it."""
    started = []

    def start(number: int) -> Dead:
        started.append(number)
        return Dead(len(started), -9 if number == 0 else number - 1)  # 0 is always killed, 1 ends well, 2 doesn't

    crew = Pool(start, 3, name=by_number, lives=lives)
    for _ in range(19):
        ended = crew.ended()
    assert started == [0, 1, 2] + looks * [0]
    assert len(ended) == len(started) - (lives == math.inf) and crew.running() == (lives == math.inf)


def test_a_process_that_is_killed_between_two_looks_counts_as_running() -> None:
    """Else a study whose only worker is killed at that moment would end."""
    started: list[Dead] = []

    def start(number: int) -> Dead:
        started.append(Dead(len(started), None))
        return started[-1]

    crew = Pool(start, 1, name=by_number, lives=LIVES)
    assert crew.ended() == {}
    started[0].exitcode = -9
    assert crew.running() == 1
    assert len(crew.ended()) == 1 and crew.running() == 1 and len(started) == 2


def test_all_are_stopped_together_and_who_is_stuck_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    """One ends politely, one doesn't hear."""
    monkeypatch.setattr(pool, "STOP_S", 0.5)
    ready = FORK.Semaphore(0)

    def be(stuck: bool) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN if stuck else signal.SIG_DFL)
        ready.release()
        time.sleep(60)

    def start(number: int) -> multiprocessing.process.BaseProcess:
        process = FORK.Process(target=be, args=(number == 1,))
        process.start()
        return process

    crew = Pool(start, 2, name=lambda process: str(process.pid), lives=0)
    for _ in range(2):
        assert ready.acquire(timeout=30)
    begin = time.monotonic()
    crew.stop()
    assert time.monotonic() - begin < 10
    for process in crew._processes:
        process.join(10)
    assert [process.exitcode for process in crew._processes] == [-signal.SIGTERM, -signal.SIGKILL]


# judges


def test_a_judge_that_is_killed_before_the_next_look_is_replaced(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Though it was the only one, and nobody is alive at that moment."""
    monkeypatch.setattr(judges, "PAUSE_S", 0.0)
    made = iter([Dead(0, -9), Dead(1, 0)])
    judges.watch(Pool(lambda _: next(made), 1, name=by_number, lives=math.inf))
    assert "0: its process was killed by signal 9" in capsys.readouterr().out


def test_the_number_of_judges_is_checked() -> None:
    """One a processor at most."""
    with pytest.raises(HarnessError, match="workers=0: allowed: 1 to"):
        judges.run(0, lambda stop: None)


def test_judges_that_all_failed_are_an_error(capfd: pytest.CaptureFixture[str]) -> None:
    """With the error of each; this process hears polite signals as before."""
    before = signal.getsignal(signal.SIGTERM)

    def work(stop: threading.Event) -> None:
        raise HarnessError("no sandbox here", "install it")

    with pytest.raises(HarnessError, match="every judge ended with an error"):
        judges.run(1, work)
    assert "no sandbox here" in capfd.readouterr().err
    assert signal.getsignal(signal.SIGTERM) is before
