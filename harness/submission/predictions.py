"""predictions.csv: one row a test image, `id,label`, the label a class name."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from harness.data.prepare import Preprocessing, prepare
from harness.data.split import Dataset
from harness.errors import HarnessError, nearest
from harness.measure.process import predict

HEADER = ["id", "label"]


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


def read(path: Path, names: Sequence[str], classes: Sequence[str]) -> np.ndarray:
    """Read class indices, int64 (N,), in the order of the names; rows may stand in any order.

    Raises:
        HarnessError: the header, a row, an id or a label is wrong, or a row is missing; the message names the line.
    """
    index = {label: i for i, label in enumerate(classes)}
    expected, found = set(names), {}
    for line, row in _rows(path):
        if len(row) != 2:
            raise _wrong(path, line, f"{len(row)} columns", "two: id,label")
        name, label = row
        if name in found:
            raise _wrong(path, line, f"id '{name}' a second time", "each id once")
        if name not in expected:
            raise _wrong(path, line, f"unknown id '{name}'", "the test images' ids")
        if label not in index:
            allowed = f"{nearest(label, classes)}{', '.join(classes[:20])}"
            raise _wrong(path, line, f"unknown label '{label}'", allowed)
        found[name] = index[label]
    missing = [name for name in names if name not in found]
    if missing:
        what = f"{path}: no row for id '{missing[0]}'; {len(missing)} of {len(names)} test images have none"
        raise HarnessError(what, "write one row for every test image: pack the entry again")
    return np.array([found[name] for name in names], dtype=np.int64)


def _rows(path: Path) -> list[tuple[int, list[str]]]:
    try:
        with path.open(newline="", encoding="utf-8") as file:
            reader = csv.reader(file, strict=True)
            rows = [(reader.line_num, row) for row in reader]
    except (UnicodeDecodeError, csv.Error) as e:
        raise HarnessError(f"{path}: not a csv file in UTF-8: {e}", "pack the entry again") from e
    if not rows or rows[0][1] != HEADER:
        first = ",".join(rows[0][1])[:80] if rows else ""
        raise _wrong(path, 1, f"the header is '{first}'", "id,label")
    return rows[1:]


def _wrong(path: Path, line: int, what: str, allowed: str) -> HarnessError:
    return HarnessError(f"{path}: line {line}: {what}; allowed: {allowed}", "mend the row or pack the entry again")
