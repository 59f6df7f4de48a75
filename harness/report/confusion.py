"""What a network confuses: F1 of each class as a table for the terminal, and who is taken for whom as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from rich.table import Table

from harness.measure.quality import f1_by_class_of
from harness.report.canvas import COLOURS, save, sheet, style

MOST_ROWS = 20
"""Classes that the table shows: the worst of them, where there are more."""
MOST_COUNTS, MOST_NAMES = 20, 60
"""Up to so many classes the picture has counts in its cells, and names at its sides."""
CELL_PX, LEAST_PX, MOST_PX = 46, 520, 1600
LONGEST_NAME = 24


def table(confusion: Sequence[Sequence[int]], classes: Sequence[str], title: str) -> Table:
    """Lay out F1 by class, the worst first, with what each class is taken for most often.

    confusion: images by true class (row) and predicted class (column), C x C.
    """
    counts = np.asarray(confusion)
    f1 = f1_by_class_of(counts)
    order = sorted(range(len(classes)), key=lambda i: -1.0 if f1[i] is None else f1[i])
    known = [i for i in order if f1[i] is not None]
    hidden = len(known) - MOST_ROWS
    best = f"the other {hidden}: F1 {f1[known[MOST_ROWS]]:.4f} to {f1[known[-1]]:.4f}" if hidden > 0 else None
    drawn = Table("no.", "class", "images", "F1", "precision", "recall", "taken for", title=title, caption=best)
    for column in [drawn.columns[0], *drawn.columns[2:6]]:
        column.justify = "right"
    for i in known[:MOST_ROWS]:
        right, there, said = counts[i, i], counts[i].sum(), counts[:, i].sum()
        wrong = counts[i] * (np.arange(len(classes)) != i)
        most = int(wrong.argmax())
        taken = f"{classes[most]} ({wrong[most]})" if wrong[most] else ""
        shares = (f"{right / n:.4f}" if n else "" for n in (said, there))
        drawn.add_row(str(i), _plain(classes[i]), str(there), f"{f1[i]:.4f}", *shares, _plain(taken))
    return drawn


def picture(confusion: Sequence[Sequence[int]], classes: Sequence[str], path: Path, title: str) -> Path:
    """Draw which classes (rows) are taken for which (columns), as shares of each row's images, and return the path."""
    counts = np.asarray(confusion)
    shares = counts / np.maximum(1, counts.sum(axis=1, keepdims=True))
    named = len(classes) <= MOST_NAMES
    side = min(MOST_PX, max(LEAST_PX, CELL_PX * len(classes)) + (200 if named else 100))
    with style():
        figure, (axes,) = sheet(side, side, 1)
        shown = axes.imshow(shares, cmap=COLOURS, vmin=0, vmax=1, interpolation="nearest")
        axes.grid(False)
        axes.set_title(title, parse_math=False)
        axes.set(xlabel="predicted class", ylabel="true class")
        if named:
            small = 10 if len(classes) <= MOST_COUNTS else 7
            names = [_short(_drawable(name, i)) for i, name in enumerate(classes)]
            axes.set_xticks(range(len(classes)), names, rotation=90, fontsize=small, parse_math=False)
            axes.set_yticks(range(len(classes)), names, fontsize=small, parse_math=False)
        for row, column in np.argwhere(counts) if len(classes) <= MOST_COUNTS else ():
            ink = "white" if shares[row, column] < 0.5 else "black"
            axes.text(column, row, str(counts[row, column]), ha="center", va="center", color=ink, fontsize=9)
        figure.colorbar(shown, ax=axes, label="share of the true class's images", shrink=0.7)
        return save(figure, path)


def _drawable(name: str, number: int) -> str:
    """Return a class's name, or its number where the pictures' font lacks a character of it."""
    from matplotlib.font_manager import findfont, get_font

    known = get_font(findfont("DejaVu Sans")).get_charmap()
    return name if all(ord(c) in known for c in name) else f"no. {number}"


def _short(name: str) -> str:
    return name if len(name) <= LONGEST_NAME else f"{name[: LONGEST_NAME - 1]}…"


def _plain(text: str) -> str:
    """Keep rich from reading a class's name as its markup."""
    return text.replace("[", r"\[")
