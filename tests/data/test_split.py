"""Properties of the stratified choice and of the cuts."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.data.split import Images, cut, cut_groups, merge, stratified

LABELS = st.lists(st.integers(0, 5), min_size=1, max_size=200).map(np.array)
SHARES = st.floats(0.05, 0.4)
SEEDS = st.integers(0, 2**31)


@given(LABELS, SHARES, SHARES, SEEDS)
def test_a_cut_puts_every_position_in_one_part(labels, first, second, seed):
    """The parts are disjoint and complete, and as large as asked for."""
    parts = cut(labels, (first, second), seed)
    assert sorted(np.concatenate(parts)) == list(range(len(labels)))
    assert [len(p) for p in parts[:2]] == [round(first * len(labels)), round(second * len(labels))]


@given(
    st.lists(st.integers(0, 5), max_size=12).map(np.array), st.lists(st.floats(0.01, 1), min_size=1, max_size=6), SEEDS
)
def test_shares_of_the_whole_never_ask_for_more_than_there_is(labels, weights, seed):
    """Shares that sum to 1 on a tiny or empty set: each part is as large as asked for, or gets what is left."""
    shares = np.array(weights) / sum(weights)
    *parts, rest = cut(labels, shares, seed)
    assert sorted(np.concatenate([*parts, rest])) == list(range(len(labels)))
    left = len(labels)
    for part, share in zip(parts, shares, strict=True):
        assert len(part) == min(left, round(share * len(labels)))
        left -= len(part)
    assert len(rest) == left


@given(LABELS, SHARES, SEEDS)
def test_class_shares_are_kept_within_one_image(labels, share, seed):
    """Each class has its share to within one image, wherever each share is at least one image."""
    count = round(share * len(labels))
    exact = np.bincount(labels) * count / len(labels)
    got = np.bincount(labels[stratified(labels, count, seed)], minlength=len(exact))
    assert got.sum() == count
    if exact[exact > 0].min(initial=1) >= 1:
        assert np.abs(got - exact).max() <= 1


@given(LABELS, SHARES, SEEDS)
def test_every_class_is_chosen_where_the_count_allows(labels, share, seed):
    """A class that has an image keeps one in a choice at least as large as the number of classes."""
    count = max(round(share * len(labels)), len(np.unique(labels)))
    assert set(labels[stratified(labels, count, seed)]) == set(labels)


@given(LABELS, SHARES, SHARES, SEEDS)
def test_the_same_seed_gives_the_same_cut(labels, first, second, seed):
    """A cut depends on labels, shares and seed alone."""
    again = zip(cut(labels, (first, second), seed), cut(labels, (first, second), seed), strict=True)
    assert all(np.array_equal(a, b) for a, b in again)


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 40)), min_size=1, max_size=150), SEEDS)
def test_a_group_is_never_torn(pairs, seed):
    """Every position is in one part, and every group wholly in one; the same seed does it again."""
    labels, groups = np.array(pairs).T
    parts = cut_groups(labels, groups, (0.6, 0.2, 0.2), seed)
    assert sorted(np.concatenate(parts)) == list(range(len(labels)))
    homes = [set(groups[p]) for p in parts]
    assert not (homes[0] & homes[1] or homes[0] & homes[2] or homes[1] & homes[2])
    assert all(map(np.array_equal, parts, cut_groups(labels, groups, (0.6, 0.2, 0.2), seed)))


@given(st.lists(st.integers(1, 6), min_size=3, max_size=40), st.integers(2, 5), SEEDS)
def test_every_class_reaches_every_part_where_three_groups_have_it(sizes, kinds, seed):
    """Groups of one class each, three or more of each class: none is missing anywhere."""
    kind_of = np.concatenate([np.arange(len(sizes)) % kinds, np.repeat(np.arange(kinds), 3)])
    sizes = np.array([*sizes, *[1] * (3 * kinds)])
    labels, groups = np.repeat(kind_of, sizes), np.repeat(np.arange(len(sizes)), sizes)
    for part in cut_groups(labels, groups, (0.64, 0.16, 0.2), seed):
        assert set(labels[part]) == set(range(kinds))


@given(st.integers(0, 1000))
def test_single_crops_are_cut_close_to_their_shares(seed):
    """With a photograph for each crop the group cut comes as close as a plain stratified one."""
    labels = np.repeat(np.arange(3), (100, 50, 25))
    parts = cut_groups(labels, np.arange(175), (0.64, 0.16, 0.2), seed)
    for part, share in zip(parts, (0.64, 0.16, 0.2), strict=True):
        assert np.abs(np.bincount(labels[part], minlength=3) - share * np.array([100, 50, 25])).max() <= 1


def test_weights_and_provenance_go_with_their_images():
    """Whichever are taken, resized or joined; parts without them count 1 and come from nowhere else."""
    pixels = np.zeros((4, 2, 2, 3), np.uint8)
    plain = Images(pixels, np.arange(4), ("a", "b", "c", "d"))
    rich = replace(plain, weights=np.float32([1, 2, 3, 4]), provenance=("web", "", "", "web"))
    taken = rich.take(np.array([3, 1])).with_pixels(np.zeros((2, 8, 8, 3), np.uint8))
    assert (taken.weights.tolist(), taken.provenance, taken.names) == ([4, 2], ("web", ""), ("d", "b"))
    joined = merge(plain, rich)
    assert joined.weights.tolist() == [1, 1, 1, 1, 1, 2, 3, 4] and joined.provenance == ("",) * 4 + rich.provenance
    assert merge(plain, plain).weights is None and merge(plain, plain).provenance is None
    with pytest.raises(ValueError, match="3 weights"):
        replace(plain, weights=np.float32([1, 2, 3]))
