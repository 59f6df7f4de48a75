"""The 14 operations of RandAugment on one image, with torchvision's magnitudes and Pillow's arithmetic."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np

MAGNITUDES = 31  # torchvision's num_magnitude_bins: magnitudes 0..30
_TOP = MAGNITUDES - 1
_RAMP = np.arange(256)
_SMOOTH = np.array([[1, 1, 1], [1, 5, 1], [1, 1, 1]], dtype=np.float32) / 13
# addWeighted rounds where Pillow truncates: less 0.495 both agree, for every factor in hundredths.
_TRUNCATE = -0.495


@dataclass(frozen=True)
class Operation:
    """One row of torchvision's table.

    apply: (uint8 (S, S, 3), strength) -> uint8 (S, S, 3); its input is never written.
    strength: (magnitude 0..30, side in px) -> what `apply` takes. signed: the strength may also be negated.
    """

    apply: Callable[[np.ndarray, float], np.ndarray]
    strength: Callable[[int, int], float]
    signed: bool


@lru_cache(maxsize=32)
def _map(matrix: tuple[float, ...], side_px: int) -> np.ndarray:
    """Find the source pixel (x, y) of every output pixel, int16 (S, S, 2), in Pillow's 16.16 fixed point."""
    a, b, c, d, e, f = matrix
    x = np.arange(side_px)
    y = x[:, None]
    centred = (a, b, c + (a + b) / 2, d, e, f + (d + e) / 2)
    a, b, c, d, e, f = (math.floor(v * 65536 + 0.5) for v in centred)
    return np.stack([(a * x + b * y + c) >> 16, (d * x + e * y + f) >> 16], axis=-1).astype(np.int16)


def _warp(image: np.ndarray, *matrix: float) -> np.ndarray:
    """Sample the nearest pixel at matrix · (x, y, 1); black outside."""
    return cv2.remap(image, _map(matrix, len(image)), None, cv2.INTER_NEAREST, borderMode=cv2.BORDER_CONSTANT)


def _rotate(image: np.ndarray, degrees: float) -> np.ndarray:
    """Turn counter-clockwise about the middle."""
    cos, sin, middle = math.cos(math.radians(degrees)), math.sin(math.radians(degrees)), len(image) / 2
    return _warp(image, cos, -sin, middle * (1 - cos + sin), sin, cos, middle * (1 - cos - sin))


@lru_cache(maxsize=1024)
def _blend_table(base: int, factor: float) -> np.ndarray:
    """Tabulate base + factor · (value - base), truncated."""
    return np.clip(base + np.float32(factor) * (_RAMP - base).astype(np.float32), 0, 255).astype(np.uint8)


def _brightness(image: np.ndarray, strength: float) -> np.ndarray:
    return cv2.LUT(image, _blend_table(0, 1 + strength))


def _color(image: np.ndarray, strength: float) -> np.ndarray:
    grey = cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    return cv2.addWeighted(image, 1 + strength, grey, -strength, _TRUNCATE)


def _contrast(image: np.ndarray, strength: float) -> np.ndarray:
    mean = cv2.mean(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY))[0]
    return cv2.LUT(image, _blend_table(int(mean + 0.5), 1 + strength))


def _sharpness(image: np.ndarray, strength: float) -> np.ndarray:
    """Blend with the smoothed image; the outermost pixels stay as they are."""
    inner = np.s_[1:-1, 1:-1]
    sharp = image.copy()
    smooth = cv2.filter2D(image, -1, _SMOOTH)
    sharp[inner] = cv2.addWeighted(image[inner], 1 + strength, smooth[inner], -strength, _TRUNCATE)
    return sharp


def _posterize(image: np.ndarray, bits: float) -> np.ndarray:
    return image & np.uint8(256 - (1 << (8 - int(bits))))


@lru_cache(maxsize=64)
def _solarize_table(threshold: float) -> np.ndarray:
    return np.where(threshold > _RAMP, _RAMP, 255 - _RAMP).astype(np.uint8)


def _solarize(image: np.ndarray, threshold: float) -> np.ndarray:
    return cv2.LUT(image, _solarize_table(threshold))


def _through(image: np.ndarray, tables: np.ndarray) -> np.ndarray:
    """Look every channel up in its own row of tables (3, 256)."""
    return cv2.LUT(image, np.ascontiguousarray(tables.astype(np.uint8).T)[None])


def _autocontrast(image: np.ndarray, _: float) -> np.ndarray:
    """Stretch each channel to 0..255; a constant channel stays."""
    # Whole rows first: far faster than a reduction over pixels of three values.
    rows = image.reshape(len(image), -1)
    low = rows.min(axis=0).reshape(-1, 3).min(axis=0)[:, None].astype(float)
    high = rows.max(axis=0).reshape(-1, 3).max(axis=0)[:, None].astype(float)
    flat = high == low
    scale = np.where(flat, 1, 255 / np.maximum(high - low, 1))
    return _through(image, np.clip(_RAMP * scale - np.where(flat, 0, low * scale), 0, 255))


def _equalize(image: np.ndarray, _: float) -> np.ndarray:
    """Flatten each channel's histogram in Pillow's whole steps; a channel with too few pixels for a step stays."""
    counts = np.array([cv2.calcHist([image], [c], None, [256], [0, 256]).ravel() for c in range(3)]).astype(np.int64)
    brightest = 255 - np.argmax(counts[:, ::-1] > 0, axis=1)
    step = (counts.sum(axis=1) - counts[np.arange(3), brightest])[:, None] // 255
    below = np.cumsum(counts, axis=1) - counts
    levels = np.minimum((below + step // 2) // np.maximum(step, 1), 255)
    return _through(image, np.where(step > 0, levels, _RAMP))


def _up_to(top: float) -> Callable[[int, int], float]:
    return lambda m, side_px: top * m / _TOP


def _share(m: int, side_px: int) -> float:
    return 150 / 331 * side_px * m / _TOP


# Source: torchvision.transforms.RandAugment._augmentation_space; only solarize at 0 is changed (256: no pixel).
OPERATIONS: dict[str, Operation] = {
    "Identity": Operation(lambda image, _: image, _up_to(0), False),
    "ShearX": Operation(lambda image, k: _warp(image, 1, k, 0, 0, 1, 0), _up_to(0.3), True),
    "ShearY": Operation(lambda image, k: _warp(image, 1, 0, 0, k, 1, 0), _up_to(0.3), True),
    "TranslateX": Operation(lambda image, px: _warp(image, 1, 0, -int(px), 0, 1, 0), _share, True),
    "TranslateY": Operation(lambda image, px: _warp(image, 1, 0, 0, 0, 1, -int(px)), _share, True),
    "Rotate": Operation(_rotate, _up_to(30), True),
    "Brightness": Operation(_brightness, _up_to(0.9), True),
    "Color": Operation(_color, _up_to(0.9), True),
    "Contrast": Operation(_contrast, _up_to(0.9), True),
    "Sharpness": Operation(_sharpness, _up_to(0.9), True),
    "Posterize": Operation(_posterize, lambda m, _: 8 - round(m * 4 / _TOP), False),
    "Solarize": Operation(_solarize, lambda m, _: 255 * (_TOP - m) / _TOP if m else 256, False),
    "AutoContrast": Operation(_autocontrast, _up_to(0), False),
    "Equalize": Operation(_equalize, _up_to(0), False),
}
