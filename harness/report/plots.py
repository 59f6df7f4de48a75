"""Pictures of a study: how it went, and what it found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import accumulate, cycle
from pathlib import Path
from typing import TYPE_CHECKING

from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from harness.errors import HarnessError
from harness.report.canvas import (
    BLUE,
    COLOURS,
    GREY,
    ORANGE,
    count_trials,
    label,
    mark_logarithmic,
    name_it,
    save,
    sheet,
    style,
)
from harness.search.attributes import REFUSED, result_of
from harness.search.front import front

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SIZE_PX, WIDE_PX = (900, 560), (1400, 560)
UP_LEFT = ((-6, 5), (-14, 14))  # of a trial of the Pareto set: no other can lie there, being faster and better


def history(trials: Sequence[FrozenTrial], path: Path, title: str, lower: bool = True, value: str = "points") -> Path:
    """Draw each finished trial's first value by its number, the best so far, and what became of the other trials.

    lower: smaller values are better. value: what the values are.

    Raises:
        HarnessError: no trial has finished.
    """
    with style():
        figure, (axes,) = sheet(*SIZE_PX, 1)
        draw_history(axes, trials, title, lower, value)
        return save(figure, path)


def pareto(
    trials: Sequence[FrozenTrial], path: Path, title: str, references: Mapping[str, float] | None = None
) -> Path:
    """Draw macro F1 against time, coloured by points, the Pareto set as steps and labelled with trial numbers.

    references: times of networks to show as upright lines, in times of the reference network's, by name.

    Raises:
        HarnessError: no trial has finished.
    """
    with style():
        figure, (axes,) = sheet(*SIZE_PX, 1)
        draw_pareto(axes, trials, title, references or {})
        return save(figure, path)


def study(
    trials: Sequence[FrozenTrial], directions: Sequence[StudyDirection], folder: Path, objective: str = "points"
) -> list[Path]:
    """Write study.png with both pictures side by side, history.png and pareto.png.

    directions, objective: the study's; where there are two values the history follows the first, macro F1.

    Raises:
        HarnessError: no trial has finished.
    """
    done, lower = finished(trials), directions[0] == StudyDirection.MINIMIZE
    value = "points" if objective == "points" else "macro F1"
    best = (min if lower else max)(done, key=lambda t: t.values[0])
    first = f"Best {value} {best.values[0]:.4f} in trial {best.number}"
    second = f"Pareto set: {len(front(done))} of {len(done)} finished trials"
    with style():
        figure, (left, right) = sheet(*WIDE_PX, 2)
        draw_history(left, trials, first, lower, value)
        draw_pareto(right, trials, second, {})
        both = save(figure, folder / "study.png")
    alone = history(trials, folder / "history.png", first, lower, value)
    return [both, alone, pareto(trials, folder / "pareto.png", second)]


def finished(trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    """Return the complete trials by number.

    Raises:
        HarnessError: there is none.
    """
    done = sorted((t for t in trials if t.state == TrialState.COMPLETE), key=lambda t: t.number)
    if not done:
        raise HarnessError(
            f"none of {len(trials)} trials has finished: there is nothing to draw",
            "run `python tune.py` with this study.name until one has",
        )
    return done


def draw_history(axes: Axes, trials: Sequence[FrozenTrial], title: str, lower: bool, value: str) -> None:
    """Draw the history; pruned trials stand as crosses above all points, failed ones in the legend."""
    done = finished(trials)
    numbers, values = [t.number for t in done], [t.values[0] for t in done]
    best, last = list(accumulate(values, min if lower else max)), max(t.number for t in trials)
    axes.step([*numbers, last], [*best, best[-1]], where="post", color=ORANGE, linewidth=2, label="best so far")
    axes.scatter(numbers, values, s=26, color=BLUE, edgecolor="white", linewidth=0.5, zorder=3, label="finished")
    low, high = axes.get_ylim()
    axes.set_ylim(low, high + 0.1 * (high - low))
    pruned = [t.number for t in trials if t.state == TrialState.PRUNED and REFUSED not in t.user_attrs]
    if pruned:
        top = {"transform": axes.get_xaxis_transform(), "color": GREY, "markersize": 5}
        axes.plot(pruned, [0.97] * len(pruned), "x", label=f"pruned: {len(pruned)}", **top)
    refused = sum(REFUSED in t.user_attrs for t in trials)
    failed = sum(t.state == TrialState.FAIL and REFUSED not in t.user_attrs for t in trials)
    for count, words in ((refused, "refused before training"), (failed, "failed")):
        if count:
            axes.plot([], [], " ", label=f"{words}: {count}")
    count_trials(axes)
    axes.set(xlabel="trial", ylabel=f"{value} ({'lower' if lower else 'higher'} is better)")
    name_it(axes, title, "best")


def draw_pareto(axes: Axes, trials: Sequence[FrozenTrial], title: str, references: Mapping[str, float]) -> None:
    """Draw F1 against the time ratio, on which the set is chosen, with a colour bar of the points trials have."""
    done = finished(trials)
    results = [result_of(t) for t in done]
    f1, ratio, points = zip(*((r.f1, r.cost.ratio, r.points) for r in results), strict=True)
    best = [(result_of(t).cost.ratio, result_of(t).f1, t.number) for t in front(done)]
    x, y, numbers = zip(*best, strict=True)
    mark_logarithmic(axes, min(*ratio, *references.values(), x[0]), max(*ratio, *references.values(), x[0]))
    right = axes.get_xlim()[1]
    axes.step([*x, right], [*y, y[-1]], where="post", color=ORANGE, linewidth=1.5, zorder=2, label="Pareto set")
    axes.set_xlim(right=right)
    coloured = None not in points  # a formula that ranks whole boards gives a trial none
    shade = {"c": points, "cmap": COLOURS} if coloured else {"color": BLUE}
    dots = axes.scatter(ratio, f1, s=34, edgecolor="white", linewidth=0.5, zorder=3, **shade)
    axes.scatter(x, y, s=60, facecolor="none", edgecolor=ORANGE, linewidth=1.5, zorder=4)
    for (name, times), dashes in zip(references.items(), cycle(("--", ":", "-.")), strict=False):
        axes.axvline(times, color=GREY, linestyle=dashes, linewidth=1.2, label=f"{name}: {times:.3g}")
    axes.margins(y=0.12)
    if coloured:
        axes.figure.colorbar(dots, ax=axes, label="points", pad=0.02)
    axes.set(xlabel="time, in times of the reference network's (log scale)", ylabel="macro F1")
    name_it(axes, title, "lower right")  # where the slow and the bad are: never over the set or its labels
    label(axes, [(str(number), *place) for number, *place in zip(numbers, x, y, strict=True)], UP_LEFT)
