"""From stored images to the network's input: the one way, for trials, packing and the judge."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import cv2
import numpy as np


@dataclass(frozen=True)
class Preprocessing:
    """What stands between an image and the network.

    resolution_px: side of the square input. mean, std: per channel, of pixels scaled to 0..1.
    """

    resolution_px: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, raw: dict[str, Any]) -> Preprocessing:
        """Rebuild from plain JSON values."""
        return cls(int(raw["resolution_px"]), tuple(raw["mean"]), tuple(raw["std"]))


def resize(pixels: np.ndarray, resolution_px: int) -> np.ndarray:
    """Resize uint8 (N, S, S, 3) to (N, R, R, 3): area averaging down, bilinear up."""
    side = pixels.shape[1]
    if side == resolution_px:
        return pixels
    how = cv2.INTER_AREA if resolution_px < side else cv2.INTER_LINEAR
    out = np.empty((len(pixels), resolution_px, resolution_px, 3), dtype=np.uint8)
    for i, image in enumerate(pixels):
        out[i] = cv2.resize(image, (resolution_px, resolution_px), interpolation=how)
    return out


def statistics(pixels: np.ndarray) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return per-channel mean and standard deviation of pixels scaled to 0..1."""
    flat = pixels.reshape(-1, 3)[:: max(1, pixels.size // 3 // 4_000_000)] / np.float32(255)
    mean, std = flat.mean(axis=0), flat.std(axis=0)
    return tuple(round(float(m), 4) for m in mean), tuple(round(max(float(s), 1e-3), 4) for s in std)


def prepare(pixels: np.ndarray, how: Preprocessing) -> np.ndarray:
    """Turn uint8 (N, S, S, 3) into the network's float32 (N, 3, R, R)."""
    scale = np.float32(1) / (np.float32(255) * np.asarray(how.std, dtype=np.float32))
    shift = np.asarray(how.mean, dtype=np.float32) / np.asarray(how.std, dtype=np.float32)
    out = np.empty((len(pixels), 3, how.resolution_px, how.resolution_px), dtype=np.float32)
    for i in range(0, len(pixels), 256):  # the result is large enough: no second copy of the whole
        part = resize(pixels[i : i + 256], how.resolution_px).astype(np.float32) * scale - shift
        out[i : i + 256] = part.transpose(0, 3, 1, 2)
    return out
