"""The policy: what is drawn for a batch, and what comes of it."""

from __future__ import annotations

import json
import math
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy import stats
from torchvision.transforms import InterpolationMode, autoaugment

from harness.data.augment import Augment, Plan, augment, draw, follow
from harness.data.operations import MAGNITUDES, OPERATIONS
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


def unevenness(results: np.ndarray, image: np.ndarray, m: int) -> float:
    """Tell each result's operation and sign by its look; return the chi-square p-value of their even frequencies."""
    looks: dict[bytes, float] = {}
    for operation in OPERATIONS.values():
        for sign in (-1, 1):
            strength = operation.strength(m, len(image)) * (sign if operation.signed else 1)
            look = operation.apply(image, strength).tobytes()
            looks[look] = looks.get(look, 0) + 1 / 28
    assert len(looks) == 9 * 2 + 5, "some operations look alike on this image"
    counts = dict.fromkeys(looks, 0)
    for result in results:
        counts[result.tobytes()] += 1
    return stats.chisquare(list(counts.values()), len(results) * np.array(list(looks.values()))).pvalue


@pytest.mark.parametrize("m", [9, 23])
def test_what_comes_out_has_every_operation_and_sign_equally_often(m: int) -> None:
    """One image, 14,000 times: each result is one operation at its magnitude, and their counts are even."""
    pixels, how = np.repeat(batch(1), 14_000, axis=0), Augment(n=1, m=m, flip=False, crop=0.0)
    assert unevenness(augment(pixels, how, np.random.default_rng(3)), pixels[0], m) > 1e-3


def test_an_operation_drawn_too_often_is_noticed() -> None:
    """The test above is sharp: a die whose 15th side counts as the 1st, and a sign that is minus 55 times in 100."""
    pixels, how, rng = np.repeat(batch(1), 14_000, axis=0), Augment(n=1, flip=False, crop=0.0), np.random.default_rng(4)
    plan = draw(len(pixels), 32, how, rng)
    skewed = replace(plan, operations=rng.integers(15, size=plan.operations.shape) % 14)
    tilted = replace(plan, signs=np.where(rng.random(plan.signs.shape) < 0.55, -1, 1))
    for wrong in (skewed, tilted):
        assert unevenness(follow(pixels, how, wrong), pixels[0], how.m) < 1e-6


def by_hand(image: np.ndarray, how: Augment, plan: Plan, i: int) -> np.ndarray:
    """Carry the plan of image i out with NumPy, Pillow and torchvision."""
    side_px = len(image)
    padding_px, hole_px = round(how.crop * side_px), round(how.cutout * side_px)
    (y, x), (hole_y, hole_x) = plan.corners[i], plan.holes[i] - hole_px // 2
    padded = np.pad(image, ((padding_px, padding_px), (padding_px, padding_px), (0, 0)), mode="reflect")
    image = padded[y : y + side_px, x : x + side_px]
    image = image[:, ::-1] if plan.mirrored[i] else image
    space = autoaugment.RandAugment()._augmentation_space(MAGNITUDES, (side_px, side_px))
    picture = Image.fromarray(np.ascontiguousarray(image))
    for kind, sign in zip(plan.operations[i], plan.signs[i], strict=True):
        name, (bins, signed) = list(space.items())[kind]
        strength = (float(bins[how.m]) if bins.ndim else 0.0) * (int(sign) if signed else 1)
        picture = autoaugment._apply_op(picture, name, strength, InterpolationMode.NEAREST, None)
    out = np.array(picture)
    out[max(hole_y, 0) : max(hole_y + hole_px, 0), max(hole_x, 0) : max(hole_x + hole_px, 0)] = 0
    return out


@pytest.mark.parametrize("side_px", [8, 17, 32, 128])
@pytest.mark.parametrize(
    "how", [Augment(), Augment(n=14, m=17), Augment(n=3, m=30, crop=0.5, cutout=0.4), Augment(n=1, flip=False, crop=0)]
)
def test_a_batch_is_its_images_one_by_one_by_hand(how: Augment, side_px: int) -> None:
    """The compiled batch equals crop, flip, torchvision's operations and cutout of each image, to the bit."""
    pixels = batch(60, side_px)
    plan = draw(60, side_px, how, np.random.default_rng(5))
    result = follow(pixels, how, plan)
    expected = np.stack([by_hand(image, how, plan, i) for i, image in enumerate(pixels)])
    assert np.array_equal(result, expected)


def test_pixels_or_a_plan_that_do_not_fit_are_refused() -> None:
    """Compiled code checks no index, so what would read beside an array is met before."""
    pixels, how = batch(6), Augment()
    plan = draw(6, 32, how, np.random.default_rng(7))
    for wrong in (pixels[:, :, :24], pixels[:, :24], pixels[..., :1], pixels.astype(np.float32), pixels[:5]):
        with pytest.raises(ValueError, match="pixels|plan"):
            follow(wrong, how, plan)
    with pytest.raises(ValueError, match="corner"):
        follow(pixels, how, replace(plan, corners=plan.corners + 9))
    with pytest.raises(ValueError, match="step"):
        follow(pixels, how, replace(plan, operations=plan.operations + 14))
    assert follow(pixels, how, plan).shape == pixels.shape


def test_two_threads_at_once_give_what_one_gives() -> None:
    """Nothing is shared between calls: 40 batches made by two threads are the 40 made in turn."""
    pixels, how = batch(64), Augment(n=4, m=20, cutout=0.2)
    alone = [augment(pixels, how, np.random.default_rng(seed)) for seed in range(40)]
    with ThreadPoolExecutor(2) as pool:
        together = list(pool.map(lambda seed: augment(pixels, how, np.random.default_rng(seed)), range(40)))
    assert np.array_equal(alone, together)


def test_other_threads_go_on_meanwhile() -> None:
    """The interpreter's lock is free: this thread never waits for most of the time that a long batch takes."""
    pixels, how = np.repeat(batch(1), 20_000, axis=0), Augment(n=14)
    plan = draw(len(pixels), 32, how, np.random.default_rng(6))
    augment(pixels[:1], how, np.random.default_rng(0))  # compiled from here on
    with ThreadPoolExecutor(1) as pool:
        start = tick = time.perf_counter()
        longest_s, work = 0.0, pool.submit(follow, pixels, how, plan)
        while not work.done():
            now = time.perf_counter()
            longest_s, tick = max(longest_s, now - tick), now
    assert longest_s < 0.7 * (tick - start)


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
