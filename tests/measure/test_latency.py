"""An estimate that noise can only make slower stands still while noise comes and goes."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.measure.latency import Latency

COUNT = 200


def timed(model_ms: np.ndarray, reference_ms: np.ndarray) -> Latency:
    """Wrap synthetic samples."""
    samples = tuple(map(float, model_ms))
    return Latency(samples, tuple(map(float, reference_ms)), samples, threads=1, machine={"cpu": "x"})


def quiet(ms: float, seed: int) -> np.ndarray:
    """Make samples of a quiet machine: a floor and a little above it."""
    return ms * (1 + 0.002 * np.random.default_rng(seed).random(COUNT))


def noisy(samples: np.ndarray, share: float, factor: float, seed: int) -> np.ndarray:
    """Slow down a random share of the samples."""
    rng = np.random.default_rng(seed)
    hit = rng.permutation(len(samples))[: round(share * len(samples))]
    slowed = samples.copy()
    slowed[hit] *= 1 + factor * rng.random(len(hit))
    return slowed


seeds = st.integers(0, 10_000)


@given(st.floats(0.001, 100), st.floats(0, 0.3), st.floats(0, 50), seeds)
def test_noise_on_a_third_of_the_samples_moves_the_estimate_less_than_1_percent(
    ms: float, share: float, factor: float, seed: int
) -> None:
    """Neither time nor ratio, whichever of the two networks it meets; the mean moves far."""
    model, reference = quiet(ms, seed), quiet(1.0, seed + 1)
    before = timed(model, reference)
    for after in (
        timed(noisy(model, share, factor, seed), reference),
        timed(model, noisy(reference, share, factor, seed)),
        timed(noisy(model, share, factor, seed), noisy(reference, share, factor, seed + 2)),
    ):
        assert after.ms == pytest.approx(before.ms, rel=0.01)
        assert after.ratio == pytest.approx(before.ratio, rel=0.01)


def test_the_mean_would_not_stand_still() -> None:
    """The control: the same noise moves the mean by more than half."""
    assert np.mean(noisy(quiet(1.0, 0), 0.3, 10.0, 0)) > 1.5


@given(st.floats(0.1, 10), st.floats(0, 0.5), seeds)
def test_the_intervals_contain_the_estimates(ms: float, factor: float, seed: int) -> None:
    """Time and ratio lie between the ends of their own intervals, and a wider spread gives a wider interval."""
    found = timed(noisy(quiet(ms, seed), 0.8, factor, seed), quiet(1.0, seed + 1))
    assert found.low_ms <= found.ms <= found.high_ms
    assert found.ratio_low <= found.ratio <= found.ratio_high


def test_the_interval_is_as_wide_as_the_spread() -> None:
    """Steady samples give a narrow one, scattered samples a wide one."""
    narrow = timed(quiet(1.0, 0), quiet(1.0, 1))
    wide = timed(noisy(quiet(1.0, 0), 1.0, 2.0, 0), quiet(1.0, 1))
    assert narrow.high_ms - narrow.low_ms < 0.001 < wide.high_ms - wide.low_ms


def test_a_drift_of_the_machine_leaves_the_ratio() -> None:
    """A clock that slows down meets both networks of a pair alike."""
    drift = np.linspace(1, 2, COUNT)
    assert timed(quiet(3.0, 0) * drift, quiet(1.0, 1) * drift).ratio == pytest.approx(3.0, rel=0.01)


@given(st.lists(st.tuples(*[st.floats(0.001, 1000)] * 2), min_size=1, max_size=30))
def test_raw_samples_come_back_and_so_does_all_that_derives(pairs: list[tuple[float, float]]) -> None:
    """Through JSON, to the last digit."""
    found = timed(*np.array(pairs).T)
    raw = json.loads(json.dumps(found.to_dict()))
    again = Latency.from_dict(raw)
    assert again == found and again.to_dict() == found.to_dict()
    assert raw["ratio"] == round(found.ratio, 6)
