"""The judge's loop: whatever a judgement ends in, the entry has an end or another try, and its team is lines."""

from __future__ import annotations

import multiprocessing
import os
import re
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hosting import host, squares, submit, verdict
from sqlalchemy import Engine
from tcp_proxy import Wire

from harness.board import competitions, entries, queue, quota, store, teams, worker
from harness.board.entries import EntryView
from harness.errors import HarnessError
from harness.launch import judges
from harness.processors import cores, given
from harness.record.verdict import Verdict
from harness.sandbox.refused import Refused


def well(folder: Path, *_: Any, progress: Callable[[str], None], **__: Any) -> Verdict:
    """Judge at once."""
    progress("time")
    return verdict("x", 0.8)


def run(engine: Engine, tmp_path: Path, judge: Callable[..., Verdict], **how: Any) -> tuple[int, list[str]]:
    """Judge what waits; return how many were judged, and what was lines."""
    lines: list[str] = []
    found = competitions.find(engine, "squares")
    done = worker.work(
        engine, tmp_path / "files", found, squares(), tmp_path, judge=judge, wait=False, report=lines.append, **how
    )
    return done, lines


def seen(engine: Engine) -> list[EntryView]:
    """List the entries, the oldest first."""
    return entries.of(engine, competitions.find(engine, "squares"))[::-1]


def two(engine: Engine) -> tuple[int, int]:
    """Let two entries wait."""
    hosted, (team, _) = host(engine), teams.add(engine, "anna")
    return submit(engine, team.id, hosted, "a"), submit(engine, team.id, hosted, "b")


def test_what_waits_is_judged(lite: Engine, tmp_path: Path) -> None:
    """With the contest's limits, the public part, and the folder of the content."""
    two(lite)
    given: list[Any] = []

    def judge(folder: Path, *rest: Any, **how: Any) -> Verdict:
        given.append((folder, how))
        return well(folder, *rest, **how)

    assert run(lite, tmp_path, judge)[0] == 2
    assert [e.state for e in seen(lite)] == ["COMPLETE", "COMPLETE"]
    folder, how = given[0]
    assert folder.parent.parent == tmp_path / "files"
    assert (how["limits"].wall_s, how["sandbox"], int(how["public"].sum())) == (600, "strict", 100)
    assert how["debug"] is False


def test_a_refused_entry_fails_with_its_reason_and_costs(lite: Engine, tmp_path: Path) -> None:
    """The team reads the judge's words, without this machine's paths; the others are judged."""
    first, _ = two(lite)

    def judge(folder: Path, *rest: Any, **how: Any) -> Verdict:
        if seen(lite)[0].state == "RUNNING":
            raise Refused("gate", f"{folder}/model.onnx: an operator 'Loop'; allowed: none", "export it again")
        return well(folder, *rest, **how)

    run(lite, tmp_path, judge)
    refused, other = seen(lite)
    assert (refused.id, refused.state, refused.reason) == (first, "FAIL", "gate")
    assert refused.message == "model.onnx: an operator 'Loop'; allowed: none\n  do: export it again"
    assert refused.charged
    assert other.state == "COMPLETE"


def test_figures_of_the_labels_are_in_no_message(lite: Engine, tmp_path: Path) -> None:
    """A check that tells of the labels says that it failed, and no more."""
    two(lite)

    def judge(*_: Any, **__: Any) -> Verdict:
        raise Refused("perturbed", "F1 on private copies is 0.4321 lower", "learn the classes")

    _, lines = run(lite, tmp_path, judge)
    assert "0.4321" in lines[0]
    assert "0.4321" not in str(seen(lite))
    assert "perturbed" in seen(lite)[0].message


def test_of_a_debug_entry_all_is_told(lite: Engine, tmp_path: Path) -> None:
    """It is judged on public labels: F1, the figures of each check, and a refusal's own words; it has no place."""
    hosted, (team, _) = host(lite), teams.add(lite, "anna")
    for content in "ab":
        submit(lite, team.id, hosted, content, "debug")
    asked: list[bool] = []

    def judge(*rest: Any, debug: bool, **how: Any) -> Verdict:
        asked.append(debug)
        if len(asked) == 1:
            raise Refused("perturbed", "F1 on private copies is 0.4321 lower", "learn the classes")
        return well(*rest, **how)

    run(lite, tmp_path, judge)
    refused, fine = seen(lite)
    assert asked == [True, True] and "0.4321" in refused.message
    assert fine.f1 == verdict("x", 0.8).f1 and fine.checks == verdict("x", 0.8).checks and not fine.placed


@pytest.mark.parametrize(
    "fault", [HarnessError("the machine at /srv/secret is too noisy", "wait"), ZeroDivisionError()]
)
def test_the_judges_own_fault_costs_nothing(lite: Engine, tmp_path: Path, fault: Exception) -> None:
    """Three tries, then it fails without a charge; nothing of the machine is lines."""
    entry, _ = two(lite)
    calls: list[str] = []

    def judge(folder: Path, *rest: Any, **how: Any) -> Verdict:
        calls.append(folder.name)
        if folder.name == seen(lite)[0].content:
            raise fault
        return well(folder, *rest, **how)

    run(lite, tmp_path, judge)
    failed, other = seen(lite)
    assert (failed.id, failed.state, failed.reason, failed.charged) == (entry, "FAIL", "judge", False)
    assert "secret" not in failed.message
    assert other.state == "COMPLETE"
    assert calls.count(failed.content) == queue.TRIES
    hosted = competitions.find(lite, "squares")
    assert quota.left(lite, failed.team_id, hosted.id) == 4


def test_a_judge_that_fails_on_everything_stops(lite: Engine, tmp_path: Path) -> None:
    """Else it would use up the tries of the whole queue."""
    hosted, (team, _) = host(lite), teams.add(lite, "anna")
    for name in "abcde":
        submit(lite, team.id, hosted, name)

    def judge(*_: Any, **__: Any) -> Verdict:
        raise HarnessError("no sandbox", "install it")

    with pytest.raises(HarnessError, match="3 entries in a row"):
        run(lite, tmp_path, judge)
    assert queue.counts(lite, hosted.id)["WAITING"] == 5
    assert sorted(e.tries for e in seen(lite)) == [0, 0, 1, 1, 1]


def test_a_long_judgement_keeps_its_entry(lite: Engine, tmp_path: Path) -> None:
    """The lease is prolonged while it lasts. Takes some seconds: several leases long."""
    two(lite)

    def judge(*rest: Any, **how: Any) -> Verdict:
        time.sleep(1.5)
        assert queue.claim(lite, "rival", 60) is None or len(taken) == 0
        return well(*rest, **how)

    taken = [queue.claim(lite, "other", 600)]
    assert run(lite, tmp_path, judge, lease_s=0.5)[0] == 1
    assert "COMPLETE" in [e.state for e in seen(lite)]


def test_a_verdict_that_comes_too_late_is_told_and_not_counted(lite: Engine, tmp_path: Path) -> None:
    """Another judge has the entry by then."""
    hosted, (team, _) = host(lite), teams.add(lite, "anna")
    submit(lite, team.id, hosted, "a")

    def judge(*rest: Any, **how: Any) -> Verdict:
        from test_queue import silence

        silence(lite)
        assert queue.finish(lite, queue.claim(lite, "quick", 60), verdict("x", 0.7))
        return well(*rest, **how)

    assert "too late" in run(lite, tmp_path, judge)[1][0]


def test_another_data_set_is_refused(lite: Engine, tmp_path: Path) -> None:
    """Before an entry is claimed."""
    two(lite)
    found = competitions.find(lite, "squares")
    with pytest.raises(HarnessError, match="competition squares: is on data"):
        worker.work(lite, tmp_path, found, squares(100), tmp_path, judge=well)
    assert queue.counts(lite, found.id)["WAITING"] == 2


def test_a_database_that_is_away_for_long_loses_no_verdict(
    mariadb_server: int, mariadb_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The judgement goes on meanwhile, its verdict waits, and the judge goes on. Takes some seconds: an outage."""
    wire = Wire(mariadb_server)
    engine = store.open(mariadb_url.replace(f":{mariadb_server}/", f":{wire.port}/"))
    two(engine)
    monkeypatch.setattr(store, "PATIENCE_S", 0.5)

    def judge(folder: Path, *rest: Any, **how: Any) -> Verdict:
        if not cuts:
            cuts.append(folder)
            wire.cut()
            threading.Timer(2, wire.mend).start()
        return well(folder, *rest, **how)

    cuts: list[Path] = []
    assert run(engine, tmp_path, judge)[0] == 2
    assert [(e.state, e.tries) for e in seen(engine)] == [("COMPLETE", 1), ("COMPLETE", 1)]
    engine.dispose()


def test_a_judge_that_begins_while_the_database_is_away_waits_for_it(
    mariadb_server: int, mariadb_url: str, tmp_path: Path
) -> None:
    """As one does that takes a killed one's place. Takes some seconds: an outage."""
    wire = Wire(mariadb_server)
    engine = store.open(mariadb_url.replace(f":{mariadb_server}/", f":{wire.port}/"))
    two(engine)
    hosted = competitions.find(engine, "squares")
    engine.dispose()
    wire.cut()
    threading.Timer(2, wire.mend).start()
    assert worker.work(engine, tmp_path / "files", hosted, squares(), tmp_path, judge=well, wait=False) == 2
    engine.dispose()


def test_it_waits_until_it_is_told_to_stop(lite: Engine, tmp_path: Path) -> None:
    """And judges what comes in meanwhile."""
    hosted, (team, _) = host(lite), teams.add(lite, "anna")
    stop = threading.Event()

    def judge(*rest: Any, **how: Any) -> Verdict:
        stop.set()
        return well(*rest, **how)

    threading.Timer(0.3, lambda: submit(lite, team.id, hosted, "late")).start()
    done = worker.work(lite, tmp_path, hosted, squares(), tmp_path, judge=judge, stop=stop, report=lambda line: None)
    assert done == 1


def slow_judges(url: str, tmp_path: Path, mark: Path) -> None:
    """Be a judge whose judgements take long; the process that a test kills."""

    def judging(stop: threading.Event) -> None:
        engine = store.open(url)

        def judge(*rest: Any, **how: Any) -> Verdict:
            with mark.open("a") as marks:
                marks.write(f"{os.getpid()}\n")
            time.sleep(60)
            return well(*rest, **how)

        found = competitions.find(engine, "squares")
        worker.work(engine, tmp_path, found, squares(), tmp_path, judge=judge, lease_s=0.4, stop=stop)

    judges.run(1, judging)


def pids(mark: Path, count: int) -> list[int]:
    """Wait until so many judgements have begun; return the processes they ran in."""
    end = time.monotonic() + 300
    while time.monotonic() < end:
        found = mark.read_text().split() if mark.exists() else []
        if len(found) >= count:
            return [int(p) for p in found]
        time.sleep(0.05)
    raise AssertionError(f"{count} judgements didn't begin")


def test_sigterm_gives_the_entry_back(lite: Engine, tmp_path: Path) -> None:
    """At once, and it was no try. Takes some seconds: a process."""
    hosted, (team, _) = host(lite), teams.add(lite, "anna")
    submit(lite, team.id, hosted, "a")
    place = (lite.url.render_as_string(), tmp_path, tmp_path / "mark")
    process = multiprocessing.get_context("fork").Process(target=slow_judges, args=place)
    process.start()
    pids(tmp_path / "mark", 1)
    process.terminate()
    process.join(300)
    assert process.exitcode is not None
    (entry,) = seen(lite)
    assert (entry.state, entry.tries) == ("WAITING", 0)


def test_more_judges_than_processors_are_refused() -> None:
    """With what is given, and what may be set."""
    with pytest.raises(
        HarnessError, match=f"workers=9999: allowed: 1 to {cores()}, one a processor; .* {re.escape(str(given()))}"
    ):
        judges.run(9999, lambda stop: None)


def test_a_killed_judge_is_replaced_and_its_entry_judged_again(lite: Engine, tmp_path: Path) -> None:
    """Three dead judges, and the entry fails; none of them outlives the command. Takes some seconds: processes."""
    hosted, (team, _) = host(lite), teams.add(lite, "anna")
    submit(lite, team.id, hosted, "a")
    place = (lite.url.render_as_string(), tmp_path, tmp_path / "mark")
    process = multiprocessing.get_context("fork").Process(target=slow_judges, args=place)
    process.start()
    for number in range(1, queue.TRIES + 1):
        os.kill(pids(tmp_path / "mark", number)[-1], signal.SIGKILL)
    end = time.monotonic() + 300
    while seen(lite)[0].state != "FAIL" and time.monotonic() < end:
        time.sleep(0.1)
    (entry,) = seen(lite)
    assert (entry.state, entry.reason, entry.charged) == ("FAIL", "poison", False)
    process.terminate()
    process.join(300)
    assert process.exitcode is not None


def test_an_interrupt_as_an_entry_is_claimed_gives_it_back(lite: Engine, tmp_path: Path, monkeypatch: Any) -> None:
    """The judge had no answer yet that it holds one."""
    hosted, (team, _) = host(lite), teams.add(lite, "anna")
    submit(lite, team.id, hosted, "a")
    real = queue._claimed

    def struck(row: Any) -> queue.Claim:
        monkeypatch.setattr(queue, "_claimed", real)
        signal.raise_signal(signal.SIGINT)
        return real(row)

    monkeypatch.setattr(queue, "_claimed", struck)
    said: list[str] = []
    with pytest.raises(KeyboardInterrupt):
        worker.work(lite, tmp_path, hosted, squares(), tmp_path, judge=well, report=said.append)
    (entry,) = seen(lite)
    assert (entry.state, entry.tries, said) == ("WAITING", 0, ["entry 1 (a): given back"])


def test_an_interrupt_that_a_driver_made_an_error_of_gives_the_entry_back(lite: Engine, tmp_path: Path) -> None:
    """As psycopg does while it tries a connection; without the event it is a judge's fault, and a try."""
    hosted, (team, _) = host(lite), teams.add(lite, "anna")
    submit(lite, team.id, hosted, "a")
    stop = threading.Event()

    def judge(*rest: Any, **how: Any) -> Verdict:
        stop.set()
        raise RuntimeError("the interrupt, in other words")

    with pytest.raises(KeyboardInterrupt):
        worker.work(lite, tmp_path, hosted, squares(), tmp_path, judge=judge, stop=stop, report=lambda line: None)
    (entry,) = seen(lite)
    assert (entry.state, entry.tries) == ("WAITING", 0)
