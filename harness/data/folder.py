"""A folder or a zip of class folders, whole or already cut into parts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

import numpy as np

from harness.data.bound import refuse_too_big
from harness.data.crops import decode, square
from harness.data.files import SUFFIXES, Files, attempts, opened
from harness.data.lists import follow
from harness.data.report import refuse_damaged, refuse_few, summary
from harness.data.split import Dataset, Images, cut
from harness.errors import HarnessError

PARTS = {"train": "train", "val": "validation", "valid": "validation", "validation": "validation", "test": "test"}


@dataclass
class FolderOptions:
    """Options of `data=folder`.

    root: folder or zip of class folders. validation: share of the non-test images. test: share of all images.
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
    """Read class folders; parts come from lists, else from train/ val/ test/ folders, else from class and seed.

    Raises:
        HarnessError: a path is missing, a list is wrong, too many images are damaged, a class is too small.
    """
    with opened(options.root, "class folders of images, or a zip of them", "data/trashnet-128.zip") as files:
        images = files.images()
        places, dropped = arrange(files, images)
        lists = {p: getattr(options, f"{p}_list") for p in ("train", "validation", "test")}
        if any(lists.values()):
            places, unlisted = follow(lists, files, images, places, options.root)
            dropped += unlisted
        if not places:
            raise HarnessError(
                f"data.root: no image in a class folder in '{options.root}'", "put them so: ROOT/glass/1.jpg"
            )
        refuse_too_big(len(places), options.side_px, options.max_gb)
        pixels, damaged = decode_all(files, {n: images[n] for n in places}, options.side_px)
    refuse_damaged(damaged, len(places), options.root)
    lost = {d["name"] for d in damaged}
    return assemble(places, [n for n in places if n not in lost], pixels, damaged, dropped, options)


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
    labels = np.array([classes.index(places[n][0]) for n in names], dtype=np.int64)
    refuse_few(classes, labels)
    parts = np.array([places[n][1] for n in names])
    index = divide(labels, parts, {part for _, part in places.values()}, options)
    taken = {part: Images(pixels[i], labels[i], tuple(names[k] for k in i)) for part, i in index.items()}
    report = summary(len(places) + len(dropped), classes, labels, damaged, dropped)
    return Dataset("folder", tuple(classes), **taken, report=report)


def divide(labels: np.ndarray, parts: np.ndarray, given: set[str], options: FolderOptions) -> dict[str, np.ndarray]:
    """Return the positions of each part; test and validation are cut from train where they were not given."""
    index = {part: np.flatnonzero(parts == part) for part in ("train", "validation", "test")}
    for number, (part, share) in enumerate((("test", options.test), ("validation", options.validation))):
        if part not in given:
            rest = index["train"]
            chosen, left = cut(labels[rest], (share,), options.seed + number)
            index[part], index["train"] = rest[chosen], rest[left]
    return index


def arrange(files: Files, images: Mapping[str, str]) -> tuple[dict[str, tuple[str, str]], list[dict[str, str]]]:
    """Give each image its class and part by its folders; report what has none."""
    steps = {n: n.split("/") for n in images}
    tops = {s[0] for s in steps.values() if len(s) > 2 and s[0] in PARTS}
    in_parts = "train" in tops and len(tops) > 1
    level = 1 if in_parts else 0
    places, dropped = {}, []
    for name, s in steps.items():
        if len(s) < level + 2 or (in_parts and s[0] not in PARTS):
            dropped.append({"name": name, "reason": "in no class folder"})
        else:
            places[name] = (s[level], PARTS[s[0]] if in_parts else "train")
    refuse_strangers(places)
    return places, dropped + other_types(files, [images[n] for n in places])


def refuse_strangers(places: Mapping[str, tuple[str, str]]) -> None:
    """Refuse a class that has no folder in train/ (the course's test/NoLabel is one)."""
    known = {kind for kind, part in places.values() if part == "train"}
    for name, (kind, part) in places.items():
        if kind not in known:
            raise HarnessError(
                f"data.root: '{name}' of the {part} part is of class '{kind}', which train/ has not",
                "move that folder out of data.root; a part that is not there is cut from train/",
            )


def other_types(files: Files, images: Sequence[str]) -> list[dict[str, str]]:
    """Report what lies beside the images but has no image's suffix."""
    homes = {PurePosixPath(n).parent for n in images}
    others = [n for n in files.names if not n.lower().endswith(SUFFIXES) and PurePosixPath(n).parent in homes]
    return [{"name": n, "reason": "not an image by its name"} for n in others]


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
