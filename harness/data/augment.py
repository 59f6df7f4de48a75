"""Random crop, flip, RandAugment and cutout for a batch of uint8 images."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from functools import lru_cache
from typing import Any

import numpy as np
from numba import njit

from harness.data.operations import MAGNITUDES, OPERATIONS, compiled, operate
from harness.data.transforms import PLACES, settled
from harness.errors import HarnessError, pick


@dataclass
class Augment:
    """How training images are varied.

    n: RandAugment operations an image, 0..14. m: their magnitude, 0..30; 0 changes nothing. flip: mirror half of the
    images. crop: reflect padding as a share of the side, 0..0.5, before a crop at a random place. cutout: side of a
    black square as a share of the side, 0 (none) to 0.9; it may stand partly outside.

    transforms: albumentations' own, [{name: options}, ...]; a name alone takes its defaults. place: before or after all
    of the above.

    Raises:
        HarnessError: a value outside its range.
    Source: Cubuk et al., RandAugment, https://arxiv.org/abs/1909.13719; DeVries & Taylor, Cutout,
        https://arxiv.org/abs/1708.04552
    """

    n: int = 2
    m: int = 9
    flip: bool = True
    crop: float = 0.125
    cutout: float = 0.0
    transforms: list[dict[str, dict[str, Any]]] = field(default_factory=list)
    place: str = "before"

    def __post_init__(self) -> None:
        _check_number("n", self.n, len(OPERATIONS), whole=True)
        _check_number("m", self.m, MAGNITUDES - 1, whole=True)
        _check_number("crop", self.crop, 0.5, whole=False)
        _check_number("cutout", self.cutout, 0.9, whole=False)
        if not isinstance(self.flip, bool):
            raise HarnessError(f"augment.flip: {self.flip!r}; allowed: true or false", "set it to true or false")
        pick(dict.fromkeys(PLACES), self.place, "augment.place")
        self.transforms = settled(self.transforms)

    def to_dict(self) -> dict[str, Any]:
        """Return the options as JSON-able values; `transforms` and their place only where there are some."""
        plain = asdict(self)
        if not self.transforms:
            del plain["transforms"], plain["place"]
        return plain

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Augment:
        """Read what `to_dict` gave; options left out keep their defaults.

        Raises:
            HarnessError: an unknown option, or a value outside its range.
        """
        known = {f.name: f for f in fields(cls)}
        for name in values:
            pick(known, name, "augment")
        return cls(**values)


def _check_number(name: str, value: Any, top: float, whole: bool) -> None:
    kinds = int if whole else (int, float)
    # A bool is an int to Python, never to a reader; written this way round, NaN fails too.
    if isinstance(value, bool) or not isinstance(value, kinds) or not 0 <= value <= top:
        kind = "a whole number" if whole else "a number"
        raise HarnessError(
            f"augment.{name}: {value!r}; allowed: {kind} from 0 to {top}", f"set augment.{name} in that range"
        )


@dataclass(frozen=True)
class Plan:
    """What happens to each of B images.

    operations: int (B, n), positions in OPERATIONS. signs: int (B, n), -1 or 1. corners: int (B, 2), (y, x) of the crop
    in the padded image, px. mirrored: bool (B,). holes: int (B, 2), (y, x) of the cutout's middle, px.
    """

    operations: np.ndarray
    signs: np.ndarray
    corners: np.ndarray
    mirrored: np.ndarray
    holes: np.ndarray

    def take(self, which: slice) -> Plan:
        """Return the plan of some of the images."""
        return Plan(**{name: part[which] for name, part in vars(self).items()})


def draw(count: int, side_px: int, how: Augment, rng: np.random.Generator) -> Plan:
    """Draw the plan of `count` images at once.

    At magnitude 0 no operation is drawn: AutoContrast and Equalize have no magnitude and would still act.
    """
    n = how.n if how.m else 0
    return Plan(
        operations=rng.integers(len(OPERATIONS), size=(count, n)),
        signs=2 * rng.integers(2, size=(count, n)) - 1,
        corners=rng.integers(2 * _padding_px(how, side_px) + 1, size=(count, 2)),
        mirrored=(rng.random(count) < 0.5) & how.flip,
        holes=rng.integers(side_px, size=(count, 2)),
    )


def follow(pixels: np.ndarray, how: Augment, plan: Plan) -> np.ndarray:
    """Carry a plan out: crop, flip, RandAugment, cutout, in this order.

    pixels: uint8 (B, S, S, 3), S at least 4; not modified. Returns a new array of the same shape. All of it is compiled
    and runs without the interpreter's lock: a thread beside the training takes a core, not the training's turn.

    Raises:
        ValueError: other pixels, a plan for another number of images, or a place or operation that there is none of.
    """
    count, side_px = pixels.shape[:2]
    if pixels.dtype != np.uint8 or pixels.shape[1:] != (side_px, side_px, 3):
        raise ValueError(f"pixels: {pixels.dtype} {pixels.shape}; expected uint8 (B, S, S, 3)")
    if any(len(part) != count for part in vars(plan).values()):
        raise ValueError(f"the plan isn't one of {count} images")
    hole_px = round(how.cutout * side_px)
    source = np.ascontiguousarray(pixels).view()
    source.flags.writeable = False  # read-only arrays are a type of their own: compile for this one alone
    out = np.empty(pixels.shape, np.uint8)
    _place(out, source, _padding_px(how, side_px), plan.corners, plan.mirrored)
    if plan.operations.size:
        operate(out, 2 * plan.operations + (plan.signs > 0), *_signed_operations(how.m, side_px))
    if hole_px:
        _cut_holes(out, plan.holes - hole_px // 2, hole_px)
    return out


def augment(pixels: np.ndarray, how: Augment, rng: np.random.Generator) -> np.ndarray:
    """Vary each image of a batch in its own way.

    pixels: uint8 (B, S, S, 3), S at least 4; not modified. Returns a new array of the same shape, which depends on the
    arguments alone. RandAugment draws n of 14 operations with replacement, each with torchvision's strength for m and a
    random sign; at m=0 every operation, AutoContrast and Equalize included, is left out.
    """
    return follow(pixels, how, draw(len(pixels), pixels.shape[1], how, rng))


def _padding_px(how: Augment, side_px: int) -> int:
    return round(how.crop * side_px)


@lru_cache
def _signed_operations(m: int, side_px: int) -> tuple[np.ndarray, np.ndarray]:
    """Tabulate (kinds, numbers) for `operate`: minus and plus of each operation, the same where it has no sign."""
    rows = [(o, sign if o.signed else 1) for o in OPERATIONS.values() for sign in (-1, 1)]
    kinds = np.array([o.kind for o, _ in rows])
    return kinds, np.array([o.numbers(sign * o.strength(m, side_px), side_px) for o, sign in rows])


@compiled
def _place(out: np.ndarray, pixels: np.ndarray, padding_px: int, corners: np.ndarray, mirrored: np.ndarray) -> None:
    """Crop each image at its corner of the reflect-padded image, and mirror it."""
    count, side_px = pixels.shape[:2]
    old, new, width = pixels.reshape(pixels.size), out.reshape(out.size), 3 * side_px
    columns = np.empty(side_px, np.int64)  # where the pixels of a row come from
    for i in range(count):
        down, right = corners[i, 0] - padding_px, corners[i, 1] - padding_px
        if max(abs(down), abs(right)) > padding_px:  # compiled code would read beside the array
            raise ValueError("corner outside the padded image")
        for x in range(side_px):
            columns[side_px - 1 - x if mirrored[i] else x] = 3 * _reflected(x + right, side_px)
        # Between the reflected edges a row is one run of pixels, forwards or backwards.
        first, last = max(-right, 0), side_px - max(right, 0)
        if mirrored[i]:
            first, last = side_px - last, side_px - first
        for y in range(i * side_px, (i + 1) * side_px):
            begin = (i * side_px + _reflected(y - i * side_px + down, side_px)) * width
            for x in range(first):
                _run(new, y * width + 3 * x, old, begin + columns[x], 3)
            for x in range(last, side_px):
                _run(new, y * width + 3 * x, old, begin + columns[x], 3)
            if mirrored[i]:
                _run_back(new, y * width + 3 * first, old, begin + columns[first], last - first)
            else:
                _run(new, y * width + 3 * first, old, begin + columns[first], 3 * (last - first))


@njit
def _run(new: np.ndarray, target: int, old: np.ndarray, source: int, count: int) -> None:
    """Copy bytes; unsigned, because of a signed index the compiler asks each time whether it counts from the end."""
    to, of = np.uint64(target), np.uint64(source)
    for j in range(np.uint64(count)):
        new[to + j] = old[of + j]


@njit
def _run_back(new: np.ndarray, target: int, old: np.ndarray, source: int, pixels: int) -> None:
    """Copy pixels: the first from source, each next one from before."""
    to, of, three = np.uint64(target), np.uint64(source), np.uint64(3)
    for j in range(np.uint64(pixels)):
        for channel in range(three):
            new[to + three * j + channel] = old[of - three * j + channel]


@njit
def _reflected(position: int, side_px: int) -> int:
    """Fold a position outside back in, about the middle of the outermost pixel."""
    return min(abs(position), 2 * (side_px - 1) - abs(position))


@compiled
def _cut_holes(pixels: np.ndarray, corners: np.ndarray, hole_px: int) -> None:
    """Blacken a square of each image, in place; what stands outside is cut off."""
    for i in range(len(pixels)):
        y, x = corners[i]
        pixels[i, max(y, 0) : max(y + hole_px, 0), max(x, 0) : max(x + hole_px, 0)] = 0
