"""The 14 operations of RandAugment, compiled for batches, with torchvision's magnitudes and Pillow's arithmetic.

Every value is Pillow's to the bit. What runs is `operate`; all it calls stands in this file, because numba's cache on
disk notices a change of this file only.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numba import njit

MAGNITUDES = 31  # torchvision's num_magnitude_bins: magnitudes 0..30
NUMBERS = 6  # as many as an affine map has
_TOP = MAGNITUDES - 1

# What the compiled code can do; the 14 operations are these with other numbers.
_KEEP, _WARP, _BRIGHTNESS, _COLOR, _CONTRAST, _SHARPNESS, _POSTERIZE, _SOLARIZE, _AUTOCONTRAST, _EQUALIZE = range(10)


def compiled(function: Callable[..., None]) -> Callable[..., None]:
    """Compile at the first call, to run without the interpreter's lock; the result stays on disk for the next process.

    Where neither this folder nor the user's cache can be written, each process compiles for itself and says so.
    """
    try:
        return njit(nogil=True, cache=True)(function)
    except RuntimeError as cause:
        warnings.warn(f"{cause}; each process compiles it anew: set NUMBA_CACHE_DIR", stacklevel=2)
        return njit(nogil=True)(function)


@compiled
def operate(images: np.ndarray, steps: np.ndarray, kinds: np.ndarray, numbers: np.ndarray) -> None:
    """Apply each image's own chain of operations, in place, without the interpreter's lock.

    images: uint8 (B, S, S, 3), C-contiguous, S at least 4. steps: int64 (B, n), the chain as rows of the table.
    kinds: int64 (R,), numbers: float64 (R, NUMBERS): the table, from `Operation.kind` and `Operation.numbers`.

    Raises:
        ValueError: other shapes, or a step that isn't in the table: compiled code would read beside the arrays.
    """
    side_px = images.shape[1]
    if images.shape[2] != side_px or images.shape[3] != 3 or len(steps) != len(images) or len(kinds) != len(numbers):
        raise ValueError("expected images (B, S, S, 3), steps (B, n), kinds (R,) and numbers (R, NUMBERS)")
    flat = images.reshape(len(images), side_px * side_px * 3)
    # An image and its successor: at 32 px both stay in the first cache.
    space = np.empty((2, flat.shape[1]), np.uint8)
    tables = np.empty((3, 256), np.uint8)
    counts = np.empty((3, 256), np.int32)
    for i in range(len(flat)):
        image, other = space[0], space[1]
        _copy(image, flat[i])
        for step in steps[i]:
            if not 0 <= step < len(kinds):
                raise ValueError("step outside the table")
            kind, row = kinds[step], numbers[step]
            if kind == _WARP:
                _warp(other, image, side_px, row)
                image, other = other, image
            elif kind == _SHARPNESS:
                _sharpness(other, image, side_px, np.float32(row[0]))
                image, other = other, image
            else:
                _change(image, other, side_px, kind, np.float32(row[0]), tables, counts)
        _copy(flat[i], image)


# Below, an image is its S * S * 3 bytes in one row. Slices that start at 0 let the compiler use vector instructions:
# of an index like j - 3 it cannot know that it isn't negative.


@njit
def _change(
    image: np.ndarray,
    spare: np.ndarray,
    side_px: int,
    kind: int,
    number: float,
    tables: np.ndarray,
    counts: np.ndarray,
) -> None:
    """Carry out an operation that needs no second image."""
    if kind == _BRIGHTNESS:
        _blend(image, np.float32(0), number)
    elif kind == _COLOR:
        _color(image, number)
    elif kind == _CONTRAST:
        _contrast(image, number)
    elif kind == _POSTERIZE:
        _posterize(image, np.uint8(number))
    elif kind == _SOLARIZE:
        _solarize(image, number)
    elif kind == _AUTOCONTRAST:
        _autocontrast(image, spare, side_px, tables)
    elif kind == _EQUALIZE:
        _equalize(image, tables, counts)


@njit
def _copy(target: np.ndarray, source: np.ndarray) -> None:
    for j in range(len(target)):
        target[j] = source[j]


@njit
def _warp(target: np.ndarray, image: np.ndarray, side_px: int, matrix: np.ndarray) -> None:
    """Sample the nearest pixel at matrix · (x, y, 1), in 16.16 fixed point; black outside."""
    a, b, c = int(matrix[0]), int(matrix[1]), int(matrix[2])
    d, e, f = int(matrix[3]), int(matrix[4]), int(matrix[5])
    width, end = 3 * side_px, side_px << 16
    for y in range(side_px):
        begin, u, v = y * width, b * y + c, e * y + f
        first, last = 0, side_px
        while first < last and not _inside(u + a * first, v + d * first, end):
            first += 1
        while first < last and not _inside(u + a * (last - 1), v + d * (last - 1), end):
            last -= 1
        target[begin : begin + 3 * first] = 0
        target[begin + 3 * last : begin + width] = 0
        u, v = u + a * first, v + d * first
        if a == 65536 and d == 0:  # a whole row moves
            _run(target, begin + 3 * first, image, (v >> 16) * width + 3 * (u >> 16), 3 * (last - first))
            continue
        for x in range(first, last):
            _run(target, begin + 3 * x, image, (v >> 16) * width + 3 * (u >> 16), 3)
            u, v = u + a, v + d


@njit
def _run(target: np.ndarray, begin: int, image: np.ndarray, source: int, count: int) -> None:
    """Copy bytes; unsigned, because of a signed index the compiler asks each time whether it counts from the end."""
    to, of = np.uint64(begin), np.uint64(source)
    for j in range(np.uint64(count)):
        target[to + j] = image[of + j]


@njit
def _inside(u: int, v: int, end: int) -> bool:
    return 0 <= u < end and 0 <= v < end


@njit
def _blended(base: float, value: float, factor: float) -> int:
    """Go from base towards value and, with a factor above 1, beyond; truncate. All float32, as Pillow does it."""
    mixed = base + factor * (value - base)
    return np.uint8(np.int32(min(max(mixed, np.float32(0)), np.float32(255))))


@njit
def _blend(image: np.ndarray, base: float, factor: float) -> None:
    for j in range(len(image)):
        image[j] = _blended(base, np.float32(image[j]), factor)


@njit
def _grey(image: np.ndarray, j: int) -> float:
    """Weigh the pixel at byte j as Pillow does; every sum stays below 2 ** 24, so float32 holds it exactly."""
    red, green, blue = np.float32(image[j]), np.float32(image[j + 1]), np.float32(image[j + 2])
    total = np.float32(19595) * red + np.float32(38470) * green + np.float32(7471) * blue + np.float32(32768)
    return np.float32(np.int32(total * np.float32(1 / 65536)))


@njit
def _color(image: np.ndarray, factor: float) -> None:
    for pixel in range(len(image) // 3):
        j = 3 * pixel
        grey = _grey(image, j)
        image[j] = _blended(grey, np.float32(image[j]), factor)
        image[j + 1] = _blended(grey, np.float32(image[j + 1]), factor)
        image[j + 2] = _blended(grey, np.float32(image[j + 2]), factor)


@njit
def _contrast(image: np.ndarray, factor: float) -> None:
    total, pixels = 0, len(image) // 3
    for pixel in range(pixels):
        total += np.int32(_grey(image, 3 * pixel))
    _blend(image, np.float32(int(total / pixels + 0.5)), factor)


@njit
def _sharpness(target: np.ndarray, image: np.ndarray, side_px: int, factor: float) -> None:
    """Blend with the image smoothed by (1 1 1, 1 5 1, 1 1 1) / 13; the outermost pixels stay as they are."""
    width = 3 * side_px
    sums = np.empty(width, np.float32)
    left, middle, right = sums[:-6], sums[3:-3], sums[6:]
    _copy(target[:width], image[:width])
    _copy(target[-width:], image[-width:])
    for y in range(1, side_px - 1):
        above, here, below = _row(image, y - 1, width), _row(image, y, width), _row(image, y + 1, width)
        row = _row(target, y, width)
        for j in range(width):
            sums[j] = np.float32(above[j]) + np.float32(here[j]) + np.float32(below[j])
        _copy(row[:3], here[:3])
        _copy(row[-3:], here[-3:])
        inner, result = here[3:-3], row[3:-3]
        for j in range(len(inner)):
            value = np.float32(inner[j])
            total = left[j] + middle[j] + right[j] + np.float32(4) * value
            # Thirteenths are never halves, so the rounded quotient is safe from float32's own rounding.
            smooth = np.float32(np.int32((total + np.float32(6.5)) * np.float32(1 / 13)))
            result[j] = _blended(smooth, value, factor)


@njit
def _row(image: np.ndarray, y: int, width: int) -> np.ndarray:
    return image[y * width : (y + 1) * width]


@njit
def _posterize(image: np.ndarray, mask: int) -> None:
    for j in range(len(image)):
        image[j] &= mask


@njit
def _solarize(image: np.ndarray, threshold: float) -> None:
    for j in range(len(image)):
        value = image[j]
        image[j] = value if value < threshold else ~value


@njit
def _look_up(image: np.ndarray, tables: np.ndarray) -> None:
    for pixel in range(len(image) // 3):
        j = 3 * pixel
        image[j] = tables[0, image[j]]
        image[j + 1] = tables[1, image[j + 1]]
        image[j + 2] = tables[2, image[j + 2]]


@njit
def _autocontrast(image: np.ndarray, spare: np.ndarray, side_px: int, tables: np.ndarray) -> None:
    """Stretch each channel to 0..255; a constant channel stays."""
    width = 3 * side_px
    lowest, highest = _row(spare, 0, width), _row(spare, 1, width)
    _copy(lowest, image[:width])
    _copy(highest, image[:width])
    for y in range(1, side_px):  # down the columns first: whole vectors at a time
        row = _row(image, y, width)
        for j in range(width):
            lowest[j] = min(lowest[j], row[j])
            highest[j] = max(highest[j], row[j])
    for channel in range(3):
        low, high = np.int64(lowest[channel::3].min()), np.int64(highest[channel::3].max())
        scale = 255 / (high - low) if high > low else 1.0
        offset = -low * scale if high > low else 0.0
        for value in range(256):
            tables[channel, value] = np.uint8(np.int32(min(max(value * scale + offset, 0.0), 255.0)))
    _look_up(image, tables)


@njit
def _equalize(image: np.ndarray, tables: np.ndarray, counts: np.ndarray) -> None:
    """Flatten each channel's histogram in Pillow's whole steps; a channel with too few pixels for a step stays."""
    pixels = len(image) // 3
    counts[:] = 0
    for pixel in range(pixels):
        j = 3 * pixel
        counts[0, image[j]] += 1
        counts[1, image[j + 1]] += 1
        counts[2, image[j + 2]] += 1
    for channel in range(3):
        brightest = 255
        while counts[channel, brightest] == 0:
            brightest -= 1
        step = (pixels - counts[channel, brightest]) // 255
        share, below = 1 / max(step, 1), step // 2
        for value in range(256):
            # below // step: with half a pixel more, the rounding of the share cannot matter.
            level = np.uint8(np.int32(min((below + 0.5) * share, 255.0)))
            tables[channel, value] = level if step else value
            below += counts[channel, value]
    _look_up(image, tables)


@dataclass(frozen=True)
class Operation:
    """One row of torchvision's table.

    kind: what the compiled code does. strength: (magnitude 0..30, side in px) -> torchvision's strength.
    signed: the strength may also be negated. prepare: (strength, side in px) -> the numbers the compiled code takes.
    """

    kind: int
    strength: Callable[[int, int], float]
    signed: bool
    prepare: Callable[[float, int], tuple[float, ...]]

    def numbers(self, strength: float, side_px: int) -> np.ndarray:
        """Return what `operate` takes for this strength, float64 (NUMBERS,)."""
        values = self.prepare(strength, side_px)
        return np.array(values + (0.0,) * (NUMBERS - len(values)))

    def apply(self, image: np.ndarray, strength: float) -> np.ndarray:
        """Change one image: uint8 (S, S, 3), S at least 4, not modified. Returns a new array of the same shape."""
        result = np.array(image[None], order="C")
        row = np.zeros((1, 1), np.int64)
        operate(result, row, np.array([self.kind]), self.numbers(strength, len(image))[None])
        return result[0]


def _step(first: float, last: float, m: int) -> float:
    """Return the m-th of MAGNITUDES even steps, rounded to float32 as torch.linspace does it: that shows in pixels."""
    step = float((np.float32(last) - np.float32(first)) / np.float32(_TOP))
    near, far = float(np.float32(first)), float(np.float32(last))
    return float(np.float32(near + step * m if m < MAGNITUDES // 2 else far - step * (_TOP - m)))


def _up_to(top: float) -> Callable[[int, int], float]:
    return lambda m, side_px: _step(0, top, m)


def _share(m: int, side_px: int) -> float:
    return _step(0, 150 / 331 * side_px, m)


def _fixed(*matrix: float) -> tuple[float, ...]:
    """Centre an affine map on the pixels and write it in 16.16 fixed point."""
    a, b, c, d, e, f = matrix
    return tuple(float(math.floor(v * 65536 + 0.5)) for v in (a, b, c + (a + b) / 2, d, e, f + (d + e) / 2))


def _turn(degrees: float, side_px: int) -> tuple[float, ...]:
    """Turn counter-clockwise about the middle."""
    cos, sin, middle = math.cos(math.radians(degrees)), math.sin(math.radians(degrees)), side_px / 2
    return _fixed(cos, -sin, middle * (1 - cos + sin), sin, cos, middle * (1 - cos - sin))


def _nothing(_: float, side_px: int) -> tuple[float, ...]:
    return ()


def _factor(strength: float, _: int) -> tuple[float, ...]:
    return (1 + strength,)


# Source: torchvision.transforms.RandAugment._augmentation_space; only solarize at 0 is changed (256: no pixel).
OPERATIONS: dict[str, Operation] = {
    "Identity": Operation(_KEEP, _up_to(0), False, _nothing),
    "ShearX": Operation(_WARP, _up_to(0.3), True, lambda k, _: _fixed(1, k, 0, 0, 1, 0)),
    "ShearY": Operation(_WARP, _up_to(0.3), True, lambda k, _: _fixed(1, 0, 0, k, 1, 0)),
    "TranslateX": Operation(_WARP, _share, True, lambda px, _: _fixed(1, 0, -int(px), 0, 1, 0)),
    "TranslateY": Operation(_WARP, _share, True, lambda px, _: _fixed(1, 0, 0, 0, 1, -int(px))),
    "Rotate": Operation(_WARP, _up_to(30), True, _turn),
    "Brightness": Operation(_BRIGHTNESS, _up_to(0.9), True, _factor),
    "Color": Operation(_COLOR, _up_to(0.9), True, _factor),
    "Contrast": Operation(_CONTRAST, _up_to(0.9), True, _factor),
    "Sharpness": Operation(_SHARPNESS, _up_to(0.9), True, _factor),
    "Posterize": Operation(
        _POSTERIZE, lambda m, _: 8 - round(m * 4 / _TOP), False, lambda bits, _: (256 - 2 ** (8 - int(bits)),)
    ),
    "Solarize": Operation(_SOLARIZE, lambda m, _: _step(255, 0, m) if m else 256, False, lambda t, _: (t,)),
    "AutoContrast": Operation(_AUTOCONTRAST, _up_to(0), False, _nothing),
    "Equalize": Operation(_EQUALIZE, _up_to(0), False, _nothing),
}
