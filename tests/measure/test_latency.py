"""An estimate that noise can only make slower stands still while noise comes and goes."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.measure.latency import LOW, Latency

PROCESSES, LOADS, COUNT = 5, 4, 40
SHAPE = (PROCESSES, LOADS, COUNT)


def timed(model_ms: np.ndarray, reference_ms: np.ndarray) -> Latency:
    """Wrap synthetic samples (processes, loads, batches)."""
    processes = zip(model_ms, reference_ms, strict=True)
    return Latency.of([[[m, m, r, r] for m, r in zip(*loads, strict=True)] for loads in processes])


def quiet(ms: float, seed: int) -> np.ndarray:
    """Make samples of a quiet machine: a floor and a little above it."""
    return ms * (1 + 0.002 * np.random.default_rng(seed).random(SHAPE))


def noisy(samples: np.ndarray, share: float, factor: float, seed: int) -> np.ndarray:
    """Slow down a random share of each load's samples."""
    rng = np.random.default_rng(seed)
    hit = rng.permuted(np.arange(COUNT) < round(share * COUNT) * np.ones(SHAPE), axis=-1)
    return samples * np.where(hit, 1 + factor * rng.random(SHAPE), 1)


def scattered(ms: float, sd: float, seed: int) -> np.ndarray:
    """Make samples of processes that differ, each by a factor of its own."""
    return quiet(ms, seed) * np.exp(np.random.default_rng(seed).normal(0, sd, (PROCESSES, 1, 1)))


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
    """Time and ratio lie between the ends of their own intervals."""
    found = timed(noisy(scattered(ms, 0.01, seed), 0.8, factor, seed), quiet(1.0, seed + 1))
    assert found.low_ms <= found.ms <= found.high_ms
    assert found.ratio_low <= found.ratio <= found.ratio_high
    assert found.doubt == pytest.approx(found.ratio_high / found.ratio - 1)


def test_the_interval_is_as_wide_as_the_spread() -> None:
    """Steady samples give a narrow one, scattered samples a wide one."""
    narrow = timed(quiet(1.0, 0), quiet(1.0, 1))
    wide = timed(noisy(quiet(1.0, 0), 1.0, 2.0, 0), quiet(1.0, 1))
    assert narrow.high_ms - narrow.low_ms < 0.01 < wide.high_ms - wide.low_ms


def covered(sd: float, interval_of_the_samples: bool) -> float:
    """Return how often the ratio's interval contains the truth; processes differ by `sd`, measurements by 0.2 %."""
    hits = []
    for seed in range(300):
        truth = 2.0 * np.exp(np.random.default_rng(seed + 5000).normal(0, 0.002))
        found = timed(scattered(2.0, sd, seed), quiet(1.0, seed + 1000))
        low, high = found.ratio_low, found.ratio_high
        if interval_of_the_samples:
            values = np.ravel([p for loads in found.processes for load in loads for p in load.model_ms])
            half = 1.96 * values.std() / np.sqrt(len(values))
            low, high = values.mean() - half, values.mean() + half
        hits.append(low <= truth <= high)
    return float(np.mean(hits))


@pytest.mark.parametrize("sd", [0.0005, 0.003, 0.03])
def test_the_interval_contains_the_truth_19_times_in_20(sd: float) -> None:
    """Whatever the processes have of their own is in it: within what 300 draws of a 95 % chance can give."""
    assert 0.91 <= covered(sd, interval_of_the_samples=False) <= 0.985


def test_an_interval_over_all_samples_would_be_far_too_narrow() -> None:
    """The control: samples of one process share its layout, so counting each as a witness promises too much."""
    assert covered(0.03, interval_of_the_samples=True) < 0.5


def test_a_drift_of_the_machine_leaves_the_ratio() -> None:
    """A clock that slows down meets both networks of a pair alike; the time itself it moves."""
    drift = np.linspace(1, 2, PROCESSES * LOADS * COUNT).reshape(SHAPE)
    found = timed(quiet(3.0, 0) * drift, quiet(1.0, 1) * drift)
    assert found.ratio == pytest.approx(3.0, rel=0.01)
    assert found.ms > 3.3


def test_a_load_counts_by_its_own_low_end() -> None:
    """A load that lies badly in memory is averaged with the others; the lowest of all samples would never see it."""
    model = quiet(1.0, 0)
    model[:, ::2] *= 1.02
    found = timed(model, quiet(1.0, 1))
    assert found.ratio == pytest.approx(1.01, abs=0.001)
    assert np.quantile(model, LOW) < 1.001


loads = st.lists(st.tuples(*[st.floats(0.001, 1000)] * 4), min_size=1, max_size=8)


@given(st.lists(st.lists(loads, min_size=1, max_size=3), min_size=2, max_size=4))
def test_raw_samples_come_back_and_so_does_all_that_derives(raw: list[list[list[tuple[float, ...]]]]) -> None:
    """Through JSON, to the last digit."""
    processes = [[list(zip(*load, strict=True)) for load in loads] for loads in raw]
    found = Latency.of(processes, 1, {"cpu": "x"}, {"load": 2.5})
    kept = json.loads(json.dumps(found.to_dict()))
    assert kept == found.to_dict()
    again = Latency.from_dict(kept)
    assert again == found and again.to_dict() == found.to_dict()
    assert kept["ratio"] == round(found.ratio, 6)


def test_measurements_of_other_minutes_are_pooled() -> None:
    """More of them make the interval narrower, however they were gathered, and each can still be read."""
    ones = [timed(scattered(2.0, 0.01, seed), quiet(1.0, seed + 1)) for seed in (0, 10, 20)]
    pooled = Latency.pooled(ones)
    assert pooled.sessions == tuple(ones) and ones[0].sessions == (ones[0],)
    assert min(one.ratio for one in ones) < pooled.ratio < max(one.ratio for one in ones)
    assert pooled.doubt < min(one.doubt for one in ones)
    assert Latency.pooled([Latency.pooled(ones[:2]), ones[2]]) == pooled
    assert Latency.from_dict(json.loads(json.dumps(pooled.to_dict()))).to_dict() == pooled.to_dict()


def test_measurements_that_contradict_each_other_have_a_wide_interval() -> None:
    """Two that were sure of different figures leave both possible; the control: two alike leave no doubt."""
    one, same, other = (timed(quiet(ms, seed), quiet(1.0, 5)) for ms, seed in ((2.0, 0), (2.0, 1), (2.2, 2)))
    torn = Latency.pooled([one, other])
    assert torn.ratio_low < one.ratio_high and torn.ratio_high > other.ratio_low
    assert Latency.pooled([one, same]).doubt < one.doubt


def test_a_record_from_before_the_rulers_is_read() -> None:
    """All its batches count."""
    raw = timed(quiet(2.0, 0), quiet(1.0, 1)).to_dict()
    for name in ("best", "apart"):
        del raw[name]
    for process in raw["processes"]:
        for load in process:
            del load["chain_ms"], load["vector_ms"]
    assert Latency.from_dict(raw).ratio == pytest.approx(2.0, rel=0.01)
