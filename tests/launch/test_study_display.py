"""What a person sees of a study that runs, in a terminal and out of one."""

from __future__ import annotations

import re
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from display_fixtures import Terminal

from harness.launch import display, start
from harness.launch.display import Display
from harness.record.result import Cost, Result
from harness.study.definition import Definition
from harness.study.progress import Progress
from harness.study.study import Study, join
from harness.study.worker import work
from harness.study.worker_process import Job

AT_WORK = Progress(
    trial=3, worker="host-1", stage="training", epoch=4, epochs=10, loss=1.25, f1=0.5, latency_ms=0.31
)  # fmt: skip


def test_out_of_a_terminal_running_trials_are_a_line_now_and_then(
    standing_clock: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    """The first at once, the next 30 s later and only if there is news; trials that have ended stand for themselves."""
    with Display("ours", total=60, done=0) as shown:
        shown.show(0, [], "")
        shown.show(0, [replace(AT_WORK, epoch=0, stage="timing", latency_ms=None)], "")
        for second in range(90):
            standing_clock[0] = 1000.0 + second
            shown.show(0, [replace(AT_WORK, epoch=min(4, second // 10), loss=None, f1=None)], "")
        shown.say("trial    3  ended")
    assert capsys.readouterr().out.splitlines() == [
        "0 of 60 finished; running: trial 3: epoch 0 of 10, 0.3100 ms",
        "0 of 60 finished; running: trial 3: epoch 3 of 10, 0.3100 ms",
        "0 of 60 finished; running: trial 3: epoch 4 of 10, 0.3100 ms",
        "trial    3  ended",
    ]


def test_a_line_names_few_of_many(standing_clock: list[float], capsys: pytest.CaptureFixture[str]) -> None:
    """64 workers are one line, not a page."""
    with Display("ours", total=60, done=0) as shown:
        shown.show(0, [replace(AT_WORK, trial=n) for n in range(64)], "")
    (line,) = capsys.readouterr().out.splitlines()
    assert line.count("epoch 4 of 10") == display.MOST_NAMED and line.endswith("; and 60 more")


def shown_in_a_terminal(monkeypatch: pytest.MonkeyPatch, *shows: tuple) -> str:
    """What a terminal of 100 columns was sent, without colours and movements."""
    terminal = Terminal()
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setattr(sys, "stdout", terminal)
    with Display("ours", total=60, done=0) as shown:
        for show in shows:
            shown.show(*show)
        shown.say("trial    3  [ended]")
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", terminal.getvalue())


def test_in_a_terminal_each_running_trial_has_a_row(monkeypatch: pytest.MonkeyPatch) -> None:
    """Epoch, loss, F1 and latency; ten rows at most. Before the first, it says what is waited for."""
    sent = shown_in_a_terminal(monkeypatch, (0, [], ""), (1, [replace(AT_WORK, trial=n) for n in range(12)], "a note"))
    assert "no trial is running yet: a worker loads the data first" in sent
    rows = [line.split() for line in sent.splitlines() if "host-1" in line]
    assert rows[0] == ["0", "host-1", "4", "of", "10", "1.2500", "0.5000", "0.3100"]
    assert {row[0] for row in rows} == {str(n) for n in range(10)}
    assert "and 2 more: python -m harness status study=ours" in sent
    assert "1 of 60 trials" in sent and "expected end in" in sent and "a note" in sent
    assert "trial    3  [ended]" in sent


class Ended:
    """Workers that have ended."""

    def ended(self) -> dict[str, str]:
        """None went wrong."""
        return {"w": ""}

    def running(self) -> int:
        """None runs."""
        return 0

    def stop(self) -> None:
        """There is nothing to be stopped."""


def test_a_study_that_is_gone_on_with_shows_no_trial_a_second_time(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """After Ctrl-C, the same command tells of what it runs itself."""
    definition = Definition(
        data={"name": "none", "options": {}, "fingerprint": ""}, space={"x": {"float": [0, 1]}}, proxy={"epochs": 1},
        competition={"formula": "boostcamp2021b"},
    )  # fmt: skip
    settings = Study(name="cheap", trials=2, sampler="random", pruner="none")
    shared = join(settings, definition, f"sqlite:///{tmp_path}/x.db", 0)
    cost = Cost(1, 1, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, "onnx")

    def run(trial, earlier):
        return Result(cost, f1=trial.suggest_float("x", 0, 1), confusion=None, points=0.5)

    assert work(shared, run, lambda number: tmp_path / str(number)) == 2
    job = Job(study=settings, url=shared.url, here={}, device="cpu", track="disabled", runs=tmp_path, threads=1)
    start._watch(shared, Ended(), job)
    assert capsys.readouterr().out == ""
