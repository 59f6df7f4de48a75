"""How uncertain a macro-F1 is: what it would have been with other test images of the same kind.

Every entry of a competition is resampled by the same draws, so that two of them can be compared image by image without
anybody but the judge holding labels: the difference of their F1 in draw b is what the same images say of both.
Source: B. Efron, R. Tibshirani, An Introduction to the Bootstrap, 1993, chapter 8; for classifiers on the same images:
T. Berg-Kirkpatrick et al., An Empirical Investigation of Statistical Significance in NLP, EMNLP 2012
"""

from __future__ import annotations

import base64
import zlib

import numpy as np

from harness.measure.quality import macro_f1_of_counts
from harness.seed import generator

DRAWS = 1000
CHUNK = 4_000_000
"""Images drawn at once: bounds the memory to some tens of MB."""
SCALE = 65535
"""F1 is kept as a 16-bit whole number: to 0.000015."""


def draws(labels: np.ndarray, predicted: np.ndarray, classes: int, competition: str) -> np.ndarray:
    """Return the macro-F1 of so many samples of the images, with replacement, each as large as the whole: (DRAWS,).

    labels, predicted: classes (N,). competition: its name, which seeds the draws: equal names and numbers of images are
    equal draws.
    """
    count, random = len(labels), generator(0, "bootstrap", competition)
    right = _one_hot(np.where(labels == predicted, labels, classes), classes)
    occurs = np.concatenate([right, _one_hot(labels, classes) + _one_hot(predicted, classes)], axis=1)
    at_once = max(1, CHUNK // max(1, count))
    found = []
    for first in range(0, DRAWS, at_once):
        rows = min(at_once, DRAWS - first)
        drawn = random.integers(0, count, (rows, count)) + count * np.arange(rows)[:, None]
        often = np.bincount(drawn.ravel(), minlength=rows * count).reshape(rows, count).astype(np.float32)
        counts = np.rint(often @ occurs)
        found.append(macro_f1_of_counts(counts[:, :classes], counts[:, classes:]))
    return np.concatenate(found)


def _one_hot(values: np.ndarray, classes: int) -> np.ndarray:
    return (values[:, None] == np.arange(classes)).astype(np.float32)


def f1_to_text(values: np.ndarray) -> str:
    """Pack draws of F1, 0..1, as text."""
    return base64.b64encode(np.rint(values * SCALE).astype("<u2").tobytes()).decode()


def f1_of_text(text: str) -> np.ndarray:
    """Unpack draws of F1."""
    return np.frombuffer(base64.b64decode(text), "<u2") / SCALE


def classes_to_text(predicted: np.ndarray) -> str:
    """Pack the predicted class of each image, whole numbers from 0 to 65535, as text."""
    return base64.b64encode(zlib.compress(predicted.astype("<u2").tobytes(), 9)).decode()


def classes_of_text(text: str) -> np.ndarray:
    """Unpack the predicted class of each image, int64 (N,)."""
    return np.frombuffer(zlib.decompress(base64.b64decode(text)), "<u2").astype(np.int64)
