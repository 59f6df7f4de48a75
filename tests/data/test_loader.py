"""Batches: every image once an epoch, in an order that the seed alone decides."""

from __future__ import annotations

import time

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.data.augment import Augment
from harness.data.loader import batches, normalised
from harness.data.prepare import Preprocessing, prepare

PLAIN = Augment(n=0, m=0, flip=False, crop=0.0)


def numbered(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Images that carry their own number, and labels that repeat it."""
    labels = np.arange(count, dtype=np.int64)
    pixels = np.zeros((count, 4, 4, 3), np.uint8) + (labels % 256).astype(np.uint8)[:, None, None, None]
    return pixels, labels


@given(count=st.integers(1, 90), size=st.integers(2, 40), seed=st.integers(0, 5), epoch=st.integers(0, 3))
@settings(max_examples=60)
def test_an_epoch_shows_no_image_twice_and_each_with_its_label(count: int, size: int, seed: int, epoch: int):
    """Whole batches only, but for a single small one; what is left out is less than a batch."""
    shown = list(batches(*numbered(count), PLAIN, size, seed, epoch))
    labels = torch.cat([y for _, y, _ in shown]).tolist()
    assert len(set(labels)) == len(labels) == min(count, count // size * size or count)
    for x, y, _ in shown:
        assert (x[:, 0, 0, 0] == y).all() and x.dtype == torch.uint8 and len(x) == min(size, count)


def test_every_epoch_has_an_order_of_its_own():
    """The same (seed, epoch) gives the same batches, another epoch or seed others."""

    def labels(seed: int, epoch: int) -> list[int]:
        return torch.cat([y for _, y, _ in batches(*numbered(64), PLAIN, 16, seed, epoch)]).tolist()

    assert labels(1, 0) == labels(1, 0)
    assert len({tuple(labels(s, e)) for s, e in ((1, 0), (1, 1), (2, 0))}) == 3


def test_left_out_images_differ_from_epoch_to_epoch():
    """Ninety images at batch 64: over some epochs each image is seen."""
    seen = [y for epoch in range(12) for _, y, _ in batches(*numbered(90), PLAIN, 64, 0, epoch)]
    assert len(torch.cat(seen).unique()) == 90


def test_augmentation_depends_on_seed_epoch_and_batch_alone():
    """A second walk sees the very same images, though threads make them; another epoch sees others."""
    rng = np.random.default_rng(0)
    pixels, labels = rng.integers(0, 256, (64, 8, 8, 3), dtype=np.uint8), np.arange(64)
    how = Augment(2, 15, True, 0.25, 0.25)

    def images(epoch: int) -> torch.Tensor:
        return torch.cat([x for x, _, _ in batches(pixels, labels, how, 16, 3, epoch)])

    assert torch.equal(images(1), images(1)) and not torch.equal(images(1), images(2))


def test_flips_alternate_between_epochs():
    """Half of the images are mirrored in an epoch, and in the next the other half; without flip none ever is.

    Negative control: independent flips would repeat half of the images' sides.
    """
    pixels, labels = np.zeros((200, 8, 8, 3), np.uint8), np.arange(200)
    pixels[:, :, 0] = 255

    def mirrored(epoch: int, flip: bool) -> np.ndarray:
        found = np.zeros(200, bool)
        for x, y, _ in batches(pixels, labels, Augment(0, 0, flip, 0.0), 50, 5, epoch):
            found[y] = (x[:, 0, -1, 0] == 255).numpy()
        return found

    even, odd, again = (mirrored(epoch, True) for epoch in (0, 1, 2))
    assert 60 < even.sum() < 140 and (even != odd).all() and (even == again).all()
    assert not mirrored(0, False).any() and not mirrored(1, False).any()
    independent = np.random.default_rng(0).random((2, 200)) < 0.5
    assert not (independent[0] != independent[1]).all()


def test_the_images_themselves_are_left_alone():
    """Augmentation works on copies."""
    pixels, labels = numbered(32)
    before = pixels.copy()
    list(batches(pixels, labels, Augment(2, 15, True, 0.25, 0.5), 8, 0, 0))
    assert (pixels == before).all()


def test_a_walk_that_is_broken_off_ends_at_once():
    """A pruned trial leaves no thread at work: the generator closes and its thread with it."""
    import threading

    before = threading.active_count()
    walk = batches(*numbered(512), Augment(2, 9), 16, 0, 0)
    next(walk)
    start = time.perf_counter()
    walk.close()
    assert threading.active_count() == before and time.perf_counter() - start < 20


def test_trouble_in_the_making_reaches_the_training():
    """An error in the thread is raised where the batch is asked for."""
    with pytest.raises(IndexError):
        list(batches(np.zeros((3, 4, 4, 3), np.uint8), np.arange(9), PLAIN, 3, 0, 0))


def test_training_and_judging_see_the_same_input():
    """What the network is trained on equals what the judge prepares, to a rounding error."""
    pixels = np.random.default_rng(0).integers(0, 256, (5, 8, 8, 3), dtype=np.uint8)
    how = Preprocessing(8, (0.4, 0.5, 0.6), (0.2, 0.25, 0.3))
    x = normalised(torch.from_numpy(pixels), how, torch.device("cpu"))
    assert x.shape == (5, 3, 8, 8) and x.is_contiguous(memory_format=torch.channels_last)
    np.testing.assert_allclose(x.numpy(), prepare(pixels, how), atol=1e-5)


@given(count=st.integers(8, 90), size=st.integers(8, 40), world=st.integers(1, 8), seed=st.integers(0, 3))
@settings(max_examples=40)
def test_the_shares_of_all_ranks_make_up_the_batch(count: int, size: int, world: int, seed: int):
    """Batch by batch each image is one rank's, with its label, and augmented as if one process took them all."""
    rng = np.random.default_rng(0)
    pixels, labels = rng.integers(0, 256, (count, 4, 4, 3), dtype=np.uint8), np.arange(count, dtype=np.int64)
    whole = list(batches(pixels, labels, Augment(2, 9, True, 0.25, 0.25), size, seed, 1))
    ranks = [
        list(batches(pixels, labels, Augment(2, 9, True, 0.25, 0.25), size, seed, 1, r, world)) for r in range(world)
    ]
    for number, (x, y, _) in enumerate(whole):
        shares = [rank[number] for rank in ranks]
        assert len(ranks[0]) == len(whole) and max(map(len, (s[1] for s in shares))) <= -(-len(y) // world)
        found = {int(label): image for share in shares for image, label in zip(*share[:2], strict=True)}
        assert sorted(found) == sorted(y.tolist()) and sum(len(s[1]) for s in shares) == len(y)
        assert all(torch.equal(found[int(label)], image) for image, label in zip(x, y, strict=True))


def test_each_image_comes_with_its_weight():
    """Whichever order an epoch has; without weights there are none."""
    pixels, labels = numbered(40)
    weights = labels.astype(np.float32) / 10
    for _, y, heavy in batches(pixels, labels, PLAIN, 16, 0, 0, weights=weights):
        assert heavy is not None and torch.allclose(heavy, y.float() / 10)
    assert all(heavy is None for _, _, heavy in batches(pixels, labels, PLAIN, 16, 0, 0))
