"""N trials are N, whatever happens to the workers."""

from __future__ import annotations

import math
import os
import signal
import socket
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest
import torch
from cheap import ended, figures, opened, start, until
from optuna.trial import FrozenTrial, TrialState

from harness.errors import HarnessError
from harness.search import budget, ledger, outbox
from harness.search.duplicate import Duplicate
from harness.search.study import Shared
from harness.search.worker import DRAWS, DiskFull, work
from harness.train.loop import Diverged

LEASE_S = 2.0


@pytest.fixture(params=["sqlite", "postgres", "mariadb"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty database of each kind."""
    return (
        f"sqlite:///{tmp_path}/x.db" if request.param == "sqlite" else request.getfixturevalue(f"{request.param}_url")
    )


@pytest.fixture
def lite(tmp_path: Path) -> str:
    """An empty SQLite database, where the kind of database makes no difference."""
    return f"sqlite:///{tmp_path}/x.db"


def alone(shared: Shared, folder: Path, run: Callable[[optuna.Trial], dict[str, Any]]) -> int:
    """Work in this process."""
    return work(shared, lambda trial, earlier: run(trial), lambda number: folder / str(number))


def check(shared: Shared, trials: int) -> list[FrozenTrial]:
    """Make sure that exactly `trials` trials finished, each counted once, and that none is left half-way."""
    found = shared.optuna.get_trials(deepcopy=False)
    states = Counter(t.state for t in found)
    counts = budget.counts(shared.engine, "cheap", trials)
    assert counts == {"free": 0, "leased": 0, "done": trials, "given_up": 0}, f"budget unfinished: {counts}"
    assert states[TrialState.COMPLETE] + states[TrialState.PRUNED] == trials
    assert not states[TrialState.RUNNING] and not states[TrialState.WAITING]
    assert all(t.user_attrs["reason"] for t in found if t.state == TrialState.FAIL)
    return found


def failed(trials: list[FrozenTrial]) -> list[str]:
    """The reasons of the trials that failed."""
    return [t.user_attrs["reason"] for t in trials if t.state == TrialState.FAIL]


def test_a_budget_of_n_is_n_with_four_workers(url: str, tmp_path: Path) -> None:
    """Over 5 s where both cores are busy: four processes. More than one has a share; none suggests what another did."""
    workers = [start(url, 13, tmp_path, behaviour="steady") for _ in range(4)]
    assert [ended(w) for w in workers] == [0] * 4
    trials = check(opened(url, 13), 13)
    assert len({t.user_attrs["worker"] for t in trials}) > 1
    assert len({t.params["x"] for t in trials}) == 13


def test_a_worker_that_joins_a_finished_study_runs_none(lite: str, tmp_path: Path) -> None:
    """And one that comes with a larger budget runs the difference, never more."""
    assert alone(opened(lite, 3), tmp_path, figures) == 3
    assert alone(opened(lite, 3), tmp_path, figures) == 0
    assert alone(opened(lite, 2), tmp_path, figures) == 0
    assert alone(opened(lite, 5), tmp_path, figures) == 2
    check(opened(lite, 5), 5)


def test_pruned_trials_count_and_keep_their_reason(lite: str, tmp_path: Path) -> None:
    """A trial that was stopped early has told what it had to tell."""

    def run(trial: optuna.Trial) -> dict[str, Any]:
        if trial.number % 2:
            raise optuna.TrialPruned("gate: too dear")
        return figures(trial)

    shared = opened(lite, 4)
    assert alone(shared, tmp_path, run) == 4
    trials = check(shared, 4)
    assert [t.user_attrs.get("reason") for t in trials] == [None, "gate: too dear"] * 2


def test_failed_trials_do_not_count_and_say_why(lite: str, tmp_path: Path) -> None:
    """The worker goes on after each, and the traceback lies in the trial's folder."""
    errors = [
        ValueError("channels must be above 0\nand more"),
        MemoryError("12 GB"),
        RuntimeError("[enforce fail] DefaultCPUAllocator: not enough memory: you tried to allocate 9 bytes"),
        Diverged("loss is nan in epoch 1, step 2"),
        HarnessError("model: no stages", "list one"),
    ]

    def run(trial: optuna.Trial) -> dict[str, Any]:
        if trial.number < len(errors):
            raise errors[trial.number]
        return figures(trial)

    shared = opened(lite, 5)
    assert alone(shared, tmp_path, run) == 5
    assert failed(check(shared, 5)) == [
        "ValueError: channels must be above 0",
        "out of memory: 12 GB",
        f"out of memory: {errors[2]}",
        "Diverged: loss is nan in epoch 1, step 2",
        "model: no stages",
    ]
    for number, error in enumerate(errors):
        assert str(error).splitlines()[0] in (tmp_path / str(number) / "error.txt").read_text()


def test_a_slot_is_tried_three_times(lite: str, tmp_path: Path) -> None:
    """What always fails ends the study instead of running for ever."""
    shared, tried = opened(lite, 2), []

    def run(trial: optuna.Trial) -> dict[str, Any]:
        tried.append(trial.number)
        raise ValueError("never")

    assert alone(shared, tmp_path, run) == 0
    assert len(tried) == 6
    assert budget.counts(shared.engine, "cheap", 2)["given_up"] == 2
    assert failed(shared.optuna.get_trials()) == ["ValueError: never"] * 6


def test_a_killed_worker_costs_no_trial(url: str, tmp_path: Path) -> None:
    """Over 5 s: a lease has to run out. The others finish the budget, with its candidate too; nothing stays running."""
    victim = start(url, 5, tmp_path, LEASE_S, "suggest_then_hang")
    until((tmp_path / "inside").exists)
    others = [start(url, 5, tmp_path, LEASE_S) for _ in range(2)]
    victim.kill()
    assert [ended(w) for w in others] == [0, 0]
    trials = check(opened(url, 5), 5)
    assert failed(trials) == ["its worker died"]
    (again,) = [t for t in trials if "retry_of" in t.user_attrs]
    assert again.user_attrs["retry_of"] == 0 and again.params == trials[0].params


def test_the_check_notices_a_lease_that_never_ends(lite: str, tmp_path: Path) -> None:
    """The control of the test above, so over 5 s like it: without leases the dead worker's trial is never run again."""
    victim = start(lite, 5, tmp_path, 1e6, "hang")
    until((tmp_path / "inside").exists)
    other = start(lite, 5, tmp_path, 1e6)
    victim.kill()
    shared = opened(lite, 5)
    until(lambda: budget.counts(shared.engine, "cheap", 5)["done"] == 4)
    assert ended(other, 3 * LEASE_S) is None
    with pytest.raises(AssertionError, match="budget unfinished: .*'leased': 1, 'done': 4"):
        check(shared, 5)
    other.kill()
    other.join()


@pytest.mark.parametrize("where", ["beside", "later"])
def test_a_result_that_was_computed_is_never_computed_again(url: str, where: str, tmp_path: Path) -> None:
    """Over 5 s where a lease has to run out. Its worker was killed before it could tell.

    It is told at the next start of a worker, or by the one that takes up the slot.
    """
    assert ended(start(url, 3, tmp_path, LEASE_S, dies_at="ledger.count")) == -signal.SIGKILL
    (outcome,) = [o for _, o in outbox.waiting(tmp_path)]
    if where == "beside":  # it came to lie there when no worker started any more
        hidden = (tmp_path / "0").rename(tmp_path.parent / "hidden")
        assert budget.counts(opened(url, 3).engine, "cheap", 3)["leased"] == 1
        shared = opened(url, 3, LEASE_S)
        assert alone(shared, tmp_path, lambda trial: (hidden.rename(tmp_path / "0"), figures(trial))[1]
                     if hidden.exists() else figures(trial)) == 2  # fmt: skip
    else:
        assert ended(start(url, 3, tmp_path, LEASE_S)) == 0
    trials = check(opened(url, 3), 3)
    assert len(trials) == 3 and trials[0].value == outcome.values[0] and not failed(trials)
    assert not list(outbox.waiting(tmp_path))


def test_a_result_counts_though_another_is_running_its_candidate_again(lite: str, tmp_path: Path) -> None:
    """Its machine comes back late; the other's trial is closed, and its worker goes on quietly."""
    home, away = tmp_path / "home", tmp_path / "away"
    home.mkdir()
    away.mkdir()
    assert ended(start(lite, 1, home, 0.5, dies_at="ledger.count")) == -signal.SIGKILL
    second = start(lite, 1, away, 0.5, "hang")
    until((away / "inside").exists)
    shared = opened(lite, 1)
    ((_folder, outcome),) = outbox.waiting(home)
    assert ledger.replay(shared, outcome) == ledger.TOLD
    assert ledger.replay(shared, outcome) == "another trial was counted in its place"
    (away / "go").touch()
    assert ended(second) == 0
    trials = check(shared, 1)
    (counted,) = [t for t in trials if t.state == TrialState.COMPLETE]
    assert (counted.user_attrs["result_of"], counted.values) == (0, [*outcome.values])
    assert "another worker has taken it up; dropped" in (away / "hang.txt").read_text()


def test_a_worker_killed_after_telling_is_counted_once(lite: str, tmp_path: Path) -> None:
    """What lies in its outbox was told already."""
    assert ended(start(lite, 3, tmp_path, LEASE_S, dies_at="outbox.clear")) == -signal.SIGKILL
    (told,) = opened(lite, 3).optuna.get_trials()
    assert ended(start(lite, 3, tmp_path, LEASE_S)) == 0
    trials = check(opened(lite, 3), 3)
    assert len(trials) == 3 and trials[0].values == told.values
    assert "was told before" in (tmp_path / "quick.txt").read_text()


def test_a_candidate_that_kills_three_workers_is_set_aside(lite: str, tmp_path: Path) -> None:
    """Over 5 s: three leases have to run out. Its slot gets another candidate."""
    for _ in range(3):
        assert ended(start(lite, 1, tmp_path, LEASE_S / 4, "die")) == -signal.SIGKILL
    assert ended(start(lite, 1, tmp_path, LEASE_S / 4)) == 0
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
    assert alone(shared, tmp_path, figures) == 1
    assert failed(check(shared, 1)) == ["out of memory: the system killed its worker"]


def test_trials_of_the_dead_are_closed_by_whoever_looks(lite: str, tmp_path: Path) -> None:
    """No worker is left; who looks at the study twice closes them, and their candidates wait for the next worker."""
    victim = start(lite, 2, tmp_path, 0.2, "suggest_then_hang")
    until((tmp_path / "inside").exists)
    victim.kill()
    shared = opened(lite, 2)
    until(lambda: ledger.reap(shared) == 1, 10)
    (lost,) = shared.optuna.get_trials()
    assert (lost.state, lost.user_attrs["reason"]) == (TrialState.FAIL, "its worker died")
    assert budget.counts(shared.engine, "cheap", 2) == {"free": 2, "leased": 0, "done": 0, "given_up": 0}
    assert ledger.reap(shared) == 0
    assert alone(shared, tmp_path, figures) == 2
    assert lost.params in [t.params for t in check(shared, 2) if t.state == TrialState.COMPLETE]


@pytest.mark.parametrize(
    ("kind", "behaviour"), [("lite", "hang"), ("postgres_url", "hang"), ("lite", "hang_then_prune")]
)
def test_a_worker_that_wakes_too_late_is_not_counted(
    kind: str, behaviour: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """Over 5 s: a lease has to run out. A laptop's lid was closed; another has run the slot's trial meanwhile."""
    url = request.getfixturevalue(kind)
    sleeper = start(url, 3, tmp_path, LEASE_S, behaviour)
    until((tmp_path / "inside").exists)
    os.kill(sleeper.pid, signal.SIGSTOP)
    try:
        assert ended(start(url, 3, tmp_path, LEASE_S)) == 0
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
    assert budget.counts(shared.engine, "cheap", 2) == {"free": 2, "leased": 0, "done": 0, "given_up": 0}
    begin = time.monotonic()
    assert alone(shared, tmp_path, figures) == 2
    assert time.monotonic() - begin < 30  # the lease is 60 s
    trials = check(shared, 2)
    assert failed(trials) == ["interrupted"]


@pytest.mark.parametrize("moment", ["attach", "settle"])
def test_an_interrupt_beside_the_trial_gives_the_slot_back_too(
    lite: str, moment: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C may come while the worker is in the database. A result that was computed by then counts all the same."""
    shared, real = opened(lite, 2), getattr(budget, moment)

    def interrupt(*_: Any) -> bool:
        monkeypatch.setattr(budget, moment, real)
        raise KeyboardInterrupt

    monkeypatch.setattr(budget, moment, interrupt)
    with pytest.raises(KeyboardInterrupt):
        alone(shared, tmp_path, figures)
    assert budget.counts(shared.engine, "cheap", 2)["leased"] == 0
    assert alone(shared, tmp_path, figures) == (2 if moment == "attach" else 1)
    assert failed(check(shared, 2)) == ([] if moment == "attach" else ["interrupted"])


def slow(trial: optuna.Trial) -> dict[str, Any]:
    """Take a minute the first time."""
    if trial.number == 0:
        trial.suggest_float("x", 0, 1)
        time.sleep(60)
    return figures(trial)


def test_a_trial_that_takes_too_long_fails_with_the_reason(lite: str, tmp_path: Path) -> None:
    """Its worker goes on."""
    shared = opened(lite, 2, trial_s=0.3)
    assert alone(shared, tmp_path, slow) == 2
    assert failed(check(shared, 2)) == ["timed out: over 0.3 s (study.trial_s)"]


def test_a_trial_that_hangs_where_python_cannot_interrupt_it_takes_its_process_along(lite: str, tmp_path: Path) -> None:
    """And is a failure with its reason, not a dead worker's."""
    assert ended(start(lite, 1, tmp_path, behaviour="hang_deep", trial_s=0.3)) == -signal.SIGKILL
    shared = opened(lite, 1)
    (trial,) = shared.optuna.get_trials()
    assert trial.user_attrs["reason"].startswith("timed out: over 0.3 s (study.trial_s), in code")
    assert alone(shared, tmp_path, figures) == 1


def test_a_study_ends_in_time(url: str, tmp_path: Path) -> None:
    """The trial that is running then is no failure; with more time its candidate is gone on with."""
    shared, begin = opened(url, 3), time.monotonic()
    deadline = ledger.clock(shared) + 0.5
    assert work(shared, lambda trial, earlier: slow(trial), lambda number: tmp_path / str(number), deadline) == 0
    assert time.monotonic() - begin < 10
    counts = budget.counts(shared.engine, "cheap", 3)
    assert (counts["free"], counts["leased"]) == (3, 0)
    assert work(shared, lambda trial, earlier: figures(trial), lambda n: tmp_path / str(n), deadline) == 0
    assert alone(shared, tmp_path, figures) == 3
    trials = check(shared, 3)
    assert failed(trials) == ["the study's time was over"]
    assert trials[0].params in [t.params for t in trials[1:]]


def repeat(trial: optuna.Trial) -> dict[str, Any]:
    """Refuse each second trial as a duplicate of the one before it."""
    found = figures(trial)
    if trial.number % 2:
        twin = trial.study.get_trials()[trial.number - 1]
        raise Duplicate(twin.number, twin.user_attrs.get("figures"), None)
    return found


def test_a_duplicate_is_replaced_or_its_result_is_reused(tmp_path: Path) -> None:
    """By option: replaced, it isn't in the budget; reused, it counts with the other's figures and says whose."""
    shared = opened(f"sqlite:///{tmp_path}/replace.db", 3)
    assert alone(shared, tmp_path, repeat) == 3
    assert failed(check(shared, 3)) == [f"duplicate of trial {n}, replaced" for n in (0, 2)]
    shared = opened(f"sqlite:///{tmp_path}/reuse.db", 4, duplicates="reuse")
    assert alone(shared, tmp_path, repeat) == 4
    trials = check(shared, 4)
    assert not failed(trials)
    assert [t.user_attrs["figures"].get("reused_from") for t in trials] == [None, 0, None, 2]
    assert [t.value for t in trials[::2]] == [t.value for t in trials[1::2]]


def test_a_space_of_nothing_but_duplicates_ends(lite: str, tmp_path: Path) -> None:
    """After some draws one counts as it is, so that a budget larger than the space comes to its end."""

    def only_one(trial: optuna.Trial) -> dict[str, Any]:
        found = figures(trial)
        if trial.number:
            raise Duplicate(0, trial.study.get_trials()[0].user_attrs["figures"], None)
        return found

    shared = opened(lite, 3)
    assert alone(shared, tmp_path, only_one) == 3
    trials = check(shared, 3)
    assert len(failed(trials)) == 2 * DRAWS
    assert sum("reused_from" in t.user_attrs.get("figures", {}) for t in trials) == 2


def test_a_result_that_is_no_number_is_a_failure(lite: str, tmp_path: Path) -> None:
    """A study whose best is NaN has none."""

    def nan(trial: optuna.Trial) -> dict[str, Any]:
        return figures(trial) | ({"points": math.nan} if trial.number == 0 else {})

    shared = opened(lite, 1)
    assert alone(shared, tmp_path, nan) == 1
    assert failed(check(shared, 1)) == ["ArithmeticError: its values are (nan,)"]


@pytest.mark.parametrize("kind", ["OSError", "torch's"])
def test_a_full_disk_ends_the_worker_and_no_trial(lite: str, kind: str, tmp_path: Path) -> None:
    """It isn't the candidate's fault: the slot is free, and the same command goes on where there is room again."""
    small = mounted(tmp_path / "small")

    def fill(trial: optuna.Trial) -> dict[str, Any]:
        found, folder = figures(trial), small / str(trial.number)
        folder.mkdir()
        if kind == "OSError":
            (folder / "weights.pt").write_bytes(bytes(4 << 20))
        else:
            torch.save({"weights": torch.zeros(1 << 20)}, folder / "weights.pt")
        return found

    shared = opened(lite, 2)
    try:
        with pytest.raises(DiskFull, match="trial 0: the disk is full: .*\n.*same command again"):
            work(shared, lambda trial, earlier: fill(trial), lambda number: small / str(number))
    finally:
        subprocess.run(["umount", small], check=True)
    assert budget.counts(shared.engine, "cheap", 2) == {"free": 2, "leased": 0, "done": 0, "given_up": 0}
    assert alone(shared, tmp_path, figures) == 2
    assert failed(check(shared, 2)) == [f"trial 0: the disk is full: {small}/0"]


def mounted(folder: Path) -> Path:
    """A disk of 2 MB."""
    folder.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", folder], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"no small disk can be mounted here: {done.stderr.strip()}")
    return folder
