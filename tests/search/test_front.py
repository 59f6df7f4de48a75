"""The Pareto set holds what nothing beats, and its candidates come back from their files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import optuna
from hypothesis import given
from hypothesis import strategies as st
from optuna.trial import FrozenTrial, create_trial
from rich.console import Console

from harness.data.augment import Augment
from harness.invoked import spelt
from harness.models.spec import ModelSpec, Stage
from harness.record.candidate import Candidate
from harness.record.recipe import Recipe
from harness.record.result import Cost, Result
from harness.record.run_folder import read_candidate
from harness.rules.competition import Competition
from harness.search.attributes import result_of
from harness.search.front import front, save, table
from harness.study.summary import summarise

CANDIDATE = Candidate(ModelSpec((Stage("conv", 8, repeat=2),)), 8, Augment(), Recipe())


def finished(f1: float, ratio: float) -> FrozenTrial:
    """Make a finished trial."""
    cost = Cost(10**6, 1234, ratio / 10, ratio / 11, ratio / 9, ratio, ratio * 0.9, ratio * 1.1, "onnx")
    result = Result(cost, f1, confusion=None, points=ratio - f1)
    return create_trial(value=0.0, user_attrs={"result": result.to_dict(), "candidate": CANDIDATE.to_dict()})


def pair(trial: FrozenTrial) -> tuple[float, float]:
    """Return F1 and ratio."""
    result = result_of(trial)
    return result.f1, result.cost.ratio


def beats(a: tuple[float, float], b: tuple[float, float]) -> bool:
    """Say whether a is no worse in both and better in one."""
    return a[0] >= b[0] and a[1] <= b[1] and a != b


grid = st.tuples(st.sampled_from([0.5, 0.6, 0.7, 0.8]), st.sampled_from([0.5, 1.0, 2.0, 4.0]))
pairs = st.lists(grid | st.tuples(st.floats(0, 1), st.floats(0.01, 100)), max_size=30)


@given(pairs)
def test_the_front_is_what_nothing_beats(points: list[tuple[float, float]]) -> None:
    """By brute force, ties and doubles included; fastest first, and each next one is better."""
    found = [pair(t) for t in front([finished(*p) for p in points])]
    assert set(found) == {p for p in points if not any(beats(o, p) for o in points)}
    assert len(found) == len(set(found))
    assert found == sorted(found, key=lambda p: p[1]) == sorted(found)


def test_saved_candidates_come_back(tmp_path: Path) -> None:
    """A file a trial, which `train.py candidate=` reads as what it was."""
    paths = save([finished(0.5, 1.0)], tmp_path / "front")
    assert [read_candidate(p) for p in paths] == [CANDIDATE]


def test_the_table_shows_figures_and_blocks() -> None:
    """Repeats stand behind the block."""
    console = Console(width=140, record=True)
    console.print(table([finished(0.75, 1.5)], "t"))
    shown = console.export_text()
    assert all(text in shown for text in ("0.7500", "0.1500", "1.500", "1.00", "1,234", "conv8x2"))


def test_a_study_without_a_finished_trial_says_where_the_reasons_are(tmp_path: Path, capsys: Any) -> None:
    """No empty table."""
    study = optuna.create_study(study_name="s")
    (tmp_path / "00000").mkdir()
    (tmp_path / "00000/error.txt").write_text("why")
    summarise(study, tmp_path, Competition())
    assert f"{tmp_path}/*/error.txt" in capsys.readouterr().out
    study.ask()
    summarise(study, tmp_path, Competition())
    assert "no trial of study s went to its end: none has ended" in capsys.readouterr().out


def test_a_study_that_trained_nothing_says_why(tmp_path: Path, capsys: Any) -> None:
    """How many candidates were refused, and for what the slots were used up."""
    study = optuna.create_study(study_name="s")
    for attrs in ({"reason": "gate: macs 2 over the limit 1, replaced", "refused": "too dear"}, {"reason": "used up"}):
        study.add_trial(create_trial(state=optuna.trial.TrialState.PRUNED, user_attrs=attrs))
    summarise(study, tmp_path, Competition())
    told = capsys.readouterr().out
    assert "1 candidate refused before training: 1 too dear\n" in told
    assert "no trial of study s went to its end: used up\n" in told


def test_a_study_ends_with_its_best_and_what_comes_next(tmp_path: Path) -> None:
    """One objective leads to its best trial; two lead to the first of the Pareto set."""
    single = optuna.create_study(study_name="s")
    single.add_trial(finished(0.5, 1.0))
    double = optuna.create_study(study_name="d", directions=["maximize", "minimize"])
    attrs = finished(0.5, 1.0).user_attrs
    double.add_trials([create_trial(values=[0.1, 9.0], user_attrs=finished(0.1, 9.0).user_attrs)])
    double.add_trials([create_trial(values=[0.5, 1.0], user_attrs=attrs)])
    assert summarise(single, tmp_path, Competition(), " runs=there") == [
        f"{spelt(verb)} study=s{trial} runs=there"
        for verb, trial in (("train", " trial=best"), ("front", ""), ("report", ""))
    ]
    assert summarise(double, tmp_path, Competition())[0].endswith("train study=d trial=1")
