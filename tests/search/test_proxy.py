"""A proxy shows every trial the same stratified part of the task."""

from __future__ import annotations

import numpy as np
import pytest

from harness.data.split import Dataset, Images
from harness.errors import HarnessError
from harness.search.proxy import Proxy, at, subset


def images(prefix: str, counts: list[int]) -> Images:
    """Make random images with so many of each class."""
    labels = np.repeat(np.arange(len(counts)), counts)
    rng = np.random.default_rng(len(labels))
    rng.shuffle(labels)
    pixels = rng.integers(0, 256, (len(labels), 8, 8, 3), dtype=np.uint8)
    return Images(pixels, labels, tuple(f"{prefix}{i}" for i in range(len(labels))))


DATASET = Dataset("toy", ("a", "b", "c"), images("t", [60, 30, 10]), images("v", [24, 12, 4]), images("x", [6, 3, 1]))


def test_every_trial_sees_the_same_stratified_images() -> None:
    """Class shares stay, a second call takes the very same, another seed others; both parts are their own."""
    proxy = Proxy(images=50, score_images=20)
    train, score = subset(DATASET, proxy, seed=0)
    assert np.bincount(train.labels).tolist() == [30, 15, 5]
    assert np.bincount(score.labels).tolist() == [12, 6, 2]
    again = subset(DATASET, proxy, seed=0)
    assert (again[0].names, again[1].names) == (train.names, score.names)
    assert subset(DATASET, proxy, seed=1)[0].names != train.names
    assert set(train.names) <= set(DATASET.train.names) and set(score.names) <= set(DATASET.validation.names)


def test_labels_and_pixels_stay_with_their_names() -> None:
    """What is taken is what it was in the whole."""
    train, _ = subset(DATASET, Proxy(images=17), seed=3)
    where = {name: i for i, name in enumerate(DATASET.train.names)}
    index = [where[name] for name in train.names]
    assert np.array_equal(train.labels, DATASET.train.labels[index])
    assert np.array_equal(train.pixels, DATASET.train.pixels[index])


def test_zero_is_all_and_the_test_part_is_never_seen() -> None:
    """No part of a proxy comes from the judge's images."""
    train, score = subset(DATASET, Proxy(), seed=0)
    assert (train.names, score.names) == (DATASET.train.names, DATASET.validation.names)
    assert not {*train.names, *score.names} & set(DATASET.test.names)


@pytest.mark.parametrize(("name", "count", "there"), [("images", 101, 100), ("score_images", 41, 40)])
def test_asking_for_too_many_is_an_error(name: str, count: int, there: int) -> None:
    """Never fewer than asked without a word."""
    with pytest.raises(HarnessError, match=rf"proxy.{name}={count}: toy has {there}\n.*at most {there}"):
        subset(DATASET, Proxy(**{name: count}), seed=0)


@pytest.mark.parametrize(
    "wrong", [{"pixels": 0.0}, {"pixels": 1.1}, {"images": -1}, {"score_images": -1}, {"epochs": 0}]
)
def test_an_impossible_proxy_is_refused(wrong: dict[str, float]) -> None:
    """The value stands in the message."""
    with pytest.raises(HarnessError, match=f"proxy.*{next(iter(wrong.values()))}"):
        Proxy(**wrong)


def test_another_resolution_changes_pixels_alone() -> None:
    """Names and labels stay."""
    smaller = at(DATASET.train, 4)
    assert smaller.pixels.shape == (100, 4, 4, 3)
    assert smaller.names == DATASET.train.names and np.array_equal(smaller.labels, DATASET.train.labels)
