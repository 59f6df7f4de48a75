"""The policy: what is drawn for a batch, and what comes of it."""

from __future__ import annotations

import json
import math

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from harness.data.augment import Augment, augment, draw, pipeline
from harness.data.operations import OPERATIONS
from harness.errors import HarnessError

STILL = {"n": 0, "flip": False, "crop": 0.0}


def batch(count: int, side_px: int = 32) -> np.ndarray:
    """Make coloured blobs, no two images alike and none symmetric."""
    rng = np.random.default_rng(5)
    coarse = rng.integers(0, 256, (count, 6, 6, 3), dtype=np.uint8)
    return np.stack([cv2.resize(image, (side_px, side_px), interpolation=cv2.INTER_LINEAR) for image in coarse])


options = st.builds(
    Augment,
    n=st.integers(0, 14),
    m=st.integers(0, 30),
    flip=st.booleans(),
    crop=st.floats(0, 0.5),
    cutout=st.floats(0, 0.9),
)


@given(how=options, seed=st.integers(0, 2**32), side_px=st.sampled_from([8, 17, 32]))
@settings(max_examples=60)
def test_any_options_keep_shape_input_and_repeatability(how: Augment, seed: int, side_px: int) -> None:
    """Shape and type stay, the input is untouched, and the same generator state gives the same result."""
    pixels = batch(5, side_px)
    pixels.flags.writeable = False
    before = pixels.copy()
    first = augment(pixels, how, np.random.default_rng(seed))
    second = augment(pixels, how, np.random.default_rng(seed))
    assert first.shape == pixels.shape and first.dtype == np.uint8
    assert np.array_equal(first, second) and np.array_equal(pixels, before)
    assert not np.shares_memory(first, pixels)


@given(how=options)
def test_options_survive_json(how: Augment) -> None:
    """What to_dict gives is JSON and from_dict reads it back."""
    assert Augment.from_dict(json.loads(json.dumps(how.to_dict()))) == how


@pytest.mark.parametrize("n", [1, 2, 14])
def test_magnitude_0_is_the_identity_however_many_operations(n: int) -> None:
    """AutoContrast and Equalize, which have no magnitude, are left out at 0 too."""
    pixels = batch(200)
    how = Augment(n=n, m=0, flip=False, crop=0.0)
    assert np.array_equal(augment(pixels, how, np.random.default_rng(0)), pixels)


def test_stronger_magnitudes_change_images_more() -> None:
    """Over the whole table the mean change grows with m."""
    pixels = batch(600)
    policies = [Augment(m=m, flip=False, crop=0.0) for m in (0, 1, 8, 15, 22, 30)]
    results = [augment(pixels, how, np.random.default_rng(1)).astype(int) for how in policies]
    change = [np.abs(result - pixels).mean() for result in results]
    assert change == sorted(change) and change[-1] > 2 * change[1], change


def test_operations_are_drawn_evenly_and_signs_balanced() -> None:
    """Chi-square over the 14 operations in each position, both signs and their pairs: no p below 0.001."""
    plan = draw(20_000, 32, Augment(n=2), np.random.default_rng(2))
    for position in range(2):
        counts = np.bincount(plan.operations[:, position], minlength=len(OPERATIONS))
        assert stats.chisquare(counts).pvalue > 1e-3, counts
    pairs = np.bincount(plan.operations @ np.array([14, 1]), minlength=14 * 14)
    assert stats.chisquare(pairs).pvalue > 1e-3
    both = np.bincount((2 * plan.operations + (plan.signs > 0)).ravel(), minlength=28)
    assert stats.chisquare(both).pvalue > 1e-3, both


def test_what_is_drawn_is_what_is_seen() -> None:
    """With one operation, each image of a batch equals that operation with its drawn sign."""
    pixels, how = batch(300), Augment(n=1, m=17, flip=False, crop=0.0)
    plan = draw(300, 32, how, np.random.default_rng(3))
    result = augment(pixels, how, np.random.default_rng(3))
    table = list(OPERATIONS.values())
    for image, after, (kind,), (sign,) in zip(pixels, result, plan.operations, plan.signs, strict=True):
        strength = table[kind].strength(17, 32) * (int(sign) if table[kind].signed else 1)
        assert np.array_equal(after, table[kind].apply(image, strength))


def test_each_image_of_a_batch_goes_its_own_way() -> None:
    """One image repeated 64 times comes back in many versions, and differently the next time."""
    pixels = np.repeat(batch(1), 64, axis=0)
    rng = np.random.default_rng(4)
    first, second = augment(pixels, Augment(), rng), augment(pixels, Augment(), rng)
    assert len(np.unique(first.reshape(64, -1), axis=0)) > 55
    assert not np.array_equal(first, second)


def test_a_flip_mirrors_about_half_of_the_images_and_changes_no_other() -> None:
    """Each image is itself or its mirror image; the share of mirrored ones lies within 5 standard deviations of 1/2."""
    pixels = batch(2000)
    result = augment(pixels, Augment(n=0, crop=0.0), np.random.default_rng(5))
    same = (result == pixels).all(axis=(1, 2, 3))
    mirrored = (result == pixels[:, :, ::-1]).all(axis=(1, 2, 3))
    assert np.array_equal(same, ~mirrored)
    assert abs(mirrored.mean() - 0.5) < 5 * 0.5 / math.sqrt(2000)


def test_a_crop_is_a_window_of_the_reflected_image_at_every_place() -> None:
    """Every result is the drawn window of numpy's reflect padding, and all 9 x 9 places occur."""
    pixels, how = batch(2000), Augment(n=0, flip=False, crop=0.125)
    plan = draw(2000, 32, how, np.random.default_rng(6))
    result = augment(pixels, how, np.random.default_rng(6))
    padded = np.pad(pixels, ((0, 0), (4, 4), (4, 4), (0, 0)), mode="reflect")
    windows = np.stack([p[y : y + 32, x : x + 32] for p, (y, x) in zip(padded, plan.corners, strict=True)])
    assert np.array_equal(result, windows)
    assert {tuple(c) for c in plan.corners.tolist()} == {(y, x) for y in range(9) for x in range(9)}


def test_a_cutout_blackens_one_rectangle_and_nothing_else() -> None:
    """The hole is at most the side asked for, often exactly it, and has its middle anywhere in the image."""
    pixels = np.full((1000, 32, 32, 3), 200, np.uint8)
    black = (augment(pixels, Augment(**STILL, cutout=0.25), np.random.default_rng(7)) == 0).all(axis=-1)
    heights, widths = black.any(axis=2).sum(axis=1), black.any(axis=1).sum(axis=1)
    assert np.array_equal(black.sum(axis=(1, 2)), heights * widths)
    assert heights.max() == widths.max() == 8 and heights.min() >= 4 and widths.min() >= 4
    assert ((heights == 8) & (widths == 8)).mean() > 0.5
    assert black.any(axis=0).all()


@pytest.mark.parametrize(
    ("name", "value", "allowed"),
    [
        ("n", 15, "0 to 14"),
        ("n", -1, "0 to 14"),
        ("n", 2.0, "whole number"),
        ("n", True, "whole number"),
        ("m", 31, "0 to 30"),
        ("m", "9", "whole number"),
        ("crop", 0.6, r"0 to 0\.5"),
        ("crop", math.nan, r"0 to 0\.5"),
        ("cutout", 1.0, r"0 to 0\.9"),
        ("cutout", None, r"0 to 0\.9"),
        ("flip", "yes", "true or false"),
    ],
)
def test_a_value_out_of_range_is_named_with_what_is_allowed(name: str, value: object, allowed: str) -> None:
    """The message holds the option, the value and its range."""
    with pytest.raises(HarnessError, match=rf"augment\.{name}: .*{allowed}") as caught:
        Augment.from_dict({name: value})
    assert repr(value) in str(caught.value)


def test_an_unknown_option_is_met_with_the_known_ones() -> None:
    """A near miss is corrected."""
    with pytest.raises(HarnessError, match="(?s)unknown 'cutot'.*crop, cutout, flip.*mean 'cutout'"):
        Augment.from_dict({"cutot": 0.5})


def test_the_policy_works_inside_albumentations() -> None:
    """The pipeline resizes, varies from call to call, and repeats itself with albumentations' own seed."""
    image = batch(1, 48)[0]
    policy = pipeline(Augment(m=20), 32)
    policy.set_random_seed(8)
    first = [policy(image=image)["image"] for _ in range(10)]
    policy.set_random_seed(8)
    second = [policy(image=image)["image"] for _ in range(10)]
    assert all(f.shape == (32, 32, 3) and f.dtype == np.uint8 for f in first)
    assert np.array_equal(first, second)
    assert len({f.tobytes() for f in first}) >= 8
