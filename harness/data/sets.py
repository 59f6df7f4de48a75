"""The data sets by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from harness.data import cifar, digits, folder, published, taco
from harness.data.split import Dataset
from harness.errors import HarnessError, pick

DATASETS: dict[str, tuple[type, Callable[[Any], Dataset]]] = {
    "digits": (digits.DigitsOptions, digits.load),
    "cifar10": (cifar.CifarOptions, cifar.load),
    "folder": (folder.FolderOptions, folder.load),
    "taco": (taco.TacoOptions, taco.load),
    "published": (published.PublishedOptions, published.load),
}

HERE = ("root", "annotations", "map", "train_list", "validation_list", "test_list", "download", "max_gb")
"""Options that say where the data lie on a machine and how they get there; what they are is in the fingerprint."""

# option: lowest and highest value; a reader has only some of them
LIMITS = {
    "seed": (0, 2**32 - 1),
    "validation": (0.01, 0.9),
    "test": (0.01, 0.9),
    "side_px": (8, 1024),
    "max_gb": (0.001, 1000),
    "iou": (0, 1),
    "max_aspect": (1, 1000),
    "min_side_px": (0, 10_000),
    "min_longer_px": (0, 10_000),
    "min_per_class": (1, 1_000_000),
    "margin": (0, 1),
}


def load(name: str, options: Any) -> Dataset:
    """Read a data set by its name in `DATASETS`, with the options of its reader.

    Raises:
        HarnessError: the name is unknown, an option is out of range, or the data can't be read.
    """
    _, read = pick(DATASETS, name, "data")
    check_options(options)
    dataset = read(options)
    check_parts(dataset)
    return dataset


def check_options(options: Any) -> None:
    """Refuse an option out of its range."""
    for key, (low, high) in LIMITS.items():
        value = getattr(options, key, low)
        if not low <= value <= high:
            raise HarnessError(f"data.{key}={value}: allowed is {low} to {high}", f"set data.{key} in that range")


def check_parts(dataset: Dataset) -> None:
    """Refuse an empty part and a class that can't be learnt."""
    for name in ("train", "validation", "test"):
        if not len(getattr(dataset, name)):
            raise HarnessError(
                f"data: the {name} part of '{dataset.name}' has no image", f"look at data.{name}_list or at the shares"
            )
    seen = np.bincount(dataset.train.labels, minlength=len(dataset.classes))
    absent = [c for c, count in zip(dataset.classes, seen, strict=True) if not count]
    if absent:
        raise HarnessError(
            f"data: no training image of class {', '.join(absent)}",
            "lower data.test and data.validation, add images, or mend the lists",
        )
