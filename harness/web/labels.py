"""Where names stand in the picture, so that nothing is printed over them, in the large letters that a phone has."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

LETTERS = 21
"""Their height on a phone, in the picture's units, as in style.css: 11 pixels where the screen has 360."""
ASCENT, DESCENT = 0.95, 0.3
"""How far letters reach over and under their line, in heights."""
RADIUS = 7
"""Of a dot, with its rim."""
GAP = 3
WIDEST = 260
"""Of a name; a longer one is cut."""

Box = tuple[float, float, float, float]
"""Left, top, right, bottom."""


@dataclass(frozen=True)
class Label:
    """A name. x, y: of its line's start, end or middle, as anchor says. drop: how far the line is below, in heights."""

    text: str
    x: float
    y: float
    anchor: str
    drop: float

    @property
    def box(self) -> Box:
        """The room that it takes on a phone."""
        wide = width(self.text)
        left = self.x - wide * {"start": 0.0, "middle": 0.5, "end": 1.0}[self.anchor]
        line = self.y + self.drop * LETTERS
        return left, line - ASCENT * LETTERS, left + wide, line + DESCENT * LETTERS


def width(text: str) -> float:
    """Return how wide a text is on a phone, in a font whose letters are wide (DejaVu Sans)."""
    return LETTERS * sum(_wide(letter) for letter in text)


def short(text: str) -> str:
    """Cut a name that is wider than `WIDEST`."""
    if width(text) <= WIDEST:
        return text
    kept = text
    while width(f"{kept}…") > WIDEST:
        kept = kept[:-1]
    return f"{kept.rstrip()}…"


def _wide(letter: str) -> float:
    if unicodedata.combining(letter):
        return 0.0
    if unicodedata.east_asian_width(letter) in "WF" or letter in "WMmw%@":
        return 1.03
    if letter in " .,:;'!|ijltfrI-":
        return 0.42
    return 0.66 if letter.islower() or letter.isdigit() else 0.82


def apart(box: Box, others: Iterable[Box]) -> bool:
    """Say whether a box touches none of the others."""
    left, top, right, bottom = box
    return all(right <= x0 or x1 <= left or bottom <= y0 or y1 <= top for x0, y0, x1, y1 in others)


def place(names: Sequence[tuple[str, float, float]], taken: Sequence[Box], frame: Box, most: int) -> list[Label]:
    """Place names, the first ones first, each beside its point and within the frame; leave out what has no room.

    names: with the x and y of their points. taken: where nothing may be printed. most: how many are placed.
    """
    found: list[Label] = []
    boxes = list(taken)
    left, top, right, bottom = frame
    for text, x, y in names:
        for label in _ways(short(text), x, y):
            x0, y0, x1, y1 = label.box
            if left <= x0 and x1 <= right and top <= y0 and y1 <= bottom and apart(label.box, boxes):
                found.append(label)
                boxes.append((x0 - GAP, y0 - GAP, x1 + GAP, y1 + GAP))
                break
        if len(found) == most:
            break
    return found


def _ways(text: str, x: float, y: float) -> Iterable[Label]:
    """Go through the places of a name, the best first: to the upper left nobody is both faster and better."""
    over, under, beside = -(RADIUS + DESCENT * LETTERS), RADIUS + 2, RADIUS + 5
    for far in (0, LETTERS / 2, LETTERS):
        yield Label(text, x - 4, y + over - far, "end", 0)
        yield Label(text, x + 4, y + over - far, "start", 0)
        yield Label(text, x, y + over - far, "middle", 0)
        yield Label(text, x + 6, y + under + far, "start", ASCENT)
        yield Label(text, x - 6, y + under + far, "end", ASCENT)
        yield Label(text, x, y + under + far, "middle", ASCENT)
        yield Label(text, x + beside + far, y, "start", 0.35)
        yield Label(text, x - beside - far, y, "end", 0.35)
