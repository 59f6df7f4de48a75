"""From photographs to stored squares: decode, cut out, pad; which boxes to leave out."""

from __future__ import annotations

import io
import math
import warnings
from functools import cache

import cv2
import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

MAX_MEGAPIXELS = 100
HEIC = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
"""Brands of HEIC files. Source: https://www.iana.org/assignments/media-types/image/heic"""


def decode(data: bytes) -> np.ndarray:
    """Decode an image file once, upright by its EXIF orientation, to uint8 (H, W, 3) RGB.

    Raises:
        ValueError: the file is no usable image; the message is the reason.
    """
    return np.asarray(ImageOps.exif_transpose(as_stored(data)).convert("RGB"))


def as_stored(data: bytes) -> Image.Image:
    """Open an image file as it is stored, not yet turned.

    Raises:
        ValueError: the file is no usable image; the message is the reason.
    """
    if not data:
        raise ValueError("empty file")
    heic = data[4:8] == b"ftyp" and data[8:12] in HEIC
    if heic and not reads_heic():
        raise ValueError("HEIC, which is read where pillow-heif is: pip install pillow-heif")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # our own limit is below
            image = Image.open(io.BytesIO(data))
    except UnidentifiedImageError:
        avif = data[4:12] == b"ftypavif"
        # Pillow's text holds a memory address
        raise ValueError(
            "AVIF, which this Pillow can't read: pip install -U pillow" if avif else "not an image"
        ) from None
    megapixels = image.width * image.height / 1e6
    if megapixels > MAX_MEGAPIXELS:
        raise ValueError(f"{megapixels:.0f} megapixels, over {MAX_MEGAPIXELS}")
    if image.mode.startswith(("I", "F")):
        raise ValueError(f"more than 8 bits a channel (mode {image.mode})")  # convert() would clip it to white
    return image


@cache
def reads_heic() -> bool:
    """Teach Pillow to read HEIC where pillow-heif is; tell whether it can."""
    try:
        import pillow_heif
    except ImportError:
        return False
    pillow_heif.register_heif_opener()
    return True


def square(image: np.ndarray, side_px: int) -> np.ndarray:
    """Scale the longer side to side_px, then centre on a black square (the course's SquarePad)."""
    height, width = image.shape[:2]
    scale = side_px / max(height, width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    small = image if scale == 1 else cv2.resize(image, size, interpolation=how)
    top, left = (side_px - size[1]) // 2, (side_px - size[0]) // 2
    canvas = np.zeros((side_px, side_px, 3), dtype=np.uint8)
    canvas[top : top + size[1], left : left + size[0]] = small
    return canvas


def cut_out(photo: np.ndarray, box: np.ndarray, margin: float) -> np.ndarray:
    """Cut a box (x, y, width, height in px) with a margin (share of its longer side), clipped at the edge."""
    x, y, width, height = (float(v) for v in box)
    extra = margin * max(width, height)
    rows = slice(max(0, math.floor(y - extra)), math.ceil(y + height + extra))
    columns = slice(max(0, math.floor(x - extra)), math.ceil(x + width + extra))
    return photo[rows, columns]


def unusable(boxes: np.ndarray) -> np.ndarray:
    """Mark boxes (N, 4) without an area."""
    return ~(np.isfinite(boxes).all(axis=1) & (boxes[:, 2:] > 0).all(axis=1))


def too_small(boxes: np.ndarray, min_side_px: float, min_longer_px: float) -> np.ndarray:
    """Mark boxes whose shorter or longer side is under its limit."""
    sides = boxes[:, 2:]
    return (sides.min(axis=1) < min_side_px) | (sides.max(axis=1) < min_longer_px)


def too_long(boxes: np.ndarray, max_aspect: float) -> np.ndarray:
    """Mark boxes whose longer side is over max_aspect times the shorter."""
    sides = boxes[:, 2:]
    return sides.max(axis=1) > max_aspect * sides.min(axis=1)


def overlapping(boxes: np.ndarray, iou: float) -> np.ndarray:
    """Mark the larger of any two boxes of one photograph with an IoU over the threshold.

    From the smallest up, each box is held against those kept: a box goes only for a smaller one that stays.
    """
    drop = np.zeros(len(boxes), dtype=bool)
    kept: list[int] = []
    for i in np.argsort(boxes[:, 2] * boxes[:, 3], kind="stable"):
        drop[i] = bool(kept) and bool((overlap(boxes[i], boxes[kept]) > iou).any())
        if not drop[i]:
            kept.append(int(i))
    return drop


def overlap(box: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Return the intersection over union of one box (4,) with others (N, 4)."""
    low = np.maximum(box[:2], others[:, :2])
    high = np.minimum(box[:2] + box[2:], others[:, :2] + others[:, 2:])
    common = np.prod(np.clip(high - low, 0, None), axis=1)
    return common / (np.prod(box[2:]) + np.prod(others[:, 2:], axis=1) - common)


def rare(labels: np.ndarray, least: int) -> np.ndarray:
    """Mark the members of classes with fewer than `least` members."""
    _, inverse, counts = np.unique(labels, return_inverse=True, return_counts=True)
    return counts[inverse] < least
