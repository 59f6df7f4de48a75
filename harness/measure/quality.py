"""How well a model classifies."""

from __future__ import annotations

import numpy as np


def confusion(labels: np.ndarray, predicted: np.ndarray, classes: int) -> np.ndarray:
    """Count images by true class (row) and predicted class (column)."""
    return np.bincount(labels * classes + predicted, minlength=classes * classes).reshape(classes, classes)


def macro_f1(labels: np.ndarray, predicted: np.ndarray, classes: int) -> float:
    """Average F1 over the classes, 0..1.

    A class that neither occurs nor is predicted is left out, as in scikit-learn; one that occurs and is never
    predicted (or the reverse) counts 0.
    """
    table = confusion(np.asarray(labels), np.asarray(predicted), classes)
    right, seen = np.diag(table), table.sum(axis=0) + table.sum(axis=1)
    present = seen > 0
    return float(np.mean(2 * right[present] / seen[present])) if present.any() else 0.0
