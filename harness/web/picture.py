"""F1 against time, in times of the reference network's, as the numbers of an SVG picture; a template draws them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from harness.board.standings import Place
from harness.rules import pareto

WIDTH, HEIGHT = 640, 400
LEFT, RIGHT, TOP, BOTTOM = 70, 24, 24, 62
MOST = 100
"""Places that are drawn: more would cover each other."""
NAMES = 6
LETTER = 6.5
"""About how wide a letter of a label is."""
ROUND = (1, 2, 2.5, 5, 10)


@dataclass(frozen=True)
class Dot:
    """A place, in the picture's units. low, high: ends of the time's interval on x.

    name: "" for no label. left: whether the label stands to the left, where nobody is both faster and better.
    """

    place: Place
    x: float
    y: float
    low: float
    high: float
    best: bool
    name: str
    left: bool


@dataclass(frozen=True)
class Tick:
    """A mark on an axis."""

    at: float
    text: str


@dataclass(frozen=True)
class Picture:
    """The whole. path: of the Pareto set. target: y of the F1 asked for; None outside. told: what it shows in words."""

    dots: list[Dot]
    path: str
    xs: list[Tick]
    ys: list[Tick]
    target: float | None
    told: str
    width: int = WIDTH
    height: int = HEIGHT
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
    named = _named([p for p in best if not p.baseline], x, y)
    dots = [
        Dot(p, x.at(p.ratio), y.at(p.f1), x.at(p.ratio_low), x.at(p.ratio_high), p in best,
            p.team if p in named else "", x.at(p.ratio) - 8 - LETTER * len(p.team) > LEFT)
        for p in reversed(drawn)  # the first are drawn last, above the others
    ]  # fmt: skip
    inside = target is not None and y.low <= target <= y.high
    told = (
        f"{len(drawn)} teams; F1 from {min(p.f1 for p in drawn):.3f} to {max(p.f1 for p in drawn):.3f}, time from "
        f"{min(p.ratio for p in drawn):.3g} to {max(p.ratio for p in drawn):.3g} times the reference network's. "
        f"None is both faster and better than: {', '.join(p.team for p in best[:20])}."
    )
    return Picture(dots, _steps(best, x, y), x.ticks(), y.ticks(), y.at(target) if inside else None, told)


class _Log:
    def __init__(self, low: float, high: float) -> None:
        room = max((high / low) ** 0.08, 1.12)
        self.low, self.high = math.log10(low / room), math.log10(high * room)

    def at(self, value: float) -> float:
        share = (math.log10(max(value, 1e-9)) - self.low) / (self.high - self.low)
        return round(LEFT + share * (WIDTH - LEFT - RIGHT), 1)

    def ticks(self) -> list[Tick]:
        low, high = 10**self.low, 10**self.high
        if high / low < 6:
            return [Tick(self.at(v), f"{v:.4g}") for v in _even(low, high, 5) if v > 0]
        kept = (1,) if high / low > 1000 else (1, 2, 5)
        values = [m * 10.0**e for e in range(math.floor(self.low), math.ceil(self.high) + 1) for m in kept]
        return [Tick(self.at(v), f"{v:g}") for v in values if low <= v <= high]


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


def _steps(best: Sequence[Place], x: _Log, y: _Linear) -> str:
    points = [(x.at(p.ratio), y.at(p.f1)) for p in best]
    return (
        f"M{points[0][0]} {HEIGHT - BOTTOM}V{points[0][1]}"
        + "".join(f"H{a}V{b}" for a, b in points[1:])
        + (f"H{WIDTH - RIGHT}")
    )


def _named(best: Sequence[Place], x: _Log, y: _Linear) -> list[Place]:
    """Choose whose names are written: those that leave each other room, the first on the board first."""
    found: list[Place] = []
    for place in sorted(best, key=lambda p: p.rank or 0):
        apart = all(abs(y.at(place.f1) - y.at(p.f1)) > 18 or abs(x.at(place.ratio) - x.at(p.ratio)) > 150
                    for p in found)  # fmt: skip
        if apart and len(found) < NAMES:
            found.append(place)
    return found
