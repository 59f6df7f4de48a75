"""COCO annotations: which object stands where in which photograph, and its class."""

from __future__ import annotations

import contextlib
import csv
import io
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.data.files import existing
from harness.errors import HarnessError

if TYPE_CHECKING:
    from pycocotools.coco import COCO


@dataclass(frozen=True)
class Thing:
    """One annotated object. box: x, y, width, height in px of the photograph, clipped at its edge."""

    name: str
    photo: int
    kind: str
    box: tuple[float, float, float, float]


def tally(things: Sequence[Thing]) -> dict[str, int]:
    """Count the things of each class, in the order of the names; those of no class are left out."""
    return dict(sorted(Counter(t.kind for t in things if t.kind).items()))


def read_coco(path: str) -> COCO:
    """Read a COCO file with pycocotools, which keeps one of each repeated annotation id in its index only."""
    from pycocotools.coco import COCO

    found = existing(path, "data.annotations", "COCO annotations (json)", "data/taco/annotations.json")
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            coco = COCO(str(found))
        for kind, key in (("images", "file_name"), ("annotations", "image_id"), ("categories", "name")):
            _ = [entry[key] for entry in coco.dataset[kind]]
    except (ValueError, KeyError, TypeError, AssertionError, OSError) as error:
        raise HarnessError(
            f"data.annotations: '{path}' is no COCO file ({type(error).__name__}: {error})",
            "name a json with images, annotations and categories",
        ) from error
    return coco


def read_map(path: str) -> dict[str, str] | None:
    """Read the csv `category,class`; None where the categories are kept."""
    if not path:
        return None
    found = existing(path, "data.map", "a csv with a line `category,class` a category", "data/taco/map_10.csv")
    classes = {}
    with found.open(newline="", encoding="utf-8-sig", errors="replace") as file:
        for number, row in enumerate(csv.reader(file), start=1):
            if row and len(row) != 2:
                raise HarnessError(f"{path}:{number}: {len(row)} columns", "write `category,class`, quoted if need be")
            if row and row != ["category", "class"]:
                classes[row[0].strip()] = row[1].strip()
    return classes


def read_things(coco: COCO, classes: Mapping[str, str] | None) -> tuple[list[Thing], list[int]]:
    """List every annotation, repeated ids too (TACO has two, each of two different objects), and those ids."""
    names = {number: category["name"] for number, category in coco.cats.items()}
    seen: Counter[int] = Counter()
    things = []
    for raw in coco.dataset["annotations"]:
        number = raw["id"]
        seen[number] += 1
        name = f"ann-{number}" + (f"-{seen[number]}" if seen[number] > 1 else "")
        category = names.get(raw.get("category_id"), "")
        kind = category if classes is None else classes.get(category, "")
        photo = coco.imgs.get(raw["image_id"], {})
        things.append(Thing(name, raw["image_id"], kind, clipped(raw.get("bbox"), photo)))
    return things, [number for number, times in seen.items() if times > 1]


def clipped(box: Sequence[float] | None, photo: Mapping[str, Any]) -> tuple[float, float, float, float]:
    """Clip a box at the edge of its photograph; NaN where it is no box."""
    if box is None or len(box) != 4:
        return (np.nan,) * 4
    x, y, width, height = (float(v) for v in box)
    left, top = max(0.0, x), max(0.0, y)
    right, bottom = min(photo.get("width", np.inf), x + width), min(photo.get("height", np.inf), y + height)
    return left, top, right - left, bottom - top
