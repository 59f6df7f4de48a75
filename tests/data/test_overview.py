"""The table of a data set: classes and parts by count, and what was left out and why."""

from __future__ import annotations

import numpy as np
import pytest

from harness.data import overview, sets
from harness.data.digits import DigitsOptions
from harness.data.folder import FolderOptions
from harness.data.loader import fitting_batch
from harness.data.split import Dataset, Images
from tests.data.test_tree import noise


def printed(capsys, dataset: Dataset) -> list[list[str]]:
    """Return the cells of the rows that are printed."""
    overview.show(dataset)
    lines = capsys.readouterr().out.splitlines()
    return [[cell.strip() for cell in line.strip("│").split("│")] for line in lines if line.startswith("│")]


def test_classes_parts_and_losses_stand_in_one_table(tmp_path, capsys):
    """Each class by name, each reason with its count and its first file."""
    for kind in ("glass", "[red]\x1b[2Jpaper"):
        for k in range(10):
            noise(tmp_path / kind / f"{k}.png")
    (tmp_path / "glass" / "notes.txt").write_text("x")
    (tmp_path / "glass" / "empty.jpg").write_bytes(b"")
    (tmp_path / "glass" / "void.jpg").write_bytes(b"")
    rows = printed(capsys, sets.load("folder", FolderOptions(root=str(tmp_path), side_px=16, validation=0.25)))
    assert rows == [
        ["[red]\\x1b[2Jpaper", "6", "2", "2", "", ""],
        ["glass", "6", "2", "2", "", ""],
        ["2 classes", "12", "4", "4", "3", ""],
        ["left out: can't be read: empty file", "", "", "", "2", "glass/empty.jpg"],
        ["left out: not an image by its name", "", "", "", "1", "glass/notes.txt"],
    ]


def test_every_data_set_has_a_table(capsys):
    """The digits' classes are the ten digits."""
    rows = printed(capsys, sets.load("digits", DigitsOptions()))
    assert [row[0] for row in rows] == [*"0123456789", "10 classes"]


def test_hidden_labels_stay_hidden_and_many_classes_are_joined(capsys):
    """Rows for fifty, one for the others; the test part is counted as a whole alone."""
    labels = np.repeat(np.arange(60), 2)
    images = Images(np.zeros((120, 8, 8, 3), np.uint8), labels, tuple(map(str, range(120))))
    test = Images(images.pixels, None, images.names)
    rows = printed(capsys, Dataset("published", tuple(f"c{k:02}" for k in range(60)), images, images, test))
    assert len(rows) == 52 and rows[0] == ["c00", "2", "2", "hidden", "", ""]
    assert rows[50] == ["10 more classes", "20", "20", "hidden", "", ""]
    assert rows[51] == ["60 classes", "120", "120", "120", "0", ""]


def test_a_class_that_was_too_rare_has_a_row(capsys):
    """With what was annotated and what was left."""
    data = sets.load("digits", DigitsOptions())
    report = data.report | {"rare_classes": {"Straw": 2}, "annotated": {"Straw": 30}}
    rows = printed(capsys, Dataset(data.name, data.classes, data.train, data.validation, data.test, report))
    assert ["class left out: Straw", "", "", "", "", "2 of 30 objects left, too few"] in rows


@pytest.mark.parametrize(
    ("batch", "images", "fitting"),
    [(128, 256, 128), (128, 255, 63), (128, 28, 7), (128, 10, 2), (128, 3, 2), (2, 3, 2), (64, 10_000, 64)],
)
def test_a_batch_leaves_more_than_one_step_where_it_can(batch, images, fitting):
    """A quarter of the images, never fewer than two, which batch norm needs, never more than was asked for."""
    assert fitting_batch(batch, images) == fitting
    assert images < 4 or images // fitting_batch(batch, images) > 1
