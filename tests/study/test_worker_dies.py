"""N trials are N, though workers are killed, stopped and interrupted."""

from __future__ import annotations

import os
import signal
import socket
import time
from pathlib import Path
from typing import Any

import pytest
from cheap import alone, check, ended, failed, opened, result, run_out, start, until
from optuna.trial import TrialState

from harness.study import ledger, pending_results, slots


def test_a_killed_worker_costs_no_trial(url: str, tmp_path: Path) -> None:
    """The others finish the budget, with its candidate too; nothing stays running."""
    victim = start(url, 5, tmp_path, behaviour="suggest_then_hang")
    until((tmp_path / "inside").exists)
    others = [start(url, 5, tmp_path) for _ in range(2)]
    victim.kill()
    victim.join()
    run_out(url, victim)
    assert [ended(w) for w in others] == [0, 0]
    trials = check(opened(url, 5), 5)
    assert failed(trials) == ["its worker died"]
    (again,) = [t for t in trials if "retry_of" in t.user_attrs]
    assert again.user_attrs["retry_of"] == 0 and again.params == trials[0].params


def test_the_check_notices_a_lease_that_never_ends(lite: str, tmp_path: Path) -> None:
    """The control of the test above: while the lease goes on, the dead worker's trial isn't run again."""
    victim = start(lite, 5, tmp_path, 1e6, "hang")
    until((tmp_path / "inside").exists)
    other = start(lite, 5, tmp_path)
    victim.kill()
    shared = opened(lite, 5)
    until(lambda: slots.counts(shared.engine, "cheap", 5)["done"] == 4)
    assert ended(other, 1.5) is None
    with pytest.raises(AssertionError, match="budget unfinished: .*'leased': 1, 'done': 4"):
        check(shared, 5)
    other.kill()
    other.join()


@pytest.mark.parametrize("where", ["beside", "later"])
def test_a_result_that_was_computed_is_never_computed_again(url: str, where: str, tmp_path: Path) -> None:
    """Its worker was killed before it could tell: at the next start of one, or by the one that takes up the slot."""
    victim = start(url, 3, tmp_path, dies_at="ledger.count")
    assert ended(victim) == -signal.SIGKILL
    run_out(url, victim)
    (outcome,) = [o for _, o in pending_results.waiting(tmp_path)]
    if where == "beside":  # it came to lie there when no worker started any more
        hidden = (tmp_path / "0").rename(tmp_path.parent / "hidden")
        assert slots.counts(opened(url, 3).engine, "cheap", 3)["leased"] == 1
        shared = opened(url, 3)
        assert alone(shared, tmp_path, lambda trial: (hidden.rename(tmp_path / "0"), result(trial))[1]
                     if hidden.exists() else result(trial)) == 2  # fmt: skip
    else:
        assert ended(start(url, 3, tmp_path)) == 0
    trials = check(opened(url, 3), 3)
    assert len(trials) == 3 and trials[0].value == outcome.values[0] and not failed(trials)
    assert not list(pending_results.waiting(tmp_path))


def test_a_result_counts_though_another_is_running_its_candidate_again(lite: str, tmp_path: Path) -> None:
    """Its machine comes back late; the other's trial is closed, and its worker goes on quietly."""
    home, away = tmp_path / "home", tmp_path / "away"
    home.mkdir()
    away.mkdir()
    first = start(lite, 1, home, dies_at="ledger.count")
    assert ended(first) == -signal.SIGKILL
    run_out(lite, first)
    second = start(lite, 1, away, behaviour="hang")
    until((away / "inside").exists)
    shared = opened(lite, 1)
    ((_folder, outcome),) = pending_results.waiting(home)
    assert ledger.replay(shared, outcome) == ledger.COUNTED
    assert ledger.replay(shared, outcome) == "another trial was counted in its place"
    (away / "go").touch()
    assert ended(second) == 0
    trials = check(shared, 1)
    (counted,) = [t for t in trials if t.state == TrialState.COMPLETE]
    assert (counted.user_attrs["result_of"], counted.values) == (0, [*outcome.values])
    assert "another worker has taken it up; dropped" in (away / "hang.txt").read_text()


def test_a_worker_killed_after_telling_is_counted_once(lite: str, tmp_path: Path) -> None:
    """What lies in its outbox was told already."""
    assert ended(start(lite, 3, tmp_path, dies_at="pending_results.clear")) == -signal.SIGKILL
    (told,) = opened(lite, 3).optuna.get_trials()
    assert ended(start(lite, 3, tmp_path)) == 0
    trials = check(opened(lite, 3), 3)
    assert len(trials) == 3 and trials[0].values == told.values
    assert "was recorded before" in (tmp_path / "quick.txt").read_text()


def test_a_candidate_that_kills_three_workers_is_set_aside(lite: str, tmp_path: Path) -> None:
    """Its slot gets another candidate."""
    for _ in range(3):
        victim = start(lite, 1, tmp_path, behaviour="die")
        assert ended(victim) == -signal.SIGKILL
        run_out(lite, victim)
    assert ended(start(lite, 1, tmp_path)) == 0
    trials = check(opened(lite, 1), 1)
    assert failed(trials) == ["its worker died"] * 2 + ["its worker died, as 2 before it: its candidate is set aside"]
    assert len({t.params["x"] for t in trials[:3]}) == 1 and trials[3].params["x"] != trials[0].params["x"]


def test_a_worker_known_to_be_dead_is_replaced_at_once(lite: str, tmp_path: Path) -> None:
    """Whoever started it has seen it end, and says why."""
    victim = start(lite, 1, tmp_path, 600, "suggest_then_hang")
    until((tmp_path / "inside").exists)
    victim.kill()
    victim.join()
    shared = opened(lite, 1)
    ledger.died(shared, f"{socket.gethostname()}-{victim.pid}", "out of memory: the system killed its worker")
    assert alone(shared, tmp_path, result) == 1
    assert failed(check(shared, 1)) == ["out of memory: the system killed its worker"]


@pytest.mark.parametrize(
    ("kind", "behaviour"), [("lite", "hang"), ("postgres_url", "hang"), ("lite", "hang_then_prune")]
)
def test_a_worker_that_wakes_too_late_is_not_counted(
    kind: str, behaviour: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """A laptop's lid was closed; another has run the slot's trial meanwhile."""
    url = request.getfixturevalue(kind)
    sleeper = start(url, 3, tmp_path, behaviour=behaviour)
    until((tmp_path / "inside").exists)
    os.kill(sleeper.pid, signal.SIGSTOP)
    try:
        run_out(url, sleeper)
        assert ended(start(url, 3, tmp_path)) == 0
        (tmp_path / "go").touch()
    finally:
        os.kill(sleeper.pid, signal.SIGCONT)
    assert ended(sleeper) == 0
    assert failed(check(opened(url, 3), 3)) == ["its worker died"]
    assert "another worker has taken it up; dropped" in (tmp_path / f"{behaviour}.txt").read_text()


def test_an_interrupted_worker_gives_its_slot_back(url: str, tmp_path: Path) -> None:
    """At once, and without counting a failure: another needn't wait for a lease."""
    stopped = start(url, 2, tmp_path, behaviour="hang")
    until((tmp_path / "inside").exists)
    os.kill(stopped.pid, signal.SIGINT)
    assert ended(stopped) == 1  # the interrupt goes on to whoever started the worker
    shared = opened(url, 2)
    assert slots.counts(shared.engine, "cheap", 2) == {"free": 2, "leased": 0, "done": 0, "given_up": 0}
    begin = time.monotonic()
    assert alone(shared, tmp_path, result) == 2
    assert time.monotonic() - begin < 50  # the lease is 60 s
    trials = check(shared, 2)
    assert failed(trials) == ["interrupted"]


@pytest.mark.parametrize("moment", ["attach", "settle"])
def test_an_interrupt_beside_the_trial_gives_the_slot_back_too(
    lite: str, moment: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C may come while the worker is in the database. A result that was computed by then counts all the same."""
    shared, real = opened(lite, 2), getattr(slots, moment)

    def interrupt(*_: Any) -> bool:
        monkeypatch.setattr(slots, moment, real)
        raise KeyboardInterrupt

    monkeypatch.setattr(slots, moment, interrupt)
    with pytest.raises(KeyboardInterrupt):
        alone(shared, tmp_path, result)
    assert slots.counts(shared.engine, "cheap", 2)["leased"] == 0
    assert alone(shared, tmp_path, result) == (2 if moment == "attach" else 1)
    assert failed(check(shared, 2)) == ([] if moment == "attach" else ["interrupted"])
