"""A rung tells where a trial is heading."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from test_gate import cost

from harness.record.result import Result
from harness.rules.competition import Competition
from harness.rules.formulas import better, figures, points
from harness.search.forecast import forecast
from harness.search.gate import Known

share = st.floats(0, 1)


def finished(*pairs: tuple[float, float]) -> list[Known]:
    """Trials by (F1 after epoch 4, F1 at the end)."""
    return [Known(i, Result(cost(1.0), end, None, None, rungs={4: rung})) for i, (rung, end) in enumerate(pairs)]


def test_the_median_gain_of_finished_trials_is_added() -> None:
    """One trial that gained oddly much or little doesn't move it."""
    known = finished((0.4, 0.5), (0.4, 0.55), (0.3, 0.9))
    assert round(forecast(0.45, 4, known), 6) == 0.6


def test_without_enough_finished_trials_the_f1_stands() -> None:
    """Nor do trials count that weren't looked at after this epoch."""
    assert forecast(0.45, 4, finished((0.4, 0.6))) == 0.45
    assert forecast(0.45, 7, finished((0.4, 0.6), (0.4, 0.6))) == 0.45


@given(share, share, st.lists(st.tuples(share, share), max_size=8))
def test_a_higher_f1_never_forecasts_less(a: float, b: float, pairs: list[tuple[float, float]]) -> None:
    """And no forecast is above 1."""
    low, high = sorted((a, b))
    assert forecast(low, 4, finished(*pairs)) <= forecast(high, 4, finished(*pairs)) <= 1


def test_the_forecast_keeps_a_large_network_that_raw_points_would_stop() -> None:
    """Seen on CIFAR-10: 0.47 against 0.44 after 4 of 10 epochs, 0.66 against 0.60 at the end, 0.85 against 0.16 ms."""
    rules = Competition(f1_target=0.65)
    large, small = (cost(ms / 3.3) for ms in (0.85, 0.16))

    def beats(f1_large: float, f1_small: float) -> bool:
        return better(rules, points(rules, figures(large, f1_large)), points(rules, figures(small, f1_small)))

    known = finished((0.44, 0.60), (0.45, 0.63), (0.46, 0.64))
    assert beats(0.66, 0.60), "at the end the large one is better"
    assert not beats(0.47, 0.44), "by the raw F1 of the rung it looks worse: the negative control"
    assert beats(forecast(0.47, 4, known), forecast(0.44, 4, known))
