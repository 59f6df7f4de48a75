"""Entries share a rank unless their F1 and time together tell them apart."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.judge import bootstrap, comparison
from harness.judge.comparison import Measured, Past, apart, drawn, groups
from harness.measure.latency import Latency
from harness.measure.quality import macro_f1, macro_f1_of_counts
from harness.rules.competition import Competition

RULES = Competition(f1_target=0.8)
CLASSES, IMAGES, SEEDS, LIVES = 5, 200, 200, 100


@cache
def entry(seed: int, number: int, right: float, ratio: float = 1.0) -> Measured:
    """Make up an entry that is right in such a share of images, of hard ones less often, and is timed within 1 %."""
    images, random = np.random.default_rng([seed, 0]), np.random.default_rng([seed, number])
    labels, hard = images.integers(0, CLASSES, IMAGES), images.normal(0, 0.15, IMAGES)
    wrong = (labels + random.integers(1, CLASSES, IMAGES)) % CLASSES
    predicted = np.where(random.random(IMAGES) < right + hard, labels, wrong)
    measured_ratio = ratio * np.exp(0.01 * random.standard_normal())
    return Measured(
        number=number,
        f1=macro_f1(labels, predicted, CLASSES),
        ratio=measured_ratio,
        ratio_low=measured_ratio * np.exp(-0.0196),
        ratio_high=measured_ratio * np.exp(0.0196),
        macs=1e6,
        draws=bootstrap.draws(labels, predicted, CLASSES, f"competition {seed}"),
        images=IMAGES,
    )


def equal_ones(**known: object) -> Iterator[tuple[Measured, Measured]]:
    """Make up pairs of equal truth. known: of both, instead of what was found."""
    for seed in range(SEEDS):
        yield tuple(replace(entry(seed, number, 0.7), **known) for number in (1, 2))


def told_apart(a: Measured, b: Measured, rules: Competition = RULES) -> bool:
    """Compare two."""
    return apart(*drawn(rules, [a, b]))


@pytest.mark.parametrize("formula", ["boostcamp2021b", "f1_squared_fps", "rank_mean"])
def test_entries_of_equal_truth_share_a_rank_in_95_of_100(formula: str) -> None:
    """By each formula that takes both F1 and time."""
    rules = replace(RULES, formula=formula)
    shared = [not told_apart(*pair, rules) for pair in equal_ones()]
    assert np.mean(shared) >= 0.95


def test_timing_alone_would_tell_equal_ones_apart() -> None:
    """The control, and what ranks did before: F1's error is larger than time's, and was taken for none."""
    shared = [not told_apart(*pair) for pair in equal_ones(draws=None, images=0)]
    assert np.mean(shared) < 0.6


def test_by_the_number_of_images_equal_ones_share_a_rank_too() -> None:
    """The approximation for entries without draws."""
    shared = [not told_apart(*pair) for pair in equal_ones(draws=None)]
    assert np.mean(shared) >= 0.95


@pytest.mark.parametrize(("right", "ratio"), [(0.9, 1.0), (0.7, 3.0)])
def test_clearly_different_ones_are_told_apart(right: float, ratio: float) -> None:
    """By F1 at the same time, or by time at the same F1."""
    found = [told_apart(entry(seed, 1, 0.7), entry(seed, 2, right, ratio)) for seed in range(50)]
    assert np.mean(found) >= 0.95


def test_the_same_images_tell_more_than_their_number() -> None:
    """Two that agree but on a few images, which one of them has right: paired draws see it, independent ones can't."""
    labels = np.arange(IMAGES) % CLASSES
    wrong = np.where(np.arange(IMAGES) < 50, (labels + 1) % CLASSES, labels)
    fewer = np.where(np.arange(IMAGES) < 30, (labels + 1) % CLASSES, labels)
    a, b = (
        replace(entry(0, n, 0.7, 1.0), number=n, ratio=1.0, ratio_low=0.99, ratio_high=1.01,
                f1=macro_f1(labels, p, CLASSES), draws=bootstrap.draws(labels, p, CLASSES, "c"))
        for n, p in ((1, wrong), (2, fewer))
    )  # fmt: skip
    assert told_apart(a, b)
    assert not told_apart(replace(a, draws=None), replace(b, draws=None))


def right_but_for(misses: int, images: int, number: int) -> Measured:
    """Make up an entry that errs in so many of the images."""
    labels = np.arange(images) % 2
    predicted = np.where(np.arange(images) < misses, 1 - labels, labels)
    kept = bootstrap.draws(labels, predicted, 2, "misses")
    f1 = macro_f1(labels, predicted, 2)
    return Measured(number, f1, 1.0, 0.99, 1.01, 1e6, kept, images)


def test_who_makes_no_mistake_isn_t_certain_either() -> None:
    """All of two images, or five more than another of a hundred, prove little; thirty more prove it."""
    assert not told_apart(right_but_for(0, 2, 1), right_but_for(2, 2, 2))
    assert not told_apart(right_but_for(0, 100, 1), right_but_for(5, 100, 2))
    assert told_apart(right_but_for(0, 100, 1), right_but_for(30, 100, 2))


def test_a_chain_of_near_ones_is_several_groups() -> None:
    """Each can't be told from its neighbour; the leader of a group decides, so they aren't all first."""
    chain = [Measured(n, 0.9, 1 + n / 100, (1 + n / 100) * 0.98, (1 + n / 100) * 1.02, 1e6) for n in range(12)]
    points = drawn(RULES, chain)
    assert not any(apart(a, b) for a, b in zip(points, points[1:], strict=False))
    ranks = groups(points)
    assert ranks[:3] == [1, 1, 1] and ranks[-1] > 3 and len(set(ranks)) < len(ranks)


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0.1, 10), st.floats(0.001, 0.2)), min_size=2, max_size=6))
@settings(max_examples=40)
def test_it_is_the_same_whichever_is_asked_first(values: list[tuple[float, float, float]]) -> None:
    """And no entry is told apart from itself."""
    entries = [Measured(i, f1, r, r * (1 - w), r * (1 + w), 1e6, images=50) for i, (f1, r, w) in enumerate(values)]
    points = drawn(RULES, entries)
    assert (points == drawn(RULES, entries)).all()
    assert (points[::-1] == drawn(RULES, entries[::-1])).all()
    for a in points:
        assert not apart(a, a)
        assert [apart(a, b) for b in points] == [apart(b, a) for b in points]


def test_an_empty_board_has_no_ranks() -> None:
    """Nor intervals."""
    points = drawn(RULES, [])
    assert groups(points) == [] and [len(ends) for ends in comparison.interval(points)] == [0, 0]


@given(st.integers(2, 6), st.integers(1, 30), st.integers(0, 2**32))
@settings(max_examples=30)
def test_f1_from_counts_is_f1_from_images(classes: int, count: int, seed: int) -> None:
    """Classes that are rare or missing included."""
    random = np.random.default_rng(seed)
    labels, predicted = random.integers(0, classes, (2, count))
    each = [np.bincount(v, minlength=classes) for v in (labels[labels == predicted], labels, predicted)]
    assert macro_f1_of_counts(each[0], each[1] + each[2]) == pytest.approx(macro_f1(labels, predicted, classes))


def test_draws_are_the_f1_of_resampled_images(monkeypatch: pytest.MonkeyPatch) -> None:
    """One by one they are what `macro_f1` says of the images drawn; a smaller piece at once draws others as well."""
    random = np.random.default_rng(0)
    labels, predicted = random.integers(0, 3, (2, 50))
    found = bootstrap.draws(labels, predicted, 3, "c")
    assert found.shape == (bootstrap.DRAWS,)
    assert (found == bootstrap.draws(labels, predicted, 3, "c")).all()
    assert not np.array_equal(found, bootstrap.draws(labels, predicted, 3, "another"))
    images = bootstrap.generator(0, "bootstrap", "c").integers(0, 50, (bootstrap.DRAWS, 50))
    assert found == pytest.approx([macro_f1(labels[i], predicted[i], 3) for i in images])
    monkeypatch.setattr(bootstrap, "CHUNK", 50 * 7)
    assert bootstrap.draws(labels, predicted, 3, "c") == pytest.approx(found)


def test_what_is_kept_comes_back() -> None:
    """Classes exactly, F1 to a hundred-thousandth; ten thousand predictions of ten classes in 8 kB."""
    predicted = np.random.default_rng(0).integers(0, 10, 10_000)
    text = bootstrap.classes_to_text(predicted)
    assert (bootstrap.classes_of_text(text) == predicted).all() and len(text) < 8_000
    f1 = np.linspace(0, 1, bootstrap.DRAWS)
    assert np.abs(bootstrap.f1_of_text(bootstrap.f1_to_text(f1)) - f1).max() < 1e-5


SURE = np.clip(0.8 + 0.005 * np.random.default_rng(0).standard_normal(bootstrap.DRAWS), 0, 1)
"""Draws of F1 of entries that are right in the same images, so that time alone tells them apart."""


@cache
def pooled(sessions: tuple[float, ...]) -> tuple[float, float, float]:
    """Pool measurements that each err by 1 %."""
    made = [Latency.of([[[[ms] * 6, [ms] * 6, [1.0] * 6, [1.0] * 6]]] * 3, apart=0.01) for ms in sessions]
    found = Latency.pooled(made)
    return found.ratio, found.ratio_low, found.ratio_high


def measured(number: int, sessions: list[float], since: list[float]) -> Measured:
    """Make up an entry that was timed so often. since: when each measurement came to count."""
    past = tuple(Past(at, *pooled(tuple(sessions[: count + 1]))) for count, at in enumerate(since))
    now = past[-1]
    return Measured(number, 0.8, now.ratio, now.ratio_low, now.ratio_high, 1e6, SURE, 5000, past)


def lived(seed: int, apart_by: float, remembers: bool) -> list[tuple[int, int]]:
    """Time two entries again, the second slower by such a share, up to eight times or until they don't touch any more.

    Return their ranks after each measurement.
    """
    random, true = np.random.default_rng(seed), (1.0, 1.0 + apart_by)
    sessions = [[ms * np.exp(0.01 * random.standard_normal())] for ms in true]
    since, seen = [[0.0], [0.0]], []
    while True:
        entries = [measured(n, s, at) for n, (s, at) in enumerate(zip(sessions, since, strict=True))]
        entries.sort(key=lambda e: e.ratio)
        points = drawn(RULES, entries)
        ranks = comparison.ranked(RULES, entries, points) if remembers else groups(points)
        by_number = {e.number: rank for e, rank in zip(entries, ranks, strict=True)}
        seen.append((by_number[0], by_number[1]))
        least = min((0, 1), key=lambda n: len(sessions[n]))
        if not comparison.touching(RULES, entries) or len(sessions[least]) == 8:
            return seen
        sessions[least].append(true[least] * np.exp(0.01 * random.standard_normal()))
        since[least].append(float(len(seen)))


def restless(lives: list[list[tuple[int, int]]]) -> float:
    """Return the share of lives whose ranks changed more than once."""
    return float(np.mean([sum(a != b for a, b in zip(life, life[1:], strict=False)) > 1 for life in lives]))


@pytest.mark.parametrize(("apart_by", "told"), [(0.0, 0.0), (0.02, 0.8), (0.03, 0.95)])
def test_pairs_that_are_timed_again_part_and_stay_apart(apart_by: float, told: float) -> None:
    """Nearly all change once at most and end in the right order, if that can be told; without memory many don't.

    Takes some seconds: 100 pairs, up to 15 measurements each, twice.
    """
    lives = [lived(seed, apart_by, True) for seed in range(LIVES)]
    ends = [life[-1] for life in lives]
    assert restless(lives) <= 0.05
    assert np.mean([end == (1, 2) for end in ends]) >= told
    if apart_by:
        assert (2, 1) not in ends
        assert restless([lived(seed, apart_by, False) for seed in range(LIVES)]) > 0.1
    else:
        assert np.mean([end == (1, 1) for end in ends]) >= 0.95


def test_who_was_told_apart_is_until_clearly_together() -> None:
    """Between the two bars it hangs on what was before; below the lower one they share a rank; so they do at first."""

    def now(*ratios: float) -> list[int]:
        times = [tuple(Past(n, r, r * 0.99, r * 1.01) for n, r in enumerate(each)) for each in ((1.0,), ratios)]
        entries = [Measured(n, 0.8, *known(t), 1e6, SURE, 5000, t) for n, t in enumerate(times)]
        return comparison.ranked(RULES, entries, drawn(RULES, entries))

    def known(past: tuple[Past, ...]) -> tuple[float, float, float]:
        return past[-1].ratio, past[-1].ratio_low, past[-1].ratio_high

    apart_, between, together = 1.03, 1.015, 1.005
    assert now(apart_) == [1, 2] and now(between) == now(together) == [1, 1]
    assert now(apart_, between) == now(apart_, between, between) == [1, 2]
    assert now(apart_, together) == now(apart_, together, between) == [1, 1]
    assert now(0.97, between) == [1, 1]  # it was ahead, and is behind


def test_time_is_asked_of_those_alone_whom_it_can_part() -> None:
    """Not of those apart for good, nor where F1 is too uncertain; by a formula of whole boards, of all that touch."""
    near, far = (measured(n, [1.0 + n * by], [0.0]) for n, by in ((1, 0.01), (2, 0.2)))
    first = measured(0, [1.0], [0.0])
    assert comparison.touching(RULES, [first, near, far]) == [(1, 0)]
    doubtful = [replace(e, draws=None, images=100) for e in (first, near)]
    assert comparison.touching(RULES, doubtful) == []
    assert comparison.touching(replace(RULES, formula="rank_mean"), doubtful) == [(1, 0)]
    assert comparison.touching(RULES, []) == comparison.touching(RULES, [first]) == []
