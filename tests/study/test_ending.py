"""How trials and studies end is said as it is: interrupted, too late, or where the reasons stand."""

from __future__ import annotations

from pathlib import Path

import in_process
import optuna
import pytest
from cheap import alone, opened, result

from harness.errors import HarnessError
from harness.launch import start
from harness.launch.start import line
from harness.record.result import Result
from harness.study import ending, status
from harness.study.study import Shared, Study
from harness.study.summary import summarise


def interrupted(shared: Shared, folder: Path) -> None:
    """Press Ctrl-C in its first trial."""

    def run(trial: optuna.Trial) -> Result:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        alone(shared, folder, run)


def test_an_interrupted_trial_is_interrupted_not_failed(lite: str, tmp_path: Path) -> None:
    """In the progress, in `status` and for machines; one that failed is still a failure."""
    shared = opened(lite, 2)
    interrupted(shared, tmp_path)
    (trial,) = shared.optuna.get_trials()
    assert line(trial).split() == ["trial", "0", "interrupted"]
    assert status.look(shared).trials == {"interrupted": 1}

    def wrong(trial: optuna.Trial) -> Result:
        if trial.number == 1:
            raise ValueError("never")
        return result(trial)

    alone(shared, tmp_path, wrong)
    assert status.look(shared).trials == {"interrupted": 1, "fail": 1, "complete": 2}
    assert "fail: ValueError: never" in line(shared.optuna.get_trials()[1])


def test_a_deadline_that_has_passed_is_said_before_anything_is_begun(tmp_path: Path) -> None:
    """It once said that every trial had failed, and named a file that wasn't there."""
    done = in_process.run(tmp_path, "tune.py", "study.name=late", "study.trials=1", "study.deadline=2020-01-01", code=2)
    assert (
        "error: study.deadline=2020-01-01: was 2020-01-01 00:00 " in done.stderr and "no trial is begun" in done.stderr
    )
    assert "failed" not in done.stderr + done.stdout and not list(tmp_path.rglob("*.db"))


def test_too_few_hours_for_one_trial_are_said(lite: str, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    """No trial at all isn't all of them failed."""
    shared = opened(lite, 2)
    summarise(shared.optuna, tmp_path / "runs", shared.definition.rules())
    said = capsys.readouterr().out
    assert "none was begun" in said and "error.txt" not in said and "failed" not in said
    shared.settings.hours = 0.001
    assert start._over(shared) == "study.hours=0.001 of this command"


def test_where_the_reasons_are_is_where_there_are_some(tmp_path: Path) -> None:
    """A trial's, a worker's, both, or none."""
    assert ending.reasons_in(tmp_path) == ""
    (tmp_path / "worker-here-1.log").write_text("error: x")
    assert ending.reasons_in(tmp_path) == f"{tmp_path}/worker-*.log"
    (tmp_path / "00000").mkdir()
    (tmp_path / "00000" / "error.txt").write_text("x")
    assert ending.reasons_in(tmp_path) == f"{tmp_path}/*/error.txt and {tmp_path}/worker-*.log"


def test_a_deadline_to_come_is_none_that_has_passed() -> None:
    """Its own control."""
    start._refuse_past(Study(deadline="2999-01-01"))
    with pytest.raises(HarnessError, match="which is over"):
        start._refuse_past(Study(deadline="1999-01-01T12:00:00+09:00"))
