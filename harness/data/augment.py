"""Random crop, flip, RandAugment and cutout for a batch of uint8 images."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from harness.data.operations import MAGNITUDES, OPERATIONS
from harness.errors import HarnessError, pick

if TYPE_CHECKING:
    import albumentations


@dataclass
class Augment:
    """How training images are varied.

    n: RandAugment operations an image, 0..14. m: their magnitude, 0..30; 0 changes nothing. flip: mirror half of the
    images. crop: reflect padding as a share of the side, 0..0.5, before a crop at a random place. cutout: side of a
    black square as a share of the side, 0 (none) to 0.9; it may stand partly outside.

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

    def __post_init__(self) -> None:
        _check_number("n", self.n, len(OPERATIONS), whole=True)
        _check_number("m", self.m, MAGNITUDES - 1, whole=True)
        _check_number("crop", self.crop, 0.5, whole=False)
        _check_number("cutout", self.cutout, 0.9, whole=False)
        if not isinstance(self.flip, bool):
            raise HarnessError(f"augment.flip: {self.flip!r}; allowed: true or false", "set it to true or false")

    def to_dict(self) -> dict[str, Any]:
        """Return the options as JSON-able values."""
        return asdict(self)

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

    pixels: uint8 (B, S, S, 3), S at least 4; not modified. Returns a new array of the same shape.
    """
    side_px = pixels.shape[1]
    padding_px, hole_px = _padding_px(how, side_px), round(how.cutout * side_px)
    table = _signed_operations(how.m, side_px)
    steps = (2 * plan.operations + (plan.signs > 0)).tolist()
    out = np.empty_like(pixels)
    # One image at a time: OpenCV on 3 kB in the cache beats NumPy over the batch two to thirty times.
    for i, (corner, mirrored) in enumerate(zip(plan.corners.tolist(), plan.mirrored.tolist(), strict=True)):
        image = _place(pixels[i], padding_px, corner, mirrored)
        for step in steps[i]:
            apply, strength = table[step]
            image = apply(image, strength)
        out[i] = image
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


def pipeline(how: Augment, side_px: int) -> albumentations.Compose:
    """Offer the same policy as an albumentations pipeline for one image: resize to side_px, then `augment`."""
    os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"  # else the import asks the network for a newer version
    import albumentations  # here, because the import takes most of a second

    class Policy(albumentations.ImageOnlyTransform):
        def get_params(self) -> dict[str, Any]:
            return {"plan": draw(1, side_px, how, self.random_generator)}

        def apply(self, img: np.ndarray, plan: Plan, **_: Any) -> np.ndarray:
            return follow(img[None], how, plan)[0]

    return albumentations.Compose([albumentations.Resize(side_px, side_px), Policy(p=1.0)])


def _padding_px(how: Augment, side_px: int) -> int:
    return round(how.crop * side_px)


def _signed_operations(m: int, side_px: int) -> list[tuple[Any, float]]:
    """List (apply, strength): minus and plus of each operation in turn, the same twice where it has no sign."""
    rows = [(o.apply, o.strength(m, side_px), o.signed) for o in OPERATIONS.values()]
    return [(apply, sign * k if signed else k) for apply, k, signed in rows for sign in (-1, 1)]


def _place(image: np.ndarray, padding_px: int, corner: list[int], mirrored: bool) -> np.ndarray:
    """Crop a square at the corner of the padded image and mirror it."""
    side_px = len(image)
    if padding_px:
        y, x = corner
        padded = cv2.copyMakeBorder(image, *[padding_px] * 4, cv2.BORDER_REFLECT_101)
        image = padded[y : y + side_px, x : x + side_px]
    return cv2.flip(image, 1) if mirrored else image


def _cut_holes(pixels: np.ndarray, corners: np.ndarray, hole_px: int) -> None:
    """Blacken a square of each image, in place; what stands outside is cut off."""
    for image, (y, x) in zip(pixels, corners.tolist(), strict=True):
        image[max(y, 0) : max(y + hole_px, 0), max(x, 0) : max(x + hole_px, 0)] = 0
