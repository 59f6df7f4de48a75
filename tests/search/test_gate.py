"""The gate refuses what is too dear or hopeless, and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import HarnessError
from harness.record.result import Cost, Result
from harness.rules.competition import Competition
from harness.rules.formulas import better, figures, points
from harness.search.gate import Gate, Known, Refused, refuse_dear, refuse_hopeless

LOWER = Competition()
HIGHER = Competition(formula="f1_squared_fps")


def cost(ratio: float, low: float = 1.0, high: float = 1.0, macs: int = 1) -> Cost:
    """A cost that was measured as `ratio`; the ends of its interval are shares of it. One is 1 ms."""
    return Cost(
        macs=macs, parameters=1, latency_ms=ratio, latency_low_ms=ratio * low, latency_high_ms=ratio * high,
        ratio=ratio, ratio_low=ratio * low, ratio_high=ratio * high, runtime="onnx",
    )  # fmt: skip


def known(number: int, its: Cost, f1: float) -> Known:
    """A trial that went to its end."""
    return Known(number, Result(its, f1=f1, confusion=None, points=points(LOWER, figures(its, f1))))


def reason(act: Callable[[], None]) -> str | None:
    """Why it refuses, if it does."""
    try:
        act()
    except Refused as e:
        assert e.excess > 0
        return str(e)
    return None


@pytest.mark.parametrize("wrong", [{"max_macs": -1}, {"max_parameters": -5}, {"max_latency_ms": float("nan")}])
def test_a_limit_that_is_none_is_refused(wrong: dict[str, float]) -> None:
    """Below 0 it refused every candidate; as NaN, none."""
    with pytest.raises(HarnessError, match=f"gate.{next(iter(wrong))}=.*allowed: a number, 0 to"):
        Gate(**wrong)


def test_limits_hold_and_zero_is_none() -> None:
    """The first limit that is exceeded is named with the value; one that is just met is fine."""
    refuse_dear(Gate(), macs=10**12, parameters=10**12, latency_ms=1e6)
    refuse_dear(Gate(max_macs=10, max_parameters=10, max_latency_ms=1.5), macs=10, parameters=10, latency_ms=1.5)
    with pytest.raises(Refused, match="^gate: parameters 11 over the limit 10$") as e:
        refuse_dear(Gate(max_parameters=10), macs=99, parameters=11)
    assert e.value.kind == "too dear" and e.value.excess == pytest.approx(0.1)
    with pytest.raises(Refused, match="latency_ms 0.75 over the limit 0.5"):
        refuse_dear(Gate(max_latency_ms=0.5), latency_ms=0.75)


def test_nothing_is_hopeless_at_first() -> None:
    """Without a trial that has points there is nothing to beat."""
    refuse_hopeless(LOWER, cost(99.0), [])


def test_the_reason_names_the_best_trial() -> None:
    """Both points stand in it."""
    trials = [known(1, cost(1.2), 1.0), known(2, cost(1.0), 1.0), known(3, cost(1.1), 1.0)]
    assert "trial 2 has 0.5025 at worst" in str(reason(lambda: refuse_hopeless(LOWER, cost(2.0), trials)))


def test_a_true_winner_is_not_refused_for_noise() -> None:
    """Measured 3 % too slow, its interval has the truth, and with F1 = 1 it would win; 20 % too slow it couldn't."""
    best = [known(0, cost(1.0, 0.99, 1.01), 0.999)]
    assert reason(lambda: refuse_hopeless(LOWER, cost(1.03, 0.95, 1.05), best)) is None
    assert reason(lambda: refuse_hopeless(LOWER, cost(1.03), best)), "by the point alone: the negative control"
    assert reason(lambda: refuse_hopeless(LOWER, cost(1.20, 0.95, 1.05), best))


noise = st.floats(0.81, 1.23)
true = st.tuples(st.floats(0.01, 10), noise, st.floats(0, 1))


@given(st.sampled_from([LOWER, HIGHER]), true, st.lists(true, max_size=6), st.floats(0, 1))
def test_what_could_win_is_never_refused(
    competition: Competition, mine: tuple[float, float, float], others: list[tuple[float, float, float]], f1: float
) -> None:
    """If any F1 at its true time beats every known trial at its true time, the gate lets it train.

    Each is measured with an error that its interval covers.
    """

    def measured(time: float, error: float) -> Cost:
        return cost(time * error, 0.8, 1.25)

    trials = [known(i, measured(time, error), its) for i, (time, error, its) in enumerate(others)]
    refused = reason(lambda: refuse_hopeless(competition, measured(*mine[:2]), trials))
    scores = [points(competition, figures(cost(time), its)) for time, _, its in others]
    if all(better(competition, points(competition, figures(cost(mine[0]), f1)), s) for s in scores):
        assert refused is None


@given(st.sampled_from([LOWER, HIGHER]), true, st.lists(true, min_size=1, max_size=6))
def test_without_an_error_it_refuses_whatever_cannot_win(
    competition: Competition, mine: tuple[float, float, float], others: list[tuple[float, float, float]]
) -> None:
    """The control of the test above: a gate that refuses nothing would pass it."""
    trials = [known(i, cost(time), its) for i, (time, _, its) in enumerate(others)]
    limit = points(competition, figures(cost(mine[0]), 1.0))
    scores = [points(competition, figures(k.result.cost, k.result.f1)) for k in trials]
    wins = all(better(competition, limit, s) for s in scores)
    assert (reason(lambda: refuse_hopeless(competition, cost(mine[0]), trials)) is None) == wins


def test_the_ends_of_the_interval_are_the_costs_own() -> None:
    """Time and ratio move together, the rest stays."""
    its = cost(2.0, 0.9, 1.2)
    assert (its.fastest().ratio, its.fastest().latency_ms) == (1.8, 1.8)
    assert (its.slowest().ratio, its.slowest().latency_ms) == (2.4, 2.4)
    assert replace(its.fastest(), ratio=2.0, latency_ms=2.0) == its
