"""Every operation of RandAugment against torchvision's on Pillow images."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import cv2
import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits, load_sample_image
from torchvision.transforms import InterpolationMode, autoaugment

from harness.data.operations import MAGNITUDES, OPERATIONS, Operation, compiled, operate

SIGNED = [name for name, operation in OPERATIONS.items() if operation.signed]
WITHOUT_MAGNITUDE = ("Identity", "AutoContrast", "Equalize")
GROWING = [name for name in OPERATIONS if name not in WITHOUT_MAGNITUDE]


def noise(side_px: int) -> np.ndarray:
    """Make an image in which every pixel differs from its neighbours."""
    return np.random.default_rng(side_px).integers(0, 256, (side_px, side_px, 3), dtype=np.uint8)


def gradient(side_px: int) -> np.ndarray:
    """Make a smooth image of low contrast, each channel along another direction."""
    y, x = np.mgrid[:side_px, :side_px] / (side_px - 1)
    return np.stack([40 + 160 * x, 60 + 150 * y, 50 + 90 * (x + y)], axis=-1).astype(np.uint8)


def digit(side_px: int) -> np.ndarray:
    """Enlarge a scikit-learn digit, light brown on dark blue."""
    grey = cv2.resize(load_digits().images[5] / 16, (side_px, side_px), interpolation=cv2.INTER_CUBIC)
    light, dark = np.array([220, 190, 140]), np.array([20, 40, 90])
    return np.clip(dark + grey[..., None] * (light - dark), 0, 255).astype(np.uint8)


def photograph(side_px: int) -> np.ndarray:
    """Shrink a square of scikit-learn's photograph of a flower."""
    return cv2.resize(
        load_sample_image("flower.jpg")[60:380, 160:480], (side_px, side_px), interpolation=cv2.INTER_AREA
    )


IMAGES = {"noise": noise, "gradient": gradient, "digit": digit, "photograph": photograph}


def torchvisions(image: np.ndarray, name: str, strength: float) -> np.ndarray:
    """Apply torchvision's operation of that name to a Pillow image."""
    nearest = InterpolationMode.NEAREST
    return np.asarray(autoaugment._apply_op(Image.fromarray(image), name, strength, nearest, None))


def strengths(name: str, side_px: int) -> list[float]:
    """List torchvision's strengths for a few magnitudes, with both signs where they have one."""
    space = autoaugment.RandAugment()._augmentation_space(MAGNITUDES, (side_px, side_px))
    bins, signed = space[name]
    values = [float(bins[m]) for m in (0, 1, 4, 9, 15, 22, 27, 30)] if bins.ndim else [0.0]
    return values + [-v for v in values] if signed else values


def disagreements(operation: Operation, name: str, side_px: int) -> list[str]:
    """List where an operation gives another value than torchvision's of that name."""
    found = []
    for kind, make in IMAGES.items():
        image = make(side_px)
        for strength in strengths(name, side_px):
            off = np.abs(operation.apply(image, strength).astype(int) - torchvisions(image, name, strength))
            if off.any():
                found.append(f"({strength:.4f}) on {kind}: {(off > 0).mean():.2%} of values off by up to {off.max()}")
    return found


@pytest.mark.parametrize("side_px", [4, 8, 31, 32, 33, 96, 128, 224])
@pytest.mark.parametrize("name", OPERATIONS)
def test_an_operation_is_torchvisions_to_the_bit(name: str, side_px: int) -> None:
    """For the same strength every value of every image is the same."""
    assert not disagreements(OPERATIONS[name], name, side_px)


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("Rotate", lambda degrees, side_px: OPERATIONS["Rotate"].prepare(-degrees, side_px)),
        ("ShearX", lambda k, _: (65536, round(65536 * k), 0, 0, 65536, 0)),  # pixels' corners for their middles
        ("TranslateY", lambda px, side_px: OPERATIONS["TranslateY"].prepare(round(px), side_px)),
        ("Color", lambda k, _: (1.001 + k,)),
        ("Sharpness", lambda k, _: (1 - k,)),
        ("Posterize", lambda bits, _: (256 - 2 ** (9 - int(bits)),)),
        ("Solarize", lambda threshold, _: (threshold + 1,)),
    ],
)
def test_a_slightly_wrong_operation_is_noticed(name: str, wrong: Callable[[float, int], tuple[float, ...]]) -> None:
    """The comparison above is sharp: one sign, half a pixel, a thousandth or a bit is enough."""
    assert disagreements(replace(OPERATIONS[name], prepare=wrong), name, 32)


def test_a_chain_is_its_operations_one_after_the_other() -> None:
    """Each image of a batch goes through its own chain, in the order given."""
    table = list(OPERATIONS.values())
    values = [operation.strength(11, 33) for operation in table]
    kinds = np.array([operation.kind for operation in table])
    numbers = np.array([operation.numbers(value, 33) for operation, value in zip(table, values, strict=True)])
    chains = np.random.default_rng(1).permuted(np.tile(np.arange(14), (20, 1)), axis=1)
    expected = np.repeat(digit(33)[None], 20, axis=0)
    images = expected.copy()
    operate(images, chains, kinds, numbers)
    for image, after, chain in zip(expected, images, chains, strict=True):
        for k in chain:
            image = table[k].apply(image, values[k])
        assert np.array_equal(after, image)


def test_the_table_is_torchvisions() -> None:
    """Names, order, signs and the strength of every magnitude are torchvision's, but Solarize at 0."""
    for side_px in (8, 32, 100, 128, 224):
        space = autoaugment.RandAugment()._augmentation_space(MAGNITUDES, (side_px, side_px))
        assert list(space) == list(OPERATIONS)
        for name, (bins, signed) in space.items():
            assert OPERATIONS[name].signed == signed
            expected = bins.numpy().astype(float) if bins.ndim else np.zeros(MAGNITUDES)
            ours = [OPERATIONS[name].strength(m, side_px) for m in range(MAGNITUDES)]
            first = 1 if name == "Solarize" else 0
            assert np.allclose(ours[first:], expected[first:], rtol=1e-6, atol=1e-7), name
            if name.startswith("Translate"):
                assert np.array_equal(np.trunc(ours), np.trunc(expected)), side_px


@pytest.mark.parametrize("name", GROWING)
@pytest.mark.parametrize("kind", IMAGES)
def test_magnitude_0_is_the_identity(name: str, kind: str) -> None:
    """Every operation that has a magnitude returns the image unchanged at 0."""
    image = IMAGES[kind](32)
    for sign in (1, -1) if name in SIGNED else (1,):
        strength = sign * OPERATIONS[name].strength(0, 32)
        assert np.array_equal(OPERATIONS[name].apply(image, strength), image)


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("name", GROWING)
def test_strength_grows_with_the_magnitude(name: str, sign: int) -> None:
    """The mean change of an image does not shrink from magnitude to magnitude and ends well above where it began."""
    image = cv2.addWeighted(digit(64), 0.6, cv2.GaussianBlur(noise(64), (3, 3), 0), 0.4, 0)
    signed = sign if name in SIGNED else 1
    change = [
        np.abs(OPERATIONS[name].apply(image, signed * OPERATIONS[name].strength(m, 64)).astype(int) - image).mean()
        for m in (0, 10, 20, 30)
    ]
    assert change[0] == 0
    assert all(later >= 0.98 * earlier for earlier, later in zip(change, change[1:], strict=False)), change
    assert change[-1] > 1.5 * change[1] > 0, change


@pytest.mark.parametrize("name", OPERATIONS)
def test_an_operation_leaves_its_input_alone_and_keeps_shape_and_type(name: str) -> None:
    """The input may be read-only, or a window into a larger image."""
    window = noise(48)[4:36, 7:39]
    window.flags.writeable = False
    before = window.copy()
    result = OPERATIONS[name].apply(window, OPERATIONS[name].strength(20, 32))
    assert np.array_equal(window, before)
    assert result.shape == (32, 32, 3) and result.dtype == np.uint8
    assert np.array_equal(result, OPERATIONS[name].apply(before, OPERATIONS[name].strength(20, 32)))


@pytest.mark.parametrize("name", ["AutoContrast", "Equalize", "Contrast", "Color"])
@pytest.mark.parametrize("level", [0, 77, 255])
def test_a_uniform_image_stays_uniform(name: str, level: int) -> None:
    """No statistic divides by zero where an image has one colour only."""
    image = np.full((16, 16, 3), level, np.uint8)
    assert np.array_equal(OPERATIONS[name].apply(image, 0.5), image)


def test_code_that_cannot_be_kept_on_disk_still_runs() -> None:
    """A function without a file has no cache, as one in a read-only place: it is compiled with a warning."""
    made: dict[str, Callable[[np.ndarray], None]] = {}
    exec("def double(values):\n    for i in range(len(values)):\n        values[i] *= 2", made)
    with pytest.warns(UserWarning, match="NUMBA_CACHE_DIR"):
        double = compiled(made["double"])
    values = np.arange(5)
    double(values)
    assert values.tolist() == [0, 2, 4, 6, 8]
