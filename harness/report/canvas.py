"""The paper that pictures are drawn on: style, size, readable axes and labels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe & Ito's colours and cividis are told apart with any colour vision: https://jfly.uni-koeln.de/color/
BLUE, ORANGE, GREY, COLOURS = "#0072B2", "#D55E00", "#767676", "cividis"
STYLE = {
    "font.family": "DejaVu Sans",  # comes with matplotlib: the same picture on every machine
    "font.size": 12,
    "axes.titlesize": 13,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#E4E4E4",
    "legend.fontsize": 11,
    "legend.framealpha": 0.7,
    "figure.constrained_layout.use": True,
}
DPI = 100
ROUND = [1, 2, 5, 10]


def style() -> AbstractContextManager[None]:
    """Draw and save within this, so that every picture looks alike."""
    import matplotlib  # here and below, because the import takes most of a second

    return matplotlib.rc_context(STYLE)


def sheet(width_px: int, height_px: int, columns: int) -> tuple[Figure, Sequence[Axes]]:
    """Return an empty figure, and its axes from left to right."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # no window, no pyplot, no state between figures
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width_px / DPI, height_px / DPI), dpi=DPI)
    FigureCanvasAgg(figure)
    return figure, figure.subplots(1, columns, squeeze=False)[0]


def save(figure: Figure, path: Path) -> Path:
    """Write a figure as PNG and return its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=DPI)
    return path


def name_it(axes: Axes, title: str, legend: str) -> None:
    """Set title and legend, at a place that matplotlib knows; dollars in a title are dollars, not a formula."""
    axes.set_title(title, parse_math=False)
    axes.legend(loc=legend)


def count_trials(axes: Axes) -> None:
    """Write whole round numbers on the x axis."""
    from matplotlib.ticker import MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator(9, integer=True, steps=ROUND))


def mark_logarithmic(axes: Axes, low: float, high: float) -> None:
    """Make the x axis logarithmic from low to high with room on both sides, and plain numbers on it.

    Even steps within a factor of 5, else 1-2-5, over three decades powers of 10 alone.
    """
    from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

    room = max((high / low) ** 0.1, 1.1)
    axes.set_xscale("log")
    axes.set_xlim(low / room, high * room)
    decades = math.log10(high / low) + 2 * math.log10(room)
    few = MaxNLocator(5, steps=ROUND) if decades < 0.7 else None
    axes.xaxis.set_major_locator(few or LogLocator(subs=ROUND[:3] if decades < 3 else ROUND[:1], numticks=20))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_locator(NullLocator())


def label(axes: Axes, marks: Sequence[tuple[str, float, float]], places: Sequence[tuple[int, int]]) -> None:
    """Write each text at the first of the places where it covers no other text, the last of the marks first.

    marks: text, x, y. places: to the right of the mark and up, in points. A text without such a place is left off.
    """
    from matplotlib.text import Text

    axes.figure.draw_without_rendering()  # settles the layout, on which the texts' places in pixels depend
    legend = axes.get_legend()
    taken = [legend.get_window_extent()] if legend else []
    for text, x, y in reversed(marks):
        for right, up in places:
            side = "left" if right > 0 else "right"
            note = axes.annotate(
                text, (x, y), (right, up), textcoords="offset points", ha=side, fontsize=11, zorder=5,
                arrowprops={"arrowstyle": "-", "color": GREY, "linewidth": 0.7, "shrinkA": 0, "shrinkB": 5},
            )  # fmt: skip
            note.update_positions(axes.figure.canvas.get_renderer())
            box = Text.get_window_extent(note).padded(2)  # of the text without its thread to the mark
            if not any(box.overlaps(other) for other in taken):
                taken.append(box)
                break
            note.remove()
