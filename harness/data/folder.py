"""A folder or a zip of labelled images, whole or already cut into parts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from harness.data import labels
from harness.data.bound import refuse_too_big
from harness.data.crops import decode, square
from harness.data.files import Files, attempts, opened
from harness.data.lists import follow
from harness.data.report import refuse_damaged, refuse_few, refuse_lost, summary
from harness.data.split import Dataset, Images, cut
from harness.data.tree import arrange


@dataclass
class FolderOptions:
    """Options of `data=folder`.

    root: folder or zip of class folders, or of images beside a labels.csv. validation: share of the non-test images.
    test: share of all images.
    train_list, validation_list, test_list: text files, on disk or in root, a line an image; '' = cut by share.
    max_gb: refuse more pixels than this (10^9 bytes).
    """

    root: str = ""
    seed: int = 0
    validation: float = 0.2
    test: float = 0.2
    side_px: int = 128
    train_list: str = ""
    validation_list: str = ""
    test_list: str = ""
    max_gb: float = 4.0


def load(options: FolderOptions) -> Dataset:
    """Read class folders, or a flat folder with labels.csv.

    Parts come from lists, else from part folders (train/ val/ test/ or alike) or the table, else from class and seed.

    Raises:
        HarnessError: a path is missing, a list, a row or a folder is wrong, too many images are damaged, a class has
            too few images or lost them all.
    """
    with opened(options.root, "class folders of images, or a zip of them", "data/trashnet-128.zip") as files:
        images = files.images()
        table = labels.find(files, images)
        places, dropped, notes = labels.read(table, files, images) if table else arrange(files, images)
        lists = {p: getattr(options, f"{p}_list") for p in ("train", "validation", "test")}
        if not table:
            notes += [f"{name} is not read: the folders say the classes" for name in labels.tables_of(files)]
        if any(lists.values()):
            places, unlisted = follow(lists, files, images, places, options.root)
            dropped += unlisted
        refuse_too_big(len(places), options.side_px, options.max_gb)
        pixels, damaged = decode_all(files, {n: images[n] for n in places}, options.side_px)
    refuse_damaged(damaged, len(places), options.root)
    lost = {d["name"] for d in damaged}
    dataset = assemble(places, [n for n in places if n not in lost], pixels, damaged, dropped, options)
    return replace(dataset, report={**dataset.report, "notes": notes})


def assemble(
    places: Mapping[str, tuple[str, str]],
    names: Sequence[str],
    pixels: np.ndarray,
    damaged: list[dict[str, str]],
    dropped: list[dict[str, str]],
    options: FolderOptions,
) -> Dataset:
    """Label what was read and cut the parts that were not given."""
    classes = sorted({kind for kind, _ in places.values()})
    number = {kind: i for i, kind in enumerate(classes)}
    of = np.array([number[places[n][0]] for n in names], dtype=np.int64)
    refuse_lost(_lost(places, names, damaged))
    refuse_few(classes, of, [*damaged, *dropped])
    parts = np.array([places[n][1] for n in names])
    index = divide(of, parts, {part for _, part in places.values()}, options)
    taken = {part: Images(pixels[i], of[i], tuple(names[k] for k in i)) for part, i in index.items()}
    report = summary(len(places) + len(dropped), classes, of, damaged, dropped)
    return Dataset("folder", tuple(classes), **taken, report=report)


def _lost(
    places: Mapping[str, tuple[str, str]], names: Sequence[str], damaged: Sequence[Mapping[str, str]]
) -> dict[str, list[tuple[str, str]]]:
    """List the classes of which no image could be read: names and reasons."""
    left = {places[n][0] for n in names}
    gone = [d for d in damaged if places[d["name"]][0] not in left]
    kinds = sorted({places[d["name"]][0] for d in gone})
    return {k: [(d["name"], d["reason"]) for d in gone if places[d["name"]][0] == k] for k in kinds}


def divide(labels: np.ndarray, parts: np.ndarray, given: set[str], options: FolderOptions) -> dict[str, np.ndarray]:
    """Return the positions of each part; test and validation are cut from train where they were not given."""
    index = {part: np.flatnonzero(parts == part) for part in ("train", "validation", "test")}
    for number, (part, share) in enumerate((("test", options.test), ("validation", options.validation))):
        if part not in given:
            rest = index["train"]
            chosen, left = cut(labels[rest], (share,), options.seed + number)
            index[part], index["train"] = rest[chosen], rest[left]
    return index


def decode_all(files: Files, images: Mapping[str, str], side_px: int) -> tuple[np.ndarray, list[dict[str, str]]]:
    """Decode each image once: uint8 (N, S, S, 3) of the sound ones, and the damaged with their reasons."""
    pixels = np.empty((len(images), side_px, side_px, 3), dtype=np.uint8)
    damaged: list[dict[str, str]] = []
    sound = 0
    for name, picture, reason in attempts(lambda n: square(decode(files.read(images[n])), side_px), [*images], "read"):
        if picture is None:
            damaged.append({"name": name, "reason": reason})
        else:
            pixels[sound] = picture
            sound += 1
    return pixels[:sound], damaged
