"""Scikit-learn's handwritten digits: the data set that is always there."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import distribution

import numpy as np

from harness.data.prepare import resize
from harness.data.split import Dataset, Images, cut

TABLE = "sklearn/datasets/data/digits.csv.gz"
"""In scikit-learn's distribution: 64 grey values of 0 to 16 and the digit, a row an image. Its own reader imports for a
second."""


@dataclass
class DigitsOptions:
    """Options of `data=digits`.

    validation: share of the non-test images. test: share of all images. side_px: stored side (8 px in the source).
    """

    seed: int = 0
    validation: float = 0.2
    test: float = 0.2
    side_px: int = 16


def load(options: DigitsOptions) -> Dataset:
    """Read the 1,797 digits as grey RGB squares, cut by class and seed.

    Source: https://archive.ics.uci.edu/dataset/80 (the test part, as shipped in scikit-learn).
    """
    table = np.loadtxt(str(distribution("scikit-learn").locate_file(TABLE)), delimiter=",", dtype=np.uint8)
    grey = np.rint(table[:, :-1].reshape(-1, 8, 8) * (255 / 16)).astype(np.uint8)
    pixels = resize(np.repeat(grey[..., None], 3, axis=3), options.side_px)
    names = tuple(f"digits-{i:05d}" for i in range(len(grey)))
    images = Images(pixels, table[:, -1].astype(np.int64), names)
    shares = (options.test, (1 - options.test) * options.validation)
    test, validation, train = cut(images.labels, shares, options.seed)
    classes = tuple(map(str, range(10)))
    kept = dict(zip(classes, np.bincount(images.labels).tolist(), strict=True))
    report = {"read": len(images), "kept": kept}
    return Dataset("digits", classes, images.take(train), images.take(validation), images.take(test), report)
