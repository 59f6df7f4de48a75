"""Which trial is best, and a word where that is said of the worst."""

from __future__ import annotations

import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna.trial import create_trial

from harness import config
from harness.errors import HarnessError
from harness.record.result import Cost, Result
from harness.rules.competition import Competition
from harness.rules.formulas import earned, scored
from harness.study.best import chosen, doubt

COMPETITION = Competition()  # its target is F1 0.70
IMAGES = 400


def cost(ratio: float) -> Cost:
    """What a network costs that takes so many times as long as the reference; that one takes 0.5 ms."""
    ms = ratio / 2
    return Cost(10**6, 1000, ms, ms * 0.99, ms * 1.01, ratio, ratio * 0.99, ratio * 1.01, "onnx")


def study_of(*trials: tuple[float, float], competition: Competition = COMPETITION) -> optuna.Study:
    """A study of finished trials by (F1, ratio)."""
    study = optuna.create_study(study_name="s")
    for f1, ratio in trials:
        counts = ((IMAGES // 2, 0), (0, IMAGES // 2))
        result = Result(cost(ratio), f1, counts, scored(competition, cost(ratio), f1))
        study.add_trial(create_trial(value=result.points or 0.0, user_attrs={"result": result.to_dict()}))
    return study


def test_the_best_by_time_alone_is_called_so() -> None:
    """With a target of 0.95, F1 0.03 has the best points beside 0.60: the word names both, and what to ask for."""
    far = Competition(f1_target=0.95)
    study = study_of((0.60, 0.9), (0.03, 0.2), (0.40, 0.8), competition=far)
    assert chosen(study, "best").number == 1
    words = doubt(study, far)
    assert words.startswith("trial 1 is best whatever its F1: at 0.0300 boostcamp2021b hardly counts it")
    assert "trial 0 has F1 0.6000 at 4.5 times its latency; trial=best_f1" in words


@pytest.mark.parametrize(
    "trials",
    [
        [(0.72, 0.5), (0.77, 1.6)],  # near the target: its F1 counts
        [(0.03, 0.2), (0.04, 0.9)],  # no other has a clearly higher F1: 400 images let it vary by 0.01
        [(0.77, 0.5), (0.03, 0.2)],  # the one of the high F1 is best
        [(0.03, 0.2)],
        [],
    ],
)
def test_there_is_no_word_where_the_best_is_best(trials: list[tuple[float, float]]) -> None:
    """The control of the test above."""
    assert doubt(study_of(*trials), COMPETITION) is None


def test_two_objectives_and_a_formula_without_points_have_no_doubt() -> None:
    """There is no single best to be wrong about."""
    double = optuna.create_study(directions=["maximize", "minimize"])
    assert doubt(double, COMPETITION) is None
    board = Competition(formula="rank_mean")
    assert doubt(study_of((0.03, 0.2), (0.9, 0.9), competition=board), board) is None


@given(st.sampled_from(["boostcamp2021b", "boostcamp2021a", "f1_squared_fps"]), st.floats(0.01, 10), st.floats(0, 1))
def test_what_an_f1_has_earned_is_a_share_that_grows(formula: str, ratio: float, f1: float) -> None:
    """None of it at F1 0, all at 1, in either direction of points."""
    competition = Competition(formula=formula)
    shares = [earned(competition, cost(ratio), x) for x in (0.0, f1 / 2, f1, 1.0)]
    assert shares == sorted(shares) and shares[0] == 0 and shares[-1] == pytest.approx(1)


def test_people_choose_by_f1_or_under_a_latency() -> None:
    """Of equal F1 the faster; under a cap the highest F1 that is fast enough, as it was measured."""
    study = study_of((0.5, 0.2), (0.8, 1.2), (0.8, 1.0), (0.7, 0.9))
    assert chosen(study, "best_f1").number == 2
    assert chosen(study, "best_under_ms=0.5").number == 2 and chosen(study, "best_under_ms=0.49").number == 3
    assert chosen(study, "best_under_ms=0.1").number == 0


def test_they_choose_so_of_two_objectives_too() -> None:
    """Where `best` alone is refused, and says what there is instead."""
    double = optuna.create_study(directions=["maximize", "minimize"])
    for f1, ratio in ((0.5, 0.2), (0.8, 1.0)):
        result = Result(cost(ratio), f1, None, None)
        double.add_trial(create_trial(values=[f1, ratio], user_attrs={"result": result.to_dict()}))
    assert chosen(double, "best_f1").number == 1 and chosen(double, "best_under_ms=0.3").number == 0
    with pytest.raises(HarnessError, match="two objectives(.|\n)*trial=best_f1, trial=best_under_ms=MS"):
        chosen(double, "best")


@pytest.mark.parametrize(
    ("which", "message"),
    [
        ("best_f2", "trial=best_f2: .*finished: 0, 1(.|\n)*did you mean 'best_f1'.*trial=best_under_ms=MS"),
        ("best_under_ms", "trial=best_under_ms=: allowed: a number of ms above 0"),
        ("best_under_ms=fast", "trial=best_under_ms=fast: allowed: a number of ms above 0"),
        ("best_under_ms=-1", "allowed: a number of ms above 0"),
        ("best_under_ms=nan", "allowed: a number of ms above 0"),
        ("best_under_ms=0.01", "no finished trial of s is that fast; the fastest, trial 0, takes 0.1 ms"),
        ("7", "trial=7: not a finished trial of s; finished: 0, 1"),
    ],
)
def test_a_misspelt_choice_names_what_is_allowed(which: str, message: str) -> None:
    """The value, where it stood, and what to write."""
    with pytest.raises(HarnessError, match=message):
        chosen(study_of((0.5, 0.2), (0.8, 1.0)), which)


@pytest.mark.parametrize("which", ["best", "best_f1", "best_under_ms=0.5", "17"])
def test_the_command_line_takes_each_choice(which: str) -> None:
    """Though one has a second = in it."""
    arguments = ["study=s", f"trial={which}"]
    assert config.load("train", arguments).trial == config.given(arguments, "trial") == which
