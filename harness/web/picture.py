"""F1 against time, in times of the reference network's, as the numbers of an SVG picture; a template draws them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from harness.board.standings import Place
from harness.rules import pareto
from harness.web import labels
from harness.web.labels import Box, Label

WIDTH, HEIGHT = 640, 430
LEFT, RIGHT, TOP, BOTTOM = 80, 30, 48, 74
FRAME = (4, 10, WIDTH - 4, HEIGHT - BOTTOM - 2)
"""Where names may stand."""
TITLE = "macro F1"
"""Of the axis, over it."""
MOST = 100
"""Places that are drawn: more would cover each other."""
NAMES = 6
ROUND = (1, 2, 2.5, 5, 10)


@dataclass(frozen=True)
class Dot:
    """A place, in the picture's units. low, high: ends of the time's interval on x."""

    place: Place
    x: float
    y: float
    low: float
    high: float
    best: bool


@dataclass(frozen=True)
class Tick:
    """A mark on an axis."""

    at: float
    text: str


@dataclass(frozen=True)
class Picture:
    """The whole. path: of the Pareto set. target: y of the F1 asked for; None outside. told: what it shows in words."""

    dots: list[Dot]
    names: list[Label]
    path: str
    xs: list[Tick]
    ys: list[Tick]
    target: float | None
    told: str
    width: int = WIDTH
    height: int = HEIGHT
    title: str = TITLE
    left: int = LEFT
    right: int = WIDTH - RIGHT
    top: int = TOP
    bottom: int = HEIGHT - BOTTOM


def draw(places: Sequence[Place], target: float | None = None) -> Picture | None:
    """Place the first of a board in a picture, x logarithmic; None where there is nothing to draw."""
    drawn = [p for p in places if p.f1 is not None and p.ratio > 0][:MOST]
    if not drawn:
        return None
    low, high = min(p.ratio_low for p in drawn), max(p.ratio_high for p in drawn)
    x = _Log(max(low, 1e-6), max(high, 1e-6))
    y = _Linear(min(p.f1 for p in drawn), max(p.f1 for p in drawn))
    best = pareto.front(drawn, lambda p: (p.f1, p.ratio))
    dots = [
        Dot(p, x.at(p.ratio), y.at(p.f1), x.at(p.ratio_low), x.at(p.ratio_high), p in best)
        for p in reversed(drawn)  # the first are drawn last, above the others
    ]
    inside = target is not None and y.low <= target <= y.high
    steps = [(x.at(p.ratio), y.at(p.f1)) for p in best]
    taken = [*_of_axis(y.ticks()), *_of_dots(dots), *_of_steps(steps)]
    if target is not None and inside:
        taken.append((LEFT, y.at(target) - 2, WIDTH, y.at(target) + 2))
    first = sorted((p for p in best if not p.baseline), key=lambda p: p.rank or 0)
    named = labels.place([(p.team, x.at(p.ratio), y.at(p.f1)) for p in first], taken, FRAME, NAMES)
    told = (
        f"{len(drawn)} teams; F1 from {min(p.f1 for p in drawn):.3f} to {max(p.f1 for p in drawn):.3f}, time from "
        f"{min(p.ratio for p in drawn):.3g} to {max(p.ratio for p in drawn):.3g} times the reference network's. "
        f"None is both faster and better than: {', '.join(p.team for p in best[:20])}."
    )
    return Picture(dots, named, _path(steps), x.ticks(), y.ticks(), y.at(target) if inside else None, told)


class _Log:
    def __init__(self, low: float, high: float) -> None:
        room = max((high / low) ** 0.08, 1.12)
        self.low, self.high = math.log10(low / room), math.log10(high * room)

    def at(self, value: float) -> float:
        share = (math.log10(max(value, 1e-9)) - self.low) / (self.high - self.low)
        return round(LEFT + share * (WIDTH - LEFT - RIGHT), 1)

    def ticks(self) -> list[Tick]:
        """Return as many marks as have room for their figures side by side."""
        low, high = 10**self.low, 10**self.high
        if high / low < 6:
            choices = [[v for v in _even(low, high, most) if v > 0] for most in (5, 4, 3, 2, 1)]
        else:
            decades = range(math.floor(self.low), math.ceil(self.high) + 1)
            choices = [[m * 10.0**e for e in decades for m in kept] for kept in ((1, 2, 5), (1, 3), (1,))]
            choices += [[10.0**e for e in decades if e % every == 0] for every in (2, 3, 4, 6)]
        for values in choices:
            found = [Tick(self.at(v), f"{v:.4g}") for v in values if low <= v <= high]
            if _beside(found):
                return found
        return found[:1]


class _Linear:
    def __init__(self, low: float, high: float) -> None:
        room = max(0.1 * (high - low), 0.01)
        self.low, self.high = max(0.0, low - room), min(1.0, high + room)

    def at(self, value: float) -> float:
        share = (value - self.low) / (self.high - self.low)
        return round(HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM), 1)

    def ticks(self) -> list[Tick]:
        return [Tick(self.at(v), f"{v:.4g}") for v in _even(self.low, self.high, 6)]


def _even(low: float, high: float, most: int) -> list[float]:
    """Return round values between two, at most so many."""
    rough = (high - low) / most
    scale = 10 ** math.floor(math.log10(rough))
    step = next(r * scale for r in ROUND if r * scale >= rough * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [round(i * step, 12) for i in range(first, math.floor(high / step + 1e-9) + 1)]


def _beside(ticks: Sequence[Tick]) -> bool:
    """Say whether figures under an axis leave each other, and the picture's edges, some room."""
    halves = [labels.width(t.text) / 2 for t in ticks]
    ends = [0, *(end for t, half in zip(ticks, halves, strict=True) for end in (t.at - half, t.at + half)), WIDTH]
    return bool(ticks) and all(b - a >= 4 for a, b in zip(ends[::2], ends[1::2], strict=True))


def _of_axis(ticks: Sequence[Tick]) -> list[Box]:
    """Return the room of the figures beside the left axis, and of its title."""
    half = labels.LETTERS / 2
    return [(0, 0, labels.width(TITLE) + 8, TOP - half), *((0, t.at - half, LEFT - 4, t.at + half) for t in ticks)]


def _of_dots(dots: Sequence[Dot]) -> list[Box]:
    """Return the room of dots and of their intervals."""
    r = labels.RADIUS
    rounds = [(d.x - r, d.y - r, d.x + r, d.y + r) for d in dots]
    return [*rounds, *((d.low, d.y - 2, d.high, d.y + 2) for d in dots)]


def _of_steps(points: Sequence[tuple[float, float]]) -> list[Box]:
    """Return the room of the line through the Pareto set."""
    boxes, (_, before) = [], (0, HEIGHT - BOTTOM)
    for (x, y), (following, _) in zip(points, [*points[1:], (WIDTH - RIGHT, 0)], strict=True):
        boxes += [(x - 2, y - 2, x + 2, before + 2), (x - 2, y - 2, following + 2, y + 2)]
        before = y
    return boxes


def _path(points: Sequence[tuple[float, float]]) -> str:
    return (
        f"M{points[0][0]} {HEIGHT - BOTTOM}V{points[0][1]}"
        + "".join(f"H{a}V{b}" for a, b in points[1:])
        + (f"H{WIDTH - RIGHT}")
    )
