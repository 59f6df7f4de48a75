"""Time is spent on the few whose order it can still decide."""

from __future__ import annotations

import pytest

from harness.record.result import Cost, Result
from harness.rules.competition import Competition
from harness.rules.formulas import scored
from harness.search.gate import Known
from harness.study.contenders import FEW, SESSIONS, contenders

COMPETITION = Competition()


def trial(
    number: int, ratio: float, f1: float = 0.8, doubt: float = 0.01, timing: str = "", sessions: int = 1,
    competition: Competition = COMPETITION,
) -> Known:  # fmt: skip
    """A finished trial; the reference takes 1 ms. doubt: half of its interval. timing: a network of its own if ""."""
    low, high = ratio * (1 - doubt), ratio * (1 + doubt)
    cost = Cost(9, 9, ratio, low, high, ratio, low, high, "onnx", sessions, timing or f"network {number}")
    return Known(number, Result(cost, f1, None, scored(competition, cost, f1)))


def numbers(
    *known: Known, objective: str = "points", competition: Competition = COMPETITION, **more: float
) -> list[int]:
    """Who is to be timed again, in order."""
    return [k.number for k in contenders(known, objective, competition, **more)]


def test_the_best_whose_intervals_overlap_are_contenders() -> None:
    """The best and the second touch, the third stands apart; so do the two at the bottom, which nobody asks for."""
    near = [trial(0, 0.500), trial(1, 0.507), trial(2, 0.6), trial(3, 0.7), trial(4, 0.8)]
    assert numbers(*near, trial(5, 2.0), trial(6, 2.001)) == [0, 1]
    assert numbers(trial(0, 0.5), trial(1, 0.6)) == numbers(trial(0, 0.5)) == numbers() == []


def test_f1_parts_what_time_can_t() -> None:
    """Of equal time, with F1 far apart, their points are apart; with equal F1 they aren't."""
    assert numbers(trial(0, 0.5, f1=0.9), trial(1, 0.5, f1=0.6)) == []
    assert numbers(trial(0, 0.5, f1=0.9), trial(1, 0.5, f1=0.9)) == [0, 1]


def test_an_interval_so_wide_that_it_holds_the_best_is_narrowed() -> None:
    """Its own estimate may be no good at all: first comes who may be the best."""
    wide = trial(9, 0.6, doubt=0.25)
    assert numbers(*(trial(n, 0.5 + 0.02 * n, doubt=0.001) for n in range(FEW)), wide) == [9, 0, 1, 2, 3]


def test_no_more_than_a_few_contend_and_the_least_often_timed_first() -> None:
    """Of many that can't be told apart, those that may be the best; one that has been timed again waits."""
    crowd = [trial(n, 0.5 + 0.0001 * n) for n in range(20)]
    assert numbers(*crowd) == list(range(FEW))
    assert numbers(trial(0, 0.5, sessions=2), trial(1, 0.501), trial(2, 0.502, sessions=3)) == [1, 0, 2]


def test_there_is_an_end() -> None:
    """After so many measurements a network's interval hardly narrows; the others may still come closer."""
    assert numbers(trial(0, 0.5, sessions=SESSIONS), trial(1, 0.501, sessions=SESSIONS - 1)) == [1]


def test_trials_of_one_network_are_timed_once_and_part_by_f1() -> None:
    """Recipes differ, not time: the best of them stands for all."""
    same = [trial(0, 0.5, f1=0.70, timing="x"), trial(1, 0.5, f1=0.71, timing="x")]
    assert numbers(*same) == []
    assert numbers(*same, trial(2, 0.501, f1=0.71)) == [1, 2]


def test_a_trial_of_before_is_compared_with_and_not_timed() -> None:
    """Where it was timed isn't known."""
    old = trial(0, 0.5)
    cost = Cost.from_dict({n: v for n, v in old.result.cost.to_dict().items() if n not in ("timing", "sessions")})
    old = Known(0, Result(cost, 0.8, None, old.result.points))
    assert numbers(old, trial(1, 0.501)) == [1]


def test_a_formula_without_time_and_f1_alone_part_nothing_by_time() -> None:
    """Unless the gate has a limit of time: then whoever may be on either side of it is timed again."""
    macs = Competition(formula="boostcamp2021a")
    pair = [trial(0, 0.5, competition=macs), trial(1, 0.5001, competition=macs)]
    assert numbers(*pair, competition=macs) == numbers(*pair, objective="f1") == []
    limited = [trial(0, 0.5, f1=0.8), trial(1, 0.4, f1=0.7), trial(2, 0.5, f1=0.1), *(trial(n, 0.3) for n in (3, 4, 5))]
    assert numbers(*limited, objective="f1", limit_ms=0.5) == [0]
    assert numbers(*limited, objective="f1", limit_ms=0.6) == []


def test_higher_points_are_better_where_they_are() -> None:
    """The other direction."""
    fps = Competition(formula="f1_squared_fps")
    known = [trial(0, 0.5, competition=fps), trial(1, 0.502, competition=fps), trial(2, 5.0, competition=fps)]
    assert numbers(*known, competition=fps) == [0, 1]


@pytest.mark.parametrize("f1", [0.80, 0.81])
def test_neighbours_on_the_pareto_set_contend(f1: float) -> None:
    """And who may be on it: the second is beaten only if it is the slower one. Who is beaten for certain is left."""
    front = [trial(0, 0.5, f1=f1), trial(1, 0.504, f1=0.80), trial(2, 1.0, f1=0.9), trial(3, 1.01, f1=0.6)]
    assert numbers(*front, objective="pareto") == [0, 1]
    assert numbers(trial(0, 0.5, f1=0.8), trial(1, 0.6, f1=0.9), objective="pareto") == []
