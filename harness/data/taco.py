"""Objects cut out of photographs by their COCO boxes, cleaned by the competition's rules."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.data.annotations import Thing, read_coco, read_map, read_things, tally
from harness.data.bound import refuse_too_big
from harness.data.crops import (
    cut_out,
    decode,
    overlapping,
    rare,
    square,
    too_long,
    too_small,
    unusable,
)
from harness.data.files import Files, attempts, opened
from harness.data.report import refuse_damaged, refuse_few, refuse_little, summary
from harness.data.split import Dataset, Images, cut_groups

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
