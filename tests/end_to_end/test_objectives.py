"""Studies that optimise something else than points, by the real command, where the formula gives a trial none."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import in_process
import pytest
from commands import BUSY, run
from next_lines import following

from harness import verbs
from harness.search.attributes import result_of
from harness.study.study import Shared, load

BOARD = "competition.formula=rank_mean"
SMALL = ["study.trials=3", "study.name=ours", "proxy.epochs=2", "proxy.images=300", "latency_s=1", "track=disabled"]
SMALL += [BUSY]


def place(folder: Path) -> list[str]:
    """Settings that put a study into a folder."""
    return [f"storage.url=sqlite:///{folder}/x.db", f"runs={folder}/runs"]


@pytest.fixture(scope="module", params=["pareto", "f1"])
def tuned(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A study's folder and what its command said. About 15 s: a command and a worker import torch, three trials."""
    folder = tmp_path_factory.mktemp(request.param)
    said = run(folder, "tune.py", f"study.objective={request.param}", BOARD, *SMALL, *place(folder)).stdout
    return folder, said


def study(folder: Path) -> Shared:
    """The study that was run."""
    return load("ours", f"sqlite:///{folder}/x.db")


def test_it_runs_its_budget_under_a_formula_that_ranks_whole_boards(tuned: tuple[Path, str]) -> None:
    """Which gives a trial no points: every trial has F1 and time, is told in a line, and stands in the table."""
    folder, said = tuned
    shared = study(folder)
    done = [t for t in shared.optuna.get_trials() if t.state.name == "COMPLETE"]
    assert len(done) == 3 and said.count("  F1 0.") >= 3
    for trial in done:
        result = result_of(trial)
        assert result.points is None and result.images > 0
        pair = [result.f1, result.cost.ratio]
        assert trial.values == (pair if shared.settings.objective == "pareto" else pair[:1])
    assert "train.py study=ours" in following(said)[0] and "Traceback" not in said


def test_its_front_report_and_status_are_shown(tuned: tuple[Path, str], capsys: Any) -> None:
    """By the verbs, as text and as JSON."""
    settings = ["study=ours", *place(tuned[0])]
    for verb in (verbs.front, verbs.report, verbs.status):
        verb(settings, False)
        assert capsys.readouterr().out
        verb(settings, True)
        assert json.loads(capsys.readouterr().out)


def test_it_has_no_pruned_trial_by_points(tuned: tuple[Path, str]) -> None:
    """Points that don't exist refuse no candidate as hopeless."""
    reasons = [t.user_attrs.get("reason", "") for t in study(tuned[0]).optuna.get_trials()]
    assert not [reason for reason in reasons if "points" in reason]


def test_points_can_not_be_searched_where_a_trial_has_none(tmp_path: Path) -> None:
    """The error says what to search for instead."""
    said = in_process.run(tmp_path, "tune.py", BOARD, *SMALL, *place(tmp_path), code=2).stderr
    assert "study.objective=pareto" in said and "study.objective=f1" in said and "Traceback" not in said
