"""How well a model classifies."""

from __future__ import annotations

import numpy as np


def confusion(labels: np.ndarray, predicted: np.ndarray, classes: int) -> np.ndarray:
    """Count images by true class (row) and predicted class (column)."""
    return np.bincount(labels * classes + predicted, minlength=classes * classes).reshape(classes, classes)


def f1_by_class(labels: np.ndarray, predicted: np.ndarray, classes: int) -> list[float | None]:
    """Return F1 of each class, 0..1; None for one that neither occurs nor is predicted."""
    return f1_by_class_of(confusion(np.asarray(labels), np.asarray(predicted), classes))


def f1_by_class_of(table: np.ndarray) -> list[float | None]:
    """Return F1 of each class of a confusion table, as `f1_by_class`."""
    right, seen = np.diag(table), table.sum(axis=0) + table.sum(axis=1)
    return [float(2 * r / s) if s else None for r, s in zip(right, seen, strict=True)]


def macro_f1(labels: np.ndarray, predicted: np.ndarray, classes: int) -> float:
    """Average F1 over the classes, 0..1.

    A class that neither occurs nor is predicted is left out, as in scikit-learn; one that occurs and is never
    predicted (or the reverse) counts 0.
    """
    return macro_f1_of(confusion(np.asarray(labels), np.asarray(predicted), classes))


def macro_f1_of(table: np.ndarray) -> float:
    """Average F1 over the classes of a confusion table, as `macro_f1`."""
    present = [f1 for f1 in f1_by_class_of(table) if f1 is not None]
    return float(np.mean(present)) if present else 0.0


def macro_f1_of_counts(right: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """Average F1 over the classes, as `macro_f1`, for many predictions at once: (..., classes) -> (...).

    right: images of a class that are predicted so. seen: how often a class occurs, and is predicted, together.
    """
    present = seen > 0
    f1 = np.divide(2.0 * right, seen, out=np.zeros(seen.shape), where=present)
    return f1.sum(axis=-1) / np.maximum(1, present.sum(axis=-1))
