"""Predictions come back as they were written, and every wrong row is named."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import HarnessError
from harness.submission.predictions import read, write

CLASSES = ["red", "green"]
NAMES = ["a", "b", "c"]
texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\r"), min_size=1, max_size=8)


@given(st.lists(texts, min_size=1, max_size=10, unique=True), st.lists(texts, min_size=2, max_size=4, unique=True))
def test_any_ids_and_labels_come_back(names: list[str], classes: list[str]) -> None:
    """Commas, quotes and newlines in ids and class names do no harm."""
    predicted = np.arange(len(names)) % len(classes)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "predictions.csv")
        write(path, names, predicted, classes)
        assert (read(path, names, classes) == predicted).all()


def test_rows_may_stand_in_any_order(tmp_path: Path) -> None:
    """The ids decide, not the lines."""
    path = tmp_path / "predictions.csv"
    path.write_text("id,label\nc,green\na,red\nb,red\n")
    assert read(path, NAMES, CLASSES).tolist() == [0, 0, 1]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "line 1: the header is ''; allowed: id,label"),
        ("name,class\n", "line 1: the header is 'name,class'; allowed: id,label"),
        ("id,label\na,red\nb\nc,red\n", "line 3: 1 columns; allowed: two"),
        ("id,label\na,red\nb,red\na,red\nc,red\n", "line 4: id 'a' a second time"),
        ("id,label\na,red\nb,red\nd,red\nc,red\n", "line 4: unknown id 'd'"),
        ("id,label\na,red\nb,gren\nc,red\n", "line 3: unknown label 'gren'; allowed: did you mean 'green'"),
        ("id,label\nb,red\n", "no row for id 'a'; 2 of 3 test images have none"),
        ('id,label\na,"red\n', "line 2: not csv: unexpected end of data"),
        ("id,label\na,r\udcffd\n", "line 2: not UTF-8"),
    ],
)
def test_a_wrong_row_is_named(tmp_path: Path, text: str, message: str) -> None:
    """Header, columns, double and unknown ids, unknown labels, missing rows: each says where."""
    path = tmp_path / "predictions.csv"
    path.write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(HarnessError, match=message):
        read(path, NAMES, CLASSES)
