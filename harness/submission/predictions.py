"""predictions.csv: one row a test image, `id,label`, the label a class name."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence, Set
from pathlib import Path
from typing import BinaryIO

import numpy as np

from harness.data.prepare import Preprocessing, prepare
from harness.data.split import Dataset
from harness.errors import HarnessError, nearest
from harness.measure.process import predict

HEADER = ["id", "label"]
MOST_ROWS = 1_000_000


def compute(model: Path, dataset: Dataset, how: Preprocessing, threads: int) -> np.ndarray:
    """Run a model file over the test images in a process of its own; class indices, int64 (N,).

    Raises:
        HarnessError: the model can't be run, or returns another number of classes.
    """
    logits = predict(model, prepare(dataset.test.pixels, how), threads)
    if logits.shape[1] != len(dataset.classes):
        what = f"{model}: {logits.shape[1]} outputs; data set '{dataset.name}' has {len(dataset.classes)} classes"
        raise HarnessError(what, "train on this data set, or name the one that the model was trained on")
    return logits.argmax(axis=1)


def write(path: Path, names: Sequence[str], predicted: np.ndarray, classes: Sequence[str]) -> None:
    """Write class indices (N,) as rows in the order of the names."""
    with path.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(HEADER)
        rows.writerows((name, classes[i]) for name, i in zip(names, predicted, strict=True))


def read(path: Path, names: Sequence[str], classes: Sequence[str], published: Sequence[str] = ()) -> np.ndarray:
    """Read class indices, int64 (N,), in the order of the names; rows may stand in any order.

    published: what a team's copy of the data calls the same N images: all rows go by these names, or by the others.

    Raises:
        HarnessError: the header, a row, an id or a label is wrong, or a row is missing; the message names the line.
    """
    found = labels(path, classes, {*names, *published})
    ids = published if any(name in found for name in published) else names
    missing = [name for name in ids if name not in found]
    if missing:
        what = f"{path}: no row for id '{missing[0]}'; {len(missing)} of {len(ids)} test images have none"
        raise HarnessError(what, "write one row for every test image: pack the entry again")
    if len(found) > len(ids):
        what = f"{path}: images go by the names of the published copy and by others, mixed"
        raise HarnessError(what, "write one row for every test image: pack the entry again")
    return np.array([found[name] for name in ids], dtype=np.int64)


def labels(path: Path, classes: Sequence[str], ids: Set[str] | None = None) -> dict[str, int]:
    """Read class indices by id, a row at a time. ids: those that there are, or None where only the judge knows them.

    Raises:
        HarnessError: the header, a row, an id or a label is wrong, or without ids there are over a million rows; the
            message names the line.
    """
    index, found = {label: i for i, label in enumerate(classes)}, {}
    for line, row in _rows(path):
        if len(row) != 2:
            raise _wrong(path, line, f"{len(row)} columns", "two: id,label")
        name, label = row
        if name in found:
            raise _wrong(path, line, f"id '{_short(name)}' a second time", "each id once")
        if not name or (ids is not None and name not in ids):
            raise _wrong(path, line, f"unknown id '{_short(name)}'", "the test images' ids")
        if label not in index:
            allowed = f"{nearest(label[:80], classes)}{', '.join(classes[:20])}"
            raise _wrong(path, line, f"unknown label '{_short(label)}'", allowed)
        if ids is None and len(found) >= MOST_ROWS:
            raise _wrong(path, line, "too many rows", f"{MOST_ROWS:,}")
        found[name] = index[label]
    return found


def _rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Yield the rows below the header with their lines' numbers."""
    with path.open("rb") as file:
        reader, begins = csv.reader(_lines(path, file), strict=True), 1
        try:
            header = next(reader, [])
            if header != HEADER:
                raise _wrong(path, 1, f"the header is '{_short(','.join(header))}'", "id,label")
            begins = reader.line_num + 1
            for row in reader:
                yield begins, row
                begins = reader.line_num + 1  # a quoted value may span lines
        except csv.Error as e:
            raise _wrong(path, begins, f"not csv: {e}", "id,label") from e


def _lines(path: Path, file: BinaryIO) -> Iterator[str]:
    for number, line in enumerate(file, start=1):
        try:
            yield line.decode("utf-8")
        except UnicodeDecodeError as e:
            raise _wrong(path, number, f"not UTF-8: {e.reason}", "text in UTF-8") from e


def _short(text: str) -> str:
    """Show a value of somebody else's without what would spoil a terminal or a page."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text[:80])


def _wrong(path: Path, line: int, what: str, allowed: str) -> HarnessError:
    return HarnessError(f"{path}: line {line}: {what}; allowed: {allowed}", "mend the row or pack the entry again")
