"""A task that trains in a second: the 8 px digits and a network of two layers."""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from torch import nn

from harness.data.augment import Augment
from harness.data.digits import DigitsOptions, load
from harness.data.prepare import Preprocessing, statistics
from harness.data.split import Dataset, Images
from harness.models.build import build
from harness.models.spec import ModelSpec, Stage
from harness.record.recipe import Recipe
from harness.train.fit import fit
from harness.train.precision import Precision

CPU = torch.device("cpu")
PLAIN = Augment(n=0, m=0, flip=False, crop=0.0)
SPEC = ModelSpec((Stage("conv", 16, stride=2), Stage("conv", 32, stride=2)))


@cache
def digits(side_px: int = 8) -> Dataset:
    """The digits at a side."""
    return load(DigitsOptions(side_px=side_px))


def few(count: int) -> Images:
    """The first training images at 8 px."""
    return digits().train.take(range(count))


def network(seed: int = 0, side_px: int = 8) -> nn.Module:
    """A fresh network; the seed decides its weights."""
    return build(SPEC, 10, side_px, seed=seed)


def train(
    images: Images, recipe: Recipe, model: nn.Module | None = None, how: Augment = PLAIN, **rest: Any
) -> nn.Module:
    """Train, in float32 unless told otherwise."""
    px = images.pixels.shape[1]
    preprocessing = Preprocessing(px, *statistics(images.pixels))
    model = model or network(side_px=px)
    precision = rest.pop("precision", Precision())
    return fit(model, images, preprocessing, recipe, how, precision, **{"seed": 1, "device": CPU} | rest)


def same(one: nn.Module, other: nn.Module) -> bool:
    """Say whether two networks have the same weights to the last bit."""
    pairs = zip(one.state_dict().values(), other.state_dict().values(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)
