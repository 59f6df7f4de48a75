"""Objects cut out of photographs by their COCO boxes, cleaned by the competition's rules."""

from __future__ import annotations

import contextlib
import csv
import io
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.data.crops import (
    cut_out,
    decode,
    overlapping,
    rare,
    refuse_too_big,
    square,
    too_long,
    too_small,
    unusable,
)
from harness.data.files import Files, attempts, existing, opened
from harness.data.report import refuse_damaged, refuse_few, refuse_little, summary
from harness.data.split import Dataset, Images, cut_groups
from harness.errors import HarnessError

if TYPE_CHECKING:
    from pycocotools.coco import COCO


@dataclass
class TacoOptions:
    """Options of `data=taco`.

    root: folder or zip of the photographs. annotations: COCO json. map: csv `category,class`, '' = keep the categories.
    iou: of two boxes over it the larger is dropped. max_aspect: longer by shorter side. min_side_px, min_longer_px: of
    the box in the photograph. margin: share of the box's longer side. max_gb: refuse more pixels (10^9 bytes).
    """

    root: str = ""
    annotations: str = ""
    map: str = ""
    iou: float = 0.4
    max_aspect: float = 4.0
    min_side_px: int = 8
    min_longer_px: int = 24
    min_per_class: int = 20
    margin: float = 0.1
    side_px: int = 128
    seed: int = 0
    validation: float = 0.2
    test: float = 0.2
    max_gb: float = 4.0


@dataclass(frozen=True)
class Thing:
    """One annotated object. box: x, y, width, height in px of the photograph, clipped at its edge."""

    name: str
    photo: int
    kind: str
    box: tuple[float, float, float, float]


def load(options: TacoOptions) -> Dataset:
    """Cut the crops, clean them, and keep the crops of one photograph in one part.

    Source: http://tacodataset.org
    Raises:
        HarnessError: a path is missing, a file is not what it should be, or too little is left.
    """
    coco = read_coco(options.annotations)
    things, repeated = read_things(coco, read_map(options.map))
    annotated = tally(things)
    read = len(things)
    things, dropped = clean(things, options)
    with opened(options.root, "the photographs that data.annotations names", "data/taco-369-images.zip") as files:
        places, damaged = find_photos(coco, files)
        refuse_damaged(damaged, len(coco.imgs), options.root)
        things = sift(things, [t.photo not in places for t in things], "photograph missing", dropped)
        refuse_too_big(len(things), options.side_px, options.max_gb)
        things, pixels = cut_all(things, coco, places, files, options, dropped, damaged)
    refuse_damaged(damaged, len(coco.imgs), options.root)
    scarce = rare(np.array([t.kind for t in things]), options.min_per_class)
    few = tally([t for t, out in zip(things, scarce, strict=True) if out])
    things, pixels = sift(things, scarce, "rare class", dropped), pixels[~scarce]
    classes = sorted({t.kind for t in things})
    labels = np.array([classes.index(t.kind) for t in things], dtype=np.int64)
    report = summary(read, classes, labels, damaged, dropped)
    report |= {"repeated_ids": repeated, "annotated": annotated, "rare_classes": few}
    refuse_little(report)
    return divide(things, classes, labels, pixels, options, report)


def tally(things: Sequence[Thing]) -> dict[str, int]:
    """Count the things of each class, in the order of the names; those of no class are left out."""
    return dict(sorted(Counter(t.kind for t in things if t.kind).items()))


def divide(
    things: Sequence[Thing],
    classes: Sequence[str],
    labels: np.ndarray,
    pixels: np.ndarray,
    options: TacoOptions,
    report: Mapping[str, Any],
) -> Dataset:
    """Cut the crops into parts by photograph."""
    refuse_few(classes, labels)
    learn = 1 - options.test
    shares = (learn * (1 - options.validation), learn * options.validation, options.test)
    index = cut_groups(labels, np.array([t.photo for t in things]), shares, options.seed)
    train, validation, test = (Images(pixels[i], labels[i], tuple(things[k].name for k in i)) for i in index)
    return Dataset("taco", tuple(classes), train, validation, test, report)


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


def clean(things: Sequence[Thing], options: TacoOptions) -> tuple[list[Thing], list[dict[str, str]]]:
    """Apply the rules that need boxes alone, in this order; a thing is dropped for the first that holds."""
    dropped: list[dict[str, str]] = []
    kept = sift(things, [not t.kind for t in things], "category not in the map", dropped)
    kept = sift(kept, unusable(boxes_of(kept)), "no usable box", dropped)
    small = too_small(boxes_of(kept), options.min_side_px, options.min_longer_px)
    kept = sift(kept, small, "too small", dropped)
    kept = sift(kept, too_long(boxes_of(kept), options.max_aspect), "extreme aspect ratio", dropped)
    boxes, photos = boxes_of(kept), np.array([t.photo for t in kept])
    over = np.zeros(len(kept), dtype=bool)
    for photo in np.unique(photos):
        over[photos == photo] = overlapping(boxes[photos == photo], options.iou)
    return sift(kept, over, "overlaps a smaller box", dropped), dropped


def boxes_of(things: Sequence[Thing]) -> np.ndarray:
    """Return the boxes, float64 (N, 4)."""
    return np.array([t.box for t in things], dtype=np.float64).reshape(-1, 4)


def sift(
    things: Sequence[Thing], drop: Sequence[bool] | np.ndarray, reason: str, dropped: list[dict[str, str]]
) -> list[Thing]:
    """Return the things not marked; list the others with the reason."""
    pairs = list(zip(things, drop, strict=True))
    dropped += [{"name": t.name, "reason": reason} for t, out in pairs if out]
    return [t for t, out in pairs if not out]


def find_photos(coco: COCO, files: Files) -> tuple[dict[int, str], list[dict[str, str]]]:
    """Match the photographs with files, with or without one outer folder; list the missing ones."""
    names = files.images() | {n: n for n in files.names}
    wanted = {number: photo["file_name"] for number, photo in coco.imgs.items()}
    missing = [{"name": name, "reason": "no such file"} for name in wanted.values() if name not in names]
    return {number: names[name] for number, name in wanted.items() if name in names}, missing


def cut_all(
    things: Sequence[Thing],
    coco: COCO,
    places: Mapping[int, str],
    files: Files,
    options: TacoOptions,
    dropped: list[dict[str, str]],
    damaged: list[dict[str, str]],
) -> tuple[list[Thing], np.ndarray]:
    """Decode each photograph once and cut its things out: those that are left, and uint8 (N, S, S, 3)."""
    members: dict[int, list[int]] = defaultdict(list)
    for position, thing in enumerate(things):
        members[thing.photo].append(position)

    def cut_one(photo: int) -> np.ndarray:
        image = decode(files.read(places[photo]))
        check_size(image, coco.imgs[photo])
        boxes = boxes_of([things[k] for k in members[photo]])
        return np.stack([square(cut_out(image, box, options.margin), options.side_px) for box in boxes])

    pixels = np.empty((len(things), options.side_px, options.side_px, 3), dtype=np.uint8)
    lost = np.zeros(len(things), dtype=bool)
    for photo, crops, reason in attempts(cut_one, list(members), "cut"):
        if crops is None:
            damaged.append({"name": coco.imgs[photo]["file_name"], "reason": reason})
            lost[members[photo]] = True
        else:
            pixels[members[photo]] = crops
    return sift(things, lost, "photograph damaged", dropped), pixels[~lost]


def check_size(image: np.ndarray, photo: Mapping[str, Any]) -> None:
    """Refuse a photograph of another size than its boxes were drawn on."""
    height, width = image.shape[:2]
    stated = photo.get("width", width), photo.get("height", height)
    if stated != (width, height):
        raise ValueError(f"{width}x{height} px, the annotations say {stated[0]}x{stated[1]}")
