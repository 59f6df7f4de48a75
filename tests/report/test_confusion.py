"""Who is taken for whom: a table for the terminal, a picture beside the run."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from harness.report import confusion


def lines(counts: list[list[int]], classes: list[str]) -> list[str]:
    """The table's rows and its caption as plain text."""
    console = Console(width=140)
    with console.capture() as captured:
        console.print(confusion.table(counts, classes, "title"))
    return captured.get().splitlines()


def cells(line: str) -> list[str]:
    """What stands in a row."""
    return [cell.strip() for cell in line.strip("│").split("│")]


def test_the_worst_class_comes_first_with_what_it_is_taken_for() -> None:
    """By hand: glass has 2 of 4, is said 3 times; metal is never predicted."""
    rows = [cells(r) for r in lines([[2, 0, 2], [0, 0, 1], [1, 0, 9]], ["glass", "metal", "[red]"]) if r[0] == "│"]
    assert rows == [
        ["1", "metal", "1", "0.0000", "", "0.0000", "[red] (1)"],
        ["0", "glass", "4", "0.5714", "0.6667", "0.5000", "[red] (2)"],
        ["2", "[red]", "10", "0.8182", "0.7500", "0.9000", "glass (1)"],
    ]


def test_of_many_classes_the_worst_are_shown_and_the_others_counted() -> None:
    """A hundred rows would push the end of the training off the screen."""
    counts = np.diag(range(100, 200)) + np.eye(100, k=1, dtype=int) * 50
    shown = lines(counts.tolist(), [f"c{i}" for i in range(100)])
    assert sum(r.startswith("│") for r in shown) == confusion.MOST_ROWS
    assert any("the other 80: F1 0." in r for r in shown)


def test_a_class_that_nobody_has_and_nobody_says_is_left_out() -> None:
    """As in macro F1."""
    shown = lines([[1, 0, 0], [0, 0, 0], [0, 0, 1]], ["a", "b", "c"])
    assert [cells(r)[1] for r in shown if r[0] == "│"] == ["a", "c"]


@pytest.mark.parametrize("classes", [2, 10, 40, 150])
def test_the_picture_is_square_and_no_larger_than_a_screen(tmp_path: Path, classes: int) -> None:
    """A row that is all right is bright on the diagonal, the rest dark."""
    path = confusion.picture(
        np.eye(classes, dtype=int).tolist(), [f"c${i}" for i in range(classes)], tmp_path / "a.png", "t"
    )
    with Image.open(path) as picture:
        assert picture.width == picture.height <= confusion.MOST_PX
        assert len(picture.convert("RGB").getcolors(1 << 20)) > 3


def test_a_name_that_the_font_lacks_stands_as_its_number(tmp_path: Path) -> None:
    """Boxes in the place of letters tell nobody anything; the table has number and name."""
    names = ["종이", "유리"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        confusion.picture([[3, 1], [0, 4]], names, tmp_path / "a.png", "t")
    assert [confusion._drawable(name, i) for i, name in enumerate([*names, "glass"])] == ["no. 0", "no. 1", "glass"]
    assert [cells(r)[:2] for r in lines([[3, 1], [0, 4]], names) if r[0] == "│"] == [["0", "종이"], ["1", "유리"]]
