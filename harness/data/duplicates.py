"""One photograph that stands in a data set more than once: in two classes, or in two parts."""

from __future__ import annotations

from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import Any

import cv2
import numpy as np

from harness.data.split import Dataset
from harness.processors import cores

NEAR_BITS = 10  # of 64 that may differ between copies: only these pairs are looked at
NEAR_PIXELS = 0.18  # root mean square difference of two thumbnails, as a share of their contrast
NEAR_COLOUR = 24.0  # difference of their mean colours, of 255
SIDE_PX = 32  # of the thumbnail that is hashed
COARSE_PX = 16  # of the one that is compared: edges of copies of other sizes don't stand at the very same place
MOST = 100_000  # images that are all held against each other; of more only those with equal hashes
MOST_PAIRS = 500_000  # of images with near hashes that are looked at; scans of one kind have many
BESIDE = 8  # of the images with one hash, each is held against so many neighbours: empty pictures all have one
BLACK = 12  # of 255: the bars that made an image square, after it was stored as a JPEG too
BLOCK = 64  # rows of the table of pairs: what stays in a processor's cache


@dataclass(frozen=True)
class Copies:
    """One photograph by its names; parts and classes of each. exact: whether they are the same pixel by pixel."""

    names: tuple[str, ...]
    parts: tuple[str, ...]
    classes: tuple[str, ...]
    exact: bool

    @property
    def harmful(self) -> bool:
        """Whether it has two labels, or is learnt from and judged by."""
        return len(set(self.classes)) > 1 or len(set(self.parts)) > 1

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return asdict(self)


def find(dataset: Dataset) -> tuple[list[Copies], bool]:
    """Find the photographs that a data set holds more than once: copies of other size, quality or brightness too.

    dataset: one with the labels of all parts. Returns them, and whether all pairs were looked at: not so of very many.
    Turned, mirrored and cut ones are not found. 50,000 images take seconds.
    """
    rows = [
        (name, part, dataset.classes[label], image)
        for part, images in (("train", dataset.train), ("validation", dataset.validation), ("test", dataset.test))
        for name, label, image in zip(images.names, images.labels, images.pixels, strict=True)
    ]
    small = np.stack([_thumbnail(row[3]) for row in rows])
    coarse = np.stack([_shrunk(image, COARSE_PX) for image in small])
    hashes = perceptual_hashes(small)
    close, whole = _close(hashes)
    pairs = np.concatenate([_equal(hashes, coarse), close])
    found = []
    for group in _groups(pairs[_near(coarse, pairs)]):
        names, parts, classes, pixels = zip(*(rows[k] for k in group), strict=True)
        found.append(Copies(names, parts, classes, exact=all(np.array_equal(pixels[0], other) for other in pixels)))
    return found, whole


def _thumbnail(image: np.ndarray) -> np.ndarray:
    """Shrink an image without the black bars that made it square."""
    if image[0].max() <= BLACK or image[:, 0].max() <= BLACK:
        rows, columns = (np.flatnonzero(image.max(axis=axes) > BLACK) for axes in ((1, 2), (0, 2)))
        if len(rows):
            image = image[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    return _shrunk(image, SIDE_PX)


def _shrunk(image: np.ndarray, side_px: int) -> np.ndarray:
    return cv2.resize(image, (side_px, side_px), interpolation=cv2.INTER_AREA)


def perceptual_hashes(pixels: np.ndarray) -> np.ndarray:
    """Hash uint8 (N, S, S, 3) to uint64 (N,): the signs of the 64 lowest frequencies around their median.

    Source: C. Zauner, Implementation and Benchmarking of Perceptual Image Hash Functions, 2010, section 3.2.1 (pHash)
    """
    powers = np.uint64(1) << np.arange(64, dtype=np.uint64)
    hashes = np.empty(len(pixels), dtype=np.uint64)
    for i, image in enumerate(pixels):
        low = cv2.dct(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32))[1:9, 1:9].ravel()
        hashes[i] = powers[low > np.median(low)].sum()
    return hashes


def _equal(hashes: np.ndarray, coarse: np.ndarray) -> np.ndarray:
    """Return pairs (P, 2) of images with one hash: each with its neighbours by brightness."""
    order = np.lexsort((coarse.reshape(len(coarse), -1).mean(axis=1), hashes))
    steps = [(order[:-step], order[step:]) for step in range(1, min(BESIDE, len(order) - 1) + 1)]
    pairs = [np.stack(sides, axis=1)[hashes[sides[0]] == hashes[sides[1]]] for sides in steps]
    return np.concatenate([np.empty((0, 2), dtype=np.int64), *pairs])


def _close(hashes: np.ndarray) -> tuple[np.ndarray, bool]:
    """Return pairs (P, 2) of images with near hashes, one for each hash; and whether these are all."""
    kinds, first = np.unique(hashes, return_index=True)

    most = max(1000, MOST_PAIRS * BLOCK // max(1, len(kinds)))  # a block, for memory's sake

    def near(start: int) -> tuple[np.ndarray, int]:
        block = kinds[start : start + BLOCK]
        found = np.argwhere(np.bitwise_count(block[:, None] ^ kinds[None, start:]) <= NEAR_BITS)
        found = found[found[:, 1] > found[:, 0]]
        return first[start + found[:most]], max(0, len(found) - most)

    pairs, left = [np.empty((0, 2), dtype=np.int64)], 0
    if len(hashes) > MOST:
        return pairs[0], False
    with ThreadPoolExecutor(cores()) as pool:
        for found, more in pool.map(near, range(0, len(kinds), BLOCK)):
            pairs.append(found)
            left += more
    return np.concatenate(pairs), not left


def _near(coarse: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    """Tell which pairs (P, 2) show one photograph, by thumbnails, uint8 (N, C, C, 3), whatever their brightness."""
    near = np.zeros(len(pairs), dtype=bool)
    for start in range(0, len(pairs), 4096):
        one, other = (coarse[pairs[start : start + 4096, side]].astype(np.float32) for side in (0, 1))
        means = [image.mean(axis=(1, 2), keepdims=True) for image in (one, other)]
        one, other = one - means[0], other - means[1]
        contrast = np.sqrt(np.maximum((one**2).mean(axis=(1, 2, 3)), (other**2).mean(axis=(1, 2, 3))))
        apart = np.sqrt(((one - other) ** 2).mean(axis=(1, 2, 3)))
        colour = np.abs(means[0] - means[1]).max(axis=(1, 2, 3))
        flat = contrast < 1  # a plain picture is another's copy only in its very colour
        near[start : start + 4096] = np.where(
            flat, colour < 1, (apart <= NEAR_PIXELS * contrast) & (colour <= NEAR_COLOUR)
        )
    return near


def _groups(pairs: np.ndarray) -> list[list[int]]:
    """Join pairs that share an image: sorted positions, first by first."""
    parent: dict[int, int] = {}

    def root(k: int) -> int:
        while parent.setdefault(k, k) != k:
            parent[k] = parent[parent[k]]
            k = parent[k]
        return k

    for one, other in pairs.tolist():
        one, other = sorted((root(one), root(other)))
        parent[other] = one
    members = defaultdict(list)
    for k in sorted(parent):
        members[root(k)].append(k)
    return [members[k] for k in sorted(members)]
