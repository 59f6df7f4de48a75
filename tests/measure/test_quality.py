"""Macro F1 as scikit-learn counts it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import confusion_matrix, f1_score

from harness.measure.quality import confusion, macro_f1


@st.composite
def cases(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, int]:
    """Draw labels and predictions, often with classes that never come."""
    classes = draw(st.integers(2, 8))
    label = st.integers(0, classes - 1)
    pairs = draw(st.lists(st.tuples(label, label), min_size=1, max_size=60))
    labels, predicted = np.array(pairs).T
    return labels, predicted, classes


@given(cases())
def test_macro_f1_is_scikit_learns(case: tuple[np.ndarray, np.ndarray, int]) -> None:
    """On random cases, classes that neither occur nor are predicted included."""
    labels, predicted, classes = case
    expected = f1_score(labels, predicted, average="macro", zero_division=0)
    assert macro_f1(labels, predicted, classes) == pytest.approx(expected, abs=1e-12)
    assert np.array_equal(
        confusion(labels, predicted, classes), confusion_matrix(labels, predicted, labels=range(classes))
    )


def test_all_right_is_one_and_all_wrong_is_zero() -> None:
    """The ends of the scale; no image at all is 0."""
    labels = np.arange(6) % 3
    assert macro_f1(labels, labels, 3) == 1.0
    assert macro_f1(labels, (labels + 1) % 3, 3) == 0.0
    assert macro_f1(np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64), 3) == 0.0


@given(cases())
def test_the_order_of_images_and_the_names_of_classes_dont_matter(
    case: tuple[np.ndarray, np.ndarray, int],
) -> None:
    """Shuffled images and permuted classes give the same F1."""
    labels, predicted, classes = case
    rng = np.random.default_rng(len(labels))
    order, renamed = rng.permutation(len(labels)), rng.permutation(classes)
    expected = macro_f1(labels, predicted, classes)
    assert macro_f1(renamed[labels][order], renamed[predicted][order], classes) == pytest.approx(expected, abs=1e-12)
