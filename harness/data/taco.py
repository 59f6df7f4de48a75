"""Objects cut out of photographs by their COCO boxes, cleaned by the competition's rules."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import ImageOps

from harness.data.annotations import Coco, Photo, Thing, read_coco, read_map, read_things, tally
from harness.data.bound import refuse_too_big
from harness.data.crops import (
    as_stored,
    cut_out,
    overlapping,
    rare,
    square,
    too_long,
    too_small,
    unusable,
)
from harness.data.files import Files, attempts, opened
from harness.data.names import same, spelled
from harness.data.report import alike, refuse_damaged, refuse_few, refuse_little, refuse_lost, summary
from harness.data.split import Dataset, Images, cut_groups

EXIF_ORIENTATION = 0x0112


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
    annotated, repeated = read_things(coco, read_map(options.map))
    things, dropped = clean(annotated, options)
    with opened(options.root, "the photographs that data.annotations names", "data/taco-369-images.zip") as files:
        places, damaged = find_photos(coco, files)
        refuse_damaged(damaged, len(coco.photos), options.root)
        things = sift(things, [t.photo not in places for t in things], "photograph missing", dropped)
        refuse_too_big(len(things), options.side_px, options.max_gb)
        things, pixels, turned = cut_all(things, coco, places, files, options, dropped, damaged)
    refuse_damaged(damaged, len(coco.photos), options.root)
    refuse_lost(lost_classes(annotated, things, dropped, options.min_per_class))
    scarce = rare(np.array([t.kind for t in things]), options.min_per_class)
    few = tally([t for t, out in zip(things, scarce, strict=True) if out])
    few = {kind: few.get(kind, 0) for kind in tally(annotated) if kind in few or kind not in tally(things)}
    things, pixels = sift(things, scarce, "rare class", dropped), pixels[~scarce]
    classes = sorted({t.kind for t in things})
    labels = np.array([classes.index(t.kind) for t in things], dtype=np.int64)
    report = summary(len(annotated), classes, labels, damaged, dropped)
    report |= {"repeated_ids": repeated, "annotated": tally(annotated), "rare_classes": few}
    report |= {"notes": [*coco.notes, *notes_on(turned, classes, repeated)]}
    refuse_little(report)
    return divide(things, classes, labels, pixels, options, report)


def lost_classes(
    annotated: Sequence[Thing], left: Sequence[Thing], dropped: Sequence[Mapping[str, str]], least: int
) -> dict[str, list[tuple[str, str]]]:
    """List the classes of which nothing is left, though as many were annotated as are needed: names and reasons."""
    reasons = {d["name"]: d["reason"] for d in dropped}
    counts, kept = tally(annotated), tally(left)
    gone = [kind for kind, count in counts.items() if count >= least and kind not in kept]
    return {kind: [(t.name, reasons[t.name]) for t in annotated if t.kind == kind] for kind in gone}


def notes_on(turned: Sequence[str], classes: Sequence[str], repeated: Sequence[Any]) -> list[str]:
    """Say what is odd and does no harm for certain."""
    notes = alike(classes)
    if repeated:
        notes.append(
            f"{len(repeated)} annotation ids stand there more than once ({repeated[0]} is the first); all are read"
        )
    if turned:
        notes.append(
            f"{len(turned)} photographs are turned by their EXIF orientation, and no size says whether their boxes are "
            f"of the stored pixels: taken as of the upright photograph ({turned[0]} is the first)"
        )
    return notes


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
    dropped += [{"name": t.name, "reason": t.reason or "category not in the map"} for t in things if not t.kind]
    kept = [t for t in things if t.kind]
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


def find_photos(coco: Coco, files: Files) -> tuple[dict[Hashable, str], list[dict[str, str]]]:
    """Match the photographs with files, with or without the outer folders; list the missing ones."""
    every = {n: full for short, full in files.images().items() for n in spelled(short, full)}
    every |= {n: n for n in files.names}
    names = {same(n): full for n, full in every.items()} | every
    places, missing = {}, {}
    for number, photo in coco.photos.items():
        found = names.get(photo.file_name) or names.get(same(photo.file_name))
        if found:
            places[number] = found
        else:
            missing[photo.file_name] = {"name": photo.file_name, "reason": "no such file"}
    return places, [*missing.values()]


def cut_all(
    things: Sequence[Thing],
    coco: Coco,
    places: Mapping[Hashable, str],
    files: Files,
    options: TacoOptions,
    dropped: list[dict[str, str]],
    damaged: list[dict[str, str]],
) -> tuple[list[Thing], np.ndarray, list[str]]:
    """Decode each photograph once and cut its things out.

    Returns the things that are left, uint8 (N, S, S, 3), and the photographs that are turned without a size to tell.
    """
    members: dict[Hashable, list[int]] = defaultdict(list)
    for position, thing in enumerate(things):
        members[thing.photo].append(position)
    outside = np.zeros(len(things), dtype=bool)
    turned = set()

    def cut_one(photo: Hashable) -> np.ndarray:
        image, unsure = upright(files.read(places[photo]), coco.photos[photo])
        if unsure:
            turned.add(coco.photos[photo].file_name)
        pixels = np.zeros((len(members[photo]), options.side_px, options.side_px, 3), dtype=np.uint8)
        for row, k in enumerate(members[photo]):
            crop = cut_out(image, np.array(things[k].box), options.margin)
            outside[k] = not crop.size  # where the annotations don't say the photograph's size
            pixels[row] = 0 if outside[k] else square(crop, options.side_px)
        return pixels

    pixels = np.empty((len(things), options.side_px, options.side_px, 3), dtype=np.uint8)
    lost = np.zeros(len(things), dtype=bool)
    for photo, crops, reason in attempts(cut_one, list(members), "cut"):
        if crops is None:
            damaged.append({"name": coco.photos[photo].file_name, "reason": reason})
            lost[members[photo]] = True
        else:
            pixels[members[photo]] = crops
    kept = sift(things, lost, "photograph damaged", dropped)
    out = outside[~lost]
    return sift(kept, out, "no usable box", dropped), pixels[~lost][~out], sorted(turned)


def upright(data: bytes, photo: Photo) -> tuple[np.ndarray, bool]:
    """Decode a photograph, upright by its EXIF orientation; tell whether its boxes may be of the stored pixels.

    Raises:
        ValueError: it is of another size than its boxes were drawn on; the message is the reason.
    """
    image = as_stored(data)
    orientation, (wide, high) = image.getexif().get(EXIF_ORIENTATION, 1), image.size
    pixels = np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
    height, width = pixels.shape[:2]
    stated = photo.width or width, photo.height or height
    if stated != (width, height):
        what = f"{width}x{height} px, the annotations say {stated[0]}x{stated[1]}"
        if stated == (wide, high):
            what += (
                f", which is its size as it is stored, before EXIF orientation {orientation} turns it: so are the boxes"
            )
        raise ValueError(what)
    told = orientation in range(5, 9) and wide != high and photo.width and photo.height
    return pixels, orientation in range(2, 9) and not told
