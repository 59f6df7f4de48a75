"""N trials are N: which count, which don't, and what ends a study."""

from __future__ import annotations

import contextlib
import math
import signal
import subprocess
import time
from dataclasses import replace
from pathlib import Path

import optuna
import pytest
import torch
from cheap import alone, check, ended, failed, opened, result, start
from optuna.trial import TrialState

from harness.errors import HarnessError
from harness.record.result import Result
from harness.search.attributes import result_of
from harness.search.duplicates import Duplicate
from harness.search.gate import Refused
from harness.study import ledger, refused, slots
from harness.study.worker import DRAWS, DiskFull, work
from harness.train.fit import Diverged


def test_a_budget_of_n_is_n_with_four_workers(url: str, tmp_path: Path) -> None:
    """Over 5 s where both cores are busy: four processes. More than one has a share; none suggests what another did."""
    workers = [start(url, 13, tmp_path, behaviour="steady") for _ in range(4)]
    assert [ended(w) for w in workers] == [0] * 4
    trials = check(opened(url, 13), 13)
    assert len({t.user_attrs["worker"] for t in trials}) > 1
    assert len({t.params["x"] for t in trials}) == 13


def test_a_worker_that_joins_a_finished_study_runs_none(lite: str, tmp_path: Path) -> None:
    """And one that comes with a larger budget runs the difference, never more."""
    assert alone(opened(lite, 3), tmp_path, result) == 3
    assert alone(opened(lite, 3), tmp_path, result) == 0
    assert alone(opened(lite, 2), tmp_path, result) == 0
    assert alone(opened(lite, 5), tmp_path, result) == 2
    check(opened(lite, 5), 5)


def test_pruned_trials_count_and_keep_their_reason(lite: str, tmp_path: Path) -> None:
    """A trial that was stopped early has told what it had to tell."""

    def run(trial: optuna.Trial) -> Result:
        if trial.number % 2:
            raise optuna.TrialPruned("gate: too dear")
        return result(trial)

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

    def run(trial: optuna.Trial) -> Result:
        if trial.number < len(errors):
            raise errors[trial.number]
        return result(trial)

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

    def run(trial: optuna.Trial) -> Result:
        tried.append(trial.number)
        raise ValueError("never")

    assert alone(shared, tmp_path, run) == 0
    assert len(tried) == 6
    assert slots.counts(shared.engine, "cheap", 2)["given_up"] == 2
    assert failed(shared.optuna.get_trials()) == ["ValueError: never"] * 6


def slow(trial: optuna.Trial) -> Result:
    """Take a minute the first time."""
    if trial.number == 0:
        trial.suggest_float("x", 0, 1)
        time.sleep(60)
    return result(trial)


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
    assert alone(shared, tmp_path, result) == 1


def test_a_study_ends_in_time(url: str, tmp_path: Path) -> None:
    """The trial that is running then is no failure; with more time its candidate is gone on with."""
    shared, begin = opened(url, 3), time.monotonic()
    deadline = ledger.clock(shared) + 0.5
    assert work(shared, lambda trial, earlier: slow(trial), lambda number: tmp_path / str(number), deadline) == 0
    assert time.monotonic() - begin < 50
    counts = slots.counts(shared.engine, "cheap", 3)
    assert (counts["free"], counts["leased"]) == (3, 0)
    assert work(shared, lambda trial, earlier: result(trial), lambda n: tmp_path / str(n), deadline) == 0
    assert alone(shared, tmp_path, result) == 3
    trials = check(shared, 3)
    assert failed(trials) == ["the study's time was over"]
    assert trials[0].params in [t.params for t in trials[1:]]


def repeat(trial: optuna.Trial) -> Result:
    """Refuse each second trial as a duplicate of the one before it."""
    found = result(trial)
    if trial.number % 2:
        twin = trial.study.get_trials()[trial.number - 1]
        raise Duplicate(twin.number, result_of(twin), None)
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
    assert [result_of(t).reused_from for t in trials] == [None, 0, None, 2]
    assert [t.value for t in trials[::2]] == [t.value for t in trials[1::2]]


def gated(trial: optuna.Trial) -> Result:
    """Refuse whatever is above 0.3."""
    found = result(trial)
    if (over := trial.params["x"] - 0.3) > 0:
        raise Refused("too dear", f"gate: x {trial.params['x']:.2f} over the limit 0.3", over)
    return found


def test_a_refused_candidate_is_replaced_in_its_slot_and_counted_apart(url: str, tmp_path: Path) -> None:
    """Every trial of the budget is trained, whatever the gate refuses meanwhile."""
    shared = opened(url, 5)
    assert alone(shared, tmp_path, gated) == 5
    assert slots.counts(shared.engine, "cheap", 5) == {"free": 0, "leased": 0, "done": 5, "given_up": 0}
    trials = shared.optuna.get_trials()
    trained = [t for t in trials if t.state == TrialState.COMPLETE]
    others = [t for t in trials if t.state != TrialState.COMPLETE]
    assert len(trained) == 5 and len(others) >= 5 and all(t.params["x"] <= 0.3 for t in trained)
    assert refused.counts(trials) == {"too dear": len(others)}
    assert all(t.user_attrs["reason"].endswith("over the limit 0.3, replaced") for t in others)


def test_samplers_keep_away_from_what_was_refused(lite: str, tmp_path: Path) -> None:
    """The refused are infeasible by how far they are beyond the limit, which is where points would be better yet.

    As failures they teach nothing: the control draws them for ever.
    """
    shared = opened(lite, 20)
    shared.optuna.sampler = optuna.samplers.TPESampler(seed=0)
    assert alone(shared, tmp_path, gated) == 20
    trials = shared.optuna.get_trials()
    out = [t for t in trials if refused.is_refused(t)]
    assert all(t.state == TrialState.PRUNED and t.value is None for t in out)
    assert all(t.constraints == {"gate": t.params["x"] - 0.3} for t in out)
    control = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=0))
    for trial in (control.ask() for _ in trials):
        with contextlib.suppress(Refused):
            control.tell(trial, gated(trial).points)
            continue
        control.tell(trial, state=TrialState.FAIL)
    taught = len(out) / len(trials)
    untaught = sum(t.state == TrialState.FAIL for t in control.trials) / len(trials)
    assert taught < 0.65 < 0.75 < untaught, (taught, untaught)  # at random 0.7


def test_a_duplicate_teaches_samplers_nothing(lite: str, tmp_path: Path) -> None:
    """What it repeats may be the best there is: it fails, which they pass over."""
    shared = opened(lite, 3)
    assert alone(shared, tmp_path, repeat) == 3
    out = [t for t in shared.optuna.get_trials() if refused.is_refused(t)]
    assert [(t.state, t.constraints) for t in out] == [(TrialState.FAIL, {})] * 2


def test_a_slot_that_gets_nothing_but_refused_candidates_is_used_up(lite: str, tmp_path: Path) -> None:
    """After so many draws, as pruned and with the reason: a limit that nothing meets ends the study."""

    def dear(trial: optuna.Trial) -> Result:
        result(trial)
        raise Refused("too dear", "gate: macs 2 over the limit 1", 1.0)

    shared = opened(lite, 2)
    assert alone(shared, tmp_path, dear) == 2
    trials = shared.optuna.get_trials()
    assert refused.counts(trials) == {"too dear": 2 * DRAWS}
    last = [t for t in trials if not refused.is_refused(t)]
    why = f"gate: macs 2 over the limit 1; {DRAWS} candidates before it were refused, too: its slot is used up"
    assert [(t.state, t.user_attrs["reason"]) for t in last] == [(TrialState.PRUNED, why)] * 2


def test_a_trial_that_hangs_after_a_refused_one_is_the_one_that_fails(lite: str, tmp_path: Path) -> None:
    """Its time counts from its own beginning, and its slot is given back with it: no trial stays running."""
    assert ended(start(lite, 1, tmp_path, behaviour="refused_then_hang_deep", trial_s=0.5)) == -signal.SIGKILL
    shared = opened(lite, 1)
    out, hung = shared.optuna.get_trials()
    assert refused.is_refused(out) and hung.state == TrialState.FAIL
    assert hung.user_attrs["reason"].startswith("timed out: over 0.5 s (study.trial_s), in code")
    assert slots.counts(shared.engine, "cheap", 1)["free"] == 1


def test_a_space_of_nothing_but_duplicates_ends(lite: str, tmp_path: Path) -> None:
    """After some draws one counts as it is, so that a budget larger than the space comes to its end."""

    def only_one(trial: optuna.Trial) -> Result:
        found = result(trial)
        if trial.number:
            raise Duplicate(0, result_of(trial.study.get_trials()[0]), None)
        return found

    shared = opened(lite, 3)
    assert alone(shared, tmp_path, only_one) == 3
    trials = check(shared, 3)
    assert len(failed(trials)) == 2 * DRAWS
    assert sum((found := result_of(t)) is not None and found.reused_from is not None for t in trials) == 2


def test_a_result_that_is_no_number_is_a_failure(lite: str, tmp_path: Path) -> None:
    """A study whose best is NaN has none."""

    def nan(trial: optuna.Trial) -> Result:
        return replace(result(trial), **({"points": math.nan} if trial.number == 0 else {}))

    shared = opened(lite, 1)
    assert alone(shared, tmp_path, nan) == 1
    assert failed(check(shared, 1)) == ["ArithmeticError: its values are (nan,)"]


@pytest.mark.parametrize("kind", ["OSError", "torch's"])
def test_a_full_disk_ends_the_worker_and_no_trial(lite: str, kind: str, tmp_path: Path) -> None:
    """It isn't the candidate's fault: the slot is free, and the same command goes on where there is room again."""
    small = mounted(tmp_path / "small")

    def fill(trial: optuna.Trial) -> Result:
        found, folder = result(trial), small / str(trial.number)
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
    assert slots.counts(shared.engine, "cheap", 2) == {"free": 2, "leased": 0, "done": 0, "given_up": 0}
    assert alone(shared, tmp_path, result) == 2
    assert failed(check(shared, 2)) == [f"trial 0: the disk is full: {small}/0"]


def mounted(folder: Path) -> Path:
    """A disk of 2 MB."""
    folder.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", folder], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"no small disk can be mounted here: {done.stderr.strip()}")
    return folder
