"""Pictures of a study: how it went, and what it found."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING

from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from harness.errors import HarnessError
from harness.search.front import front

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe & Ito's colours and cividis are told apart with any colour vision: https://jfly.uni-koeln.de/color/
BLUE, ORANGE, GREY = "#0072B2", "#D55E00", "#767676"
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
    "legend.framealpha": 0.9,
    "figure.constrained_layout.use": True,
}
SIZE_PX, WIDE_PX = (900, 560), (1400, 560)
DPI = 100
# the place of a label beside its point, in points: up left first, where no trial can lie, being faster and better
PLACES = ((-6, 5), (-14, 14), (7, -14), (14, -24), (-28, 24))


def history(
    trials: Sequence[FrozenTrial], path: Path, title: str, lower: bool = True, value: str = "points"
) -> Path:
    """Draw each finished trial's first value by its number with the best so far, and say what became of the others.

    lower: smaller values are better. value: what the values are.

    Raises:
        HarnessError: no trial has finished.
    """
    with _style():
        figure, (axes,) = _figure(SIZE_PX, 1)
        _draw_history(axes, trials, title, lower, value)
        return _save(figure, path)


def pareto(
    trials: Sequence[FrozenTrial], path: Path, title: str, references: Mapping[str, float] | None = None
) -> Path:
    """Draw macro F1 against latency, the Pareto set joined and labelled with trial numbers.

    references: latency_ms of networks to be shown as upright lines, by name.

    Raises:
        HarnessError: no trial has finished.
    """
    with _style():
        figure, (axes,) = _figure(SIZE_PX, 1)
        _draw_pareto(axes, trials, title, references or {})
        return _save(figure, path)


def study(trials: Sequence[FrozenTrial], directions: Sequence[StudyDirection], folder: Path) -> list[Path]:
    """Write history.png, pareto.png and, with both side by side, study.png.

    directions: of the study; with two of them the history follows the first value, macro F1.

    Raises:
        HarnessError: no trial has finished.
    """
    lower = directions[0] == StudyDirection.MINIMIZE
    value = "points" if len(directions) == 1 else "macro F1"
    done = finished(trials)
    best = (min if lower else max)(done, key=lambda t: t.values[0])
    better = "lower" if lower else "higher"
    first = f"Best {value} {best.values[0]:.4f} (trial {best.number}); {better} is better"
    second = f"Pareto set: {len(front(done))} of {len(done)} finished trials"
    folder.mkdir(parents=True, exist_ok=True)
    with _style():
        figure, (left, right) = _figure(WIDE_PX, 2)
        _draw_history(left, trials, first, lower, value)
        _draw_pareto(right, trials, second, {})
        both = _save(figure, folder / "study.png")
    return [
        both,
        history(trials, folder / "history.png", first, lower, value),
        pareto(trials, folder / "pareto.png", second),
    ]


def finished(trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    """Return the complete trials by number.

    Raises:
        HarnessError: there is none.
    """
    done = sorted((t for t in trials if t.state == TrialState.COMPLETE), key=lambda t: t.number)
    if not done:
        raise HarnessError(
            f"no finished trial among {len(trials)}: there is nothing to draw",
            "run `python tune.py` with this study.name until a trial has finished",
        )
    return done


def best_so_far(values: Sequence[float], lower: bool) -> list[float]:
    """Return the best of the values up to each position."""
    from itertools import accumulate

    return list(accumulate(values, min if lower else max))


def _draw_history(axes: Axes, trials: Sequence[FrozenTrial], title: str, lower: bool, value: str) -> None:
    from matplotlib.ticker import MaxNLocator

    done = finished(trials)
    numbers, values = [t.number for t in done], [t.values[0] for t in done]
    last = max(t.number for t in trials)
    best = best_so_far(values, lower)
    axes.step([*numbers, last], [*best, best[-1]], where="post", color=ORANGE, linewidth=2, label="best so far")
    axes.scatter(numbers, values, s=26, color=BLUE, edgecolor="white", linewidth=0.5, zorder=3, label="finished")
    low, high = axes.get_ylim()
    axes.set_ylim(low, high + 0.1 * (high - low))  # a strip for the crosses, above every point
    pruned = [t.number for t in trials if t.state == TrialState.PRUNED]
    if pruned:
        axes.plot(
            pruned, [0.97] * len(pruned), "x", transform=axes.get_xaxis_transform(),
            color=GREY, markersize=5, label=f"pruned: {len(pruned)}",
        )  # fmt: skip
    failed = sum(t.state == TrialState.FAIL for t in trials)
    if failed:
        axes.plot([], [], " ", label=f"failed: {failed}")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel("trial")
    axes.set_ylabel(f"{value} ({'lower' if lower else 'higher'} is better)")
    _finish(axes, title)


def _draw_pareto(axes: Axes, trials: Sequence[FrozenTrial], title: str, references: Mapping[str, float]) -> None:
    done = finished(trials)
    figures = [t.user_attrs["figures"] for t in done]
    # the set is chosen by the ratio to the reference network, and a host's milliseconds may order it a little otherwise
    best = sorted(front(done), key=lambda t: t.user_attrs["figures"]["latency_ms"])
    corners = [(t.user_attrs["figures"]["latency_ms"], t.user_attrs["figures"]["f1"]) for t in best]
    axes.set_xscale("log")
    axes.plot(*zip(*corners, strict=True), color=ORANGE, linewidth=1.5, zorder=2, label="Pareto set")
    dots = axes.scatter(
        [f["latency_ms"] for f in figures], [f["f1"] for f in figures], c=[f["points"] for f in figures],
        cmap="cividis", s=34, edgecolor="white", linewidth=0.5, zorder=3,
    )  # fmt: skip
    axes.scatter(*zip(*corners, strict=True), s=60, facecolor="none", edgecolor=ORANGE, linewidth=1.5, zorder=4)
    for (name, latency_ms), dashes in zip(references.items(), ("--", ":", "-.") * len(references), strict=False):
        axes.axvline(latency_ms, color=GREY, linestyle=dashes, linewidth=1.2, label=f"{name}: {latency_ms:.3g} ms")
    axes.figure.colorbar(dots, ax=axes, label="points", pad=0.02)
    axes.margins(x=0.1, y=0.1)
    _mark_milliseconds(axes)
    axes.set_xlabel("latency, ms (log scale)")
    axes.set_ylabel("macro F1")
    _finish(axes, title)
    _label(axes, [(f"{t.number}", *corner) for t, corner in zip(best, corners, strict=True)])


def _mark_milliseconds(axes: Axes) -> None:
    """Write plain numbers on the log axis: round steps within a range, 1-2-5 over decades, 1 over many."""
    from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

    low, high = axes.get_xlim()
    decades = math.log10(high / low)
    if decades < 0.7:
        axes.xaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
    else:
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if decades < 3 else (1,), numticks=20))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:g}"))
    axes.xaxis.set_minor_locator(NullLocator())


def _label(axes: Axes, marks: Sequence[tuple[str, float, float]]) -> None:
    """Write each text beside its point where it covers no other text; leave it off where there is no such place."""
    axes.figure.draw_without_rendering()  # settles the layout, which the texts' places in pixels depend on
    taken = [axes.get_legend().get_window_extent()]
    for text, x, y in reversed(marks):
        for right, up in PLACES:
            note = axes.annotate(
                text, (x, y), (right, up), textcoords="offset points", ha="right" if right < 0 else "left",
                fontsize=11, color="black", zorder=5,
            )  # fmt: skip
            box = note.get_window_extent()
            if not any(box.overlaps(other) for other in taken):
                taken.append(box)
                break
            note.remove()


def _style() -> AbstractContextManager[None]:
    import matplotlib

    return matplotlib.rc_context({**matplotlib.rcParamsDefault, **STYLE, "backend": matplotlib.rcParams["backend"]})


def _figure(size_px: tuple[int, int], columns: int) -> tuple[Figure, Sequence[Axes]]:
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # no window, no pyplot, no state between figures
    from matplotlib.figure import Figure

    figure = Figure(figsize=(size_px[0] / DPI, size_px[1] / DPI), dpi=DPI)
    FigureCanvasAgg(figure)
    return figure, figure.subplots(1, columns, squeeze=False)[0]


def _finish(axes: Axes, title: str) -> None:
    """Title and legend; a name with dollars is no formula."""
    axes.set_title(title, parse_math=False)
    axes.legend(loc="best", fontsize=11)


def _save(figure: Figure, path: Path) -> Path:
    figure.savefig(path, dpi=DPI)
    return path
