"""COCO annotations: which object stands where in which photograph, and its class."""

from __future__ import annotations

import csv
import io
import json
import math
import reprlib
from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from harness.data.files import existing, text
from harness.data.names import same
from harness.errors import HarnessError

LISTS = {"images": ("id", "file_name"), "annotations": ("id", "image_id"), "categories": ("id", "name")}
"""What a COCO file holds, and what each entry must have."""
FIX = "name a json with images, annotations and categories"
REPEATED = "a file that was joined from several must be numbered anew: give each its own id, in the annotations too"
Box = tuple[float, float, float, float]
UNUSABLE: Box = (np.nan,) * 4


@dataclass(frozen=True)
class Photo:
    """A photograph of a COCO file. width, height: in px, None where the file doesn't say or says what can't be."""

    file_name: str
    width: int | None = None
    height: int | None = None


@dataclass(frozen=True)
class Coco:
    """A COCO file that was checked. photos and categories: by id. annotations: as they are."""

    photos: Mapping[Hashable, Photo]
    categories: Mapping[Hashable, str]
    annotations: Sequence[Mapping[str, Any]]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Thing:
    """One annotated object. box: x, y, width, height in px of the photograph, clipped at its edge.

    kind: its class, '' for none. reason: why it is in no class.
    """

    name: str
    photo: Hashable
    kind: str
    box: Box
    reason: str = ""


def tally(things: Sequence[Thing]) -> dict[str, int]:
    """Count the things of each class, in the order of the names; those of no class are left out."""
    return dict(sorted(Counter(t.kind for t in things if t.kind).items()))


def read_coco(path: str) -> Coco:
    """Read a COCO file and check its photographs and categories.

    Raises:
        HarnessError: it is no COCO file, or an id stands for two photographs or two categories.
    """
    found = existing(path, "data.annotations", "COCO annotations (json)", "data/taco/annotations.json")
    try:
        raw = json.loads(found.read_bytes())
        for kind, keys in LISTS.items():
            _check_entries(raw[kind], kind, keys)
    except RecursionError as error:
        what = f"data.annotations: '{path}' is no COCO file: lists within lists, deeper than can be read"
        raise HarnessError(what, FIX) from error
    except (ValueError, KeyError, TypeError, OSError) as error:
        raise HarnessError(
            f"data.annotations: '{path}' is no COCO file ({type(error).__name__}: {error})", FIX
        ) from error
    photos = _one_each(path, raw["images"], "image", "file_name")
    categories = _one_each(path, raw["categories"], "category", "name")
    read = {
        number: Photo(p["file_name"], _size(p.get("width")), _size(p.get("height"))) for number, p in photos.items()
    }
    odd = [
        p["file_name"] for p in photos.values() for k in ("width", "height") if p.get(k) is not None and not _size(p[k])
    ]
    notes = (
        [f"{len(set(odd))} photographs have a size that can't be ({odd[0]} is the first): read as without"]
        if odd
        else []
    )
    return Coco(read, {n: c["name"] for n, c in categories.items()}, raw["annotations"], tuple(notes))


def _check_entries(entries: Any, kind: str, keys: Sequence[str]) -> None:
    """Refuse entries that lack what they must have.

    Raises:
        KeyError, TypeError, ValueError: one does; the message says which.
    """
    if not isinstance(entries, list):
        raise TypeError(f"'{kind}' is no list")
    for number, entry in enumerate(entries):
        if not isinstance(entry, dict):
            raise TypeError(f"{kind}[{number}] holds no names and values")
        if lacks := [key for key in keys if key not in entry]:
            raise KeyError(f"{kind}[{number}] has no {lacks[0]}")
        for key in keys:
            allowed, words = (str, "text") if key in ("file_name", "name") else (int | str, "a whole number or text")
            value = int(entry[key]) if isinstance(entry[key], float) and entry[key].is_integer() else entry[key]
            if not isinstance(value, allowed) or isinstance(value, bool):
                raise TypeError(f"{kind}[{number}].{key} is {reprlib.repr(value)}, not {words}")
            if key == "name" and not value.strip():
                raise ValueError(f"{kind}[{number}].name is {value!r}, which names no class")
            str(value).encode()  # half a letter, as JSON may hold, can't be written anywhere


def _one_each(
    path: str, entries: Sequence[Mapping[str, Any]], kind: str, key: str
) -> dict[Hashable, Mapping[str, Any]]:
    """Return the entries by their own ids; one that stands there twice alike is one."""
    found: dict[Hashable, Mapping[str, Any]] = {}
    for entry in entries:
        number = _number(entry["id"])
        before = found.setdefault(number, entry)
        if same(before[key]) != same(entry[key]):
            raise HarnessError(
                f"data.annotations: '{path}': {kind} id {number} stands for '{before[key]}' and for '{entry[key]}'",
                REPEATED,
            )
    return {entry["id"]: entry for entry in found.values()}


def _number(value: Any) -> Hashable:
    """Return an id as it is held against others: 7, 7.0 and "7" are one."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    text = reprlib.repr(value) if isinstance(value, list | dict) else str(value).strip()  # however deep it is
    return int(text) if text.removeprefix("-").isdecimal() else text


def _size(value: Any) -> int | None:
    """Return a side in px; None where it is none."""
    try:
        side = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return int(side) if math.isfinite(side) and side >= 1 and not isinstance(value, bool) else None


def read_map(path: str) -> dict[str, str] | None:
    """Read the csv `category,class`; None where the categories are kept."""
    if not path:
        return None
    found = existing(path, "data.map", "a csv with a line `category,class` a category", "data/taco/map_10.csv")
    classes: dict[str, str] = {}
    for number, row in enumerate(csv.reader(io.StringIO(text(found.read_bytes(), path), newline="")), start=1):
        if row and len(row) != 2:
            raise HarnessError(f"{path}:{number}: {len(row)} columns", "write `category,class`, quoted if need be")
        if row and row != ["category", "class"]:
            category, kind = row[0].strip(), row[1].strip()
            if classes.setdefault(category, kind) != kind:
                what = f"{path}:{number}: category '{category}' is '{kind}' here and '{classes[category]}' above"
                raise HarnessError(what, "leave one of the lines")
    return classes


def read_things(coco: Coco, classes: Mapping[str, str] | None) -> tuple[list[Thing], list[int]]:
    """List every annotation, repeated ids too (TACO has two, each of two different objects), and those ids.

    Photographs that are one file are one: the first of their ids is taken.
    """
    mapped = None if classes is None else {same(category): kind for category, kind in classes.items()}
    categories = {_number(number): name for number, name in coco.categories.items()}
    first: dict[str, Hashable] = {}
    one = {_number(n): first.setdefault(same(photo.file_name), n) for n, photo in coco.photos.items()}
    seen: Counter[str] = Counter()
    things, repeated = [], {}
    for raw in coco.annotations:
        number = str(raw["id"])
        seen[number] += 1
        name = f"ann-{number}" + (f"-{seen[number]}" if seen[number] > 1 else "")
        if seen[number] > 1:
            repeated[number] = raw["id"]
        photo = one.get(_number(raw["image_id"]), raw["image_id"])
        kind, reason = _kind(raw, categories, mapped)
        things.append(Thing(name, photo, kind, clipped(raw.get("bbox"), coco.photos.get(photo, Photo(""))), reason))
    return things, [*repeated.values()]


def _kind(
    raw: Mapping[str, Any], categories: Mapping[Hashable, str], mapped: Mapping[str, str] | None
) -> tuple[str, str]:
    """Return an annotation's class, or '' and the reason why it has none."""
    if str(_number(raw.get("iscrowd", 0))).lower() not in ("0", "false", "none", "null", ""):
        return "", "a crowd (iscrowd)"
    category = categories.get(_number(raw.get("category_id")))
    if category is None:
        return "", "no such category"
    kind = category if mapped is None else mapped.get(same(category), "")
    return kind, "" if kind else "category not in the map"


def clipped(box: Any, photo: Photo) -> Box:
    """Clip a box at the edge of its photograph; NaN where it is no box."""
    if not isinstance(box, list | tuple) or len(box) != 4 or any(isinstance(v, bool) for v in box):
        return UNUSABLE
    try:
        x, y, width, height = (float(v) for v in box)
    except (TypeError, ValueError, OverflowError):
        return UNUSABLE
    if not all(map(math.isfinite, (x, y, width, height))):
        return UNUSABLE  # the smaller of an edge and NaN would be the edge
    left, top = max(0.0, x), max(0.0, y)
    right, bottom = min(photo.width or np.inf, x + width), min(photo.height or np.inf, y + height)
    return left, top, right - left, bottom - top
