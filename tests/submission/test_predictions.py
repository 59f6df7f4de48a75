"""Predictions come back as they were written, and every wrong row is named."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.errors import HarnessError
from harness.submission.predictions import labels, read, write

CLASSES = ["red", "green"]
NAMES = ["a", "b", "c"]
TOKENS = [
    b"\xef\xbb\xbf",
    b"\0",
    b"\r",
    b"\r\n",
    b'"',
    b"=1+1",
    b"\xff\xfe",
    b"\n\n",
    "\u202e".encode(),
    b"x" * 200_000,
]
texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\r"), min_size=1, max_size=8)


@given(st.lists(texts, min_size=1, max_size=10, unique=True), st.lists(texts, min_size=2, max_size=4, unique=True))
def test_any_ids_and_labels_come_back(names: list[str], classes: list[str]) -> None:
    """Commas, quotes and newlines in ids and class names do no harm."""
    predicted = np.arange(len(names)) % len(classes)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "predictions.csv")
        write(path, names, predicted, classes)
        assert (read(path, names, classes) == predicted).all()


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_any_bytes_are_refused_with_their_line_or_predictions(data: st.DataObject) -> None:
    """Nothing but a HarnessError comes of any change to a sound file, with the ids known or not."""
    content = bytearray(b"id,label\na,red\nb,green\nc,red\n")
    for _ in range(data.draw(st.integers(0, 4))):
        at = data.draw(st.integers(0, len(content)))
        content[at : at + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=4) | st.sampled_from(TOKENS))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "predictions.csv")
        path.write_bytes(content)
        for reading in (lambda: read(path, NAMES, CLASSES), lambda: labels(path, CLASSES).values()):
            try:
                assert set(reading()) <= {0, 1}
            except HarnessError as e:
                assert re.search(r"line \d+:|no row for id", e.what) and e.what.isprintable()


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
