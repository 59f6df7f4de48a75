"""A team's copy of a competition's data: the images of all parts, the labels of all but the test part.

    DATA.json                    classes, fingerprint, and what the data set says to searches
    train.csv  train/            `id,label` a line, and ID.png an image; likewise validation
    test/                        the images alone

A test image's name is a hash of its pixels, and its place that of the name: both tell only what the image shows by
itself, so no list of old and new names is needed, and the judge finds the names from its own images.
"""

from __future__ import annotations

import csv
import io
import json
import os
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from harness.data.bound import refuse_too_big
from harness.data.crops import decode
from harness.data.files import Files, attempts, opened
from harness.data.split import Dataset, Images, pixel_hashes
from harness.errors import HarnessError

ABOUT = "DATA.json"
KINDS = {"classes": list, "side_px": int, "fingerprint": str, "hints": dict}
"""What `DATA.json` holds."""
NAME_DIGITS = 32
MOMENT = 946_684_800
"""When every published file was changed last: the year 2000, as zip files know none before 1980."""
AGAIN = "copy or unpack what the organiser gave you again"


@dataclass
class PublishedOptions:
    """Options of `data=published`.

    root: folder or zip that `competition publish` wrote. max_gb: refuse more pixels than this (10^9 bytes).
    """

    root: str = ""
    max_gb: float = 4.0


def names_of(pixels: np.ndarray) -> tuple[str, ...]:
    """Name test images, uint8 (N, S, S, 3), by their pixels; equal images are numbered as they come."""
    count: Counter[str] = Counter()
    names = []
    for found in pixel_hashes(pixels):
        name = found[:NAME_DIGITS]
        count[name] += 1
        names.append(name if count[name] == 1 else f"{name}-{count[name]}")
    return tuple(names)


def publish(dataset: Dataset, folder: Path, hints: Mapping[str, Any]) -> None:
    """Write a team's copy of a data set; it appears whole or not at all.

    hints: what the data set says to searches, kept as plain JSON.

    Raises:
        HarnessError: the folder is there already, or can't be written.
    """
    if folder.exists():
        raise HarnessError(f"{folder}: is there already", "name a new folder, or remove this one")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".publishing-", dir=folder.parent) as part:
            whole = Path(part, "whole")
            _fill(whole, dataset, hints)
            os.rename(whole, folder)
    except OSError as e:
        raise HarnessError(f"{folder}: can't be written: {e}", "name a folder that can be") from e


def _fill(folder: Path, dataset: Dataset, hints: Mapping[str, Any]) -> None:
    """Write the files, each folder's in the order of their names: the order that a disk keeps tells nothing else."""
    about = {
        "classes": dataset.classes, "side_px": dataset.side_px, "fingerprint": dataset.fingerprint(),
        "hints": dict(hints),
    }  # fmt: skip
    files = {ABOUT: (json.dumps(about, indent=2) + "\n").encode()}
    for name, part in (("train", dataset.train), ("validation", dataset.validation)):
        ids = [f"{name}-{i:06d}" for i in range(len(part))]  # the readers' own may count the images between them
        files |= {f"{name}.csv": _table(ids, [dataset.classes[label] for label in part.labels])}
        files |= {f"{name}/{id}.png": _png(image) for id, image in zip(ids, part.pixels, strict=True)}
    named = sorted(zip(names_of(dataset.test.pixels), dataset.test.pixels, strict=True), key=lambda pair: pair[0])
    files |= {f"test/{id}.png": _png(image) for id, image in named}
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        os.utime(path, (MOMENT, MOMENT))
    for place in (folder / "train", folder / "validation", folder / "test", folder):
        os.utime(place, (MOMENT, MOMENT))


def _table(ids: Sequence[str], labels: Sequence[str]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([("id", "label"), *zip(ids, labels, strict=True)])
    return text.getvalue().encode()


def _png(image: np.ndarray) -> bytes:
    """Encode uint8 (S, S, 3) without loss; OpenCV writes pixels alone: no time, no text."""
    return cv2.imencode(".png", cv2.cvtColor(image, cv2.COLOR_RGB2BGR))[1].tobytes()


def hints(root: str) -> dict[str, Any]:
    """Return what a published copy says to searches.

    Raises:
        HarnessError: it is no published copy.
    """
    with _copy(root) as files:
        return _about(files, root)["hints"]


def load(options: PublishedOptions) -> Dataset:
    """Read a team's copy; the labels of its test part are hidden.

    Raises:
        HarnessError: it isn't what the organiser published.
    """
    with _copy(options.root) as files:
        about = _about(files, options.root)
        classes, side_px = tuple(about["classes"]), about["side_px"]
        refuse_too_big(sum(n.endswith(".png") for n in files.names), side_px, options.max_gb)
        train, validation = (_labelled(files, name, classes, side_px, options.root) for name in ("train", "validation"))
        test = _hidden(files, side_px, options.root)
    kept = np.bincount(np.concatenate([train.labels, validation.labels]), minlength=len(classes)).tolist()
    total = len(train) + len(validation) + len(test)
    report = {"read": total, "kept": dict(zip(classes, kept, strict=True)), "test": "hidden"}
    dataset = Dataset("published", classes, train, validation, test, report)
    if dataset.fingerprint() != about["fingerprint"]:
        raise HarnessError(f"data.root: '{options.root}' isn't as it was published: other images or labels", AGAIN)
    return dataset


@contextmanager
def _copy(root: str) -> Iterator[Files]:
    """Open a copy, with or without the one outer folder that a zip of it may have."""
    with opened(root, "what `competition publish` wrote: a folder, or a zip of it", "data/published") as files:
        outer = next((n.removesuffix(ABOUT) for n in files.names if n in (ABOUT, f"{n.split('/')[0]}/{ABOUT}")), "")
        inside = tuple(n.removeprefix(outer) for n in files.names if n.startswith(outer))
        yield Files(inside, lambda name: files.read(f"{outer}{name}"))


def _about(files: Files, root: str) -> dict[str, Any]:
    try:
        about = json.loads(files.read(ABOUT))
        for name, kind in KINDS.items():
            if not isinstance(about[name], kind):
                raise TypeError(name)
        if about["side_px"] < 1 or not all(isinstance(name, str) for name in about["classes"]):
            raise ValueError("side_px or classes")
        return about
    except (OSError, KeyError, TypeError, ValueError, RecursionError) as e:
        what = f"data.root: '{root}' is no published copy: no {ABOUT} that can be read ({type(e).__name__})"
        raise HarnessError(what, "name what `python -m harness competition publish` wrote") from e


def _labelled(files: Files, part: str, classes: Sequence[str], side_px: int, root: str) -> Images:
    try:
        rows = [*csv.reader(io.StringIO(files.read(f"{part}.csv").decode()))][1:]
        ids, labels = [row[0] for row in rows], [classes.index(row[1]) for row in rows]
    except (OSError, KeyError, IndexError, ValueError) as e:
        raise HarnessError(f"data.root: {part}.csv of '{root}' can't be read: {e}", AGAIN) from e
    return Images(_pixels(files, part, ids, side_px, root), np.array(labels, dtype=np.int64), tuple(ids))


def _hidden(files: Files, side_px: int, root: str) -> Images:
    """Read the test images, by the names that the judge finds: whatever they are called here since."""
    ids = [n.removeprefix("test/").removesuffix(".png") for n in files.names if fnmatchcase(n, "test/*.png")]
    pixels = _pixels(files, "test", ids, side_px, root)
    return Images(pixels, None, names_of(pixels))


def _pixels(files: Files, part: str, ids: Sequence[str], side_px: int, root: str) -> np.ndarray:
    """Decode a part's images, uint8 (N, S, S, 3): all of them, or none."""
    pixels = np.empty((len(ids), side_px, side_px, 3), dtype=np.uint8)
    found = attempts(lambda id: decode(files.read(f"{part}/{id}.png")), ids, part)
    for place, (id, image, reason) in enumerate(found):
        if image is None or image.shape != pixels.shape[1:]:
            why = reason or f"{image.shape[1]}x{image.shape[0]} px"
            raise HarnessError(f"data.root: {part}/{id}.png of '{root}' is damaged: {why}", AGAIN)
        pixels[place] = image
    return pixels
