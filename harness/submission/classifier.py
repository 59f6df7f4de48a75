"""A finished network at work on photos: the classes of any photo, prepared as the images that it learnt from."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np

from harness.data.crops import decode, square
from harness.data.files import SUFFIXES, attempts
from harness.data.prepare import Preprocessing, prepare
from harness.errors import HarnessError
from harness.measure.process import predict
from harness.record import manifest
from harness.record.manifest import MODEL
from harness.record.run_folder import RUN, read_run
from harness.submission import gate

AT_ONCE = 512
"""Photos in memory at a time."""


@dataclass(frozen=True)
class Photo:
    """What became of a photo. confidences: by class, float64 (C,) that sum to 1; None where it can't be read: why."""

    path: Path
    confidences: np.ndarray | None
    why: str = ""


@dataclass(frozen=True)
class Classifier:
    """A network, its classes, and what stands between a photo and it. side_px: of the data set's stored squares."""

    model: Path
    classes: Sequence[str]
    side_px: int
    how: Preprocessing

    def classify(self, paths: Iterable[Path]) -> Iterator[Photo]:
        """Classify photos in their order.

        Raises:
            HarnessError: the model file can't be run, or has another number of outputs.
        """
        left = iter(paths)
        while some := [*islice(left, AT_ONCE)]:
            read = [*attempts(lambda path: square(decode(path.read_bytes()), self.side_px), some, "read")]
            pixels = [picture for _, picture, _ in read if picture is not None]
            found = iter(self._confidences(np.stack(pixels)) if pixels else ())
            for path, picture, why in read:
                yield Photo(path, None if picture is None else next(found), why)

    def _confidences(self, pixels: np.ndarray) -> np.ndarray:
        """Return the softmax of the logits, float64 (N, C), of uint8 (N, S, S, 3)."""
        logits = predict(self.model, prepare(pixels, self.how)).astype(np.float64)
        if logits.shape[1] != len(self.classes):
            what = f"{self.model}: {logits.shape[1]} outputs, {len(self.classes)} classes"
            raise HarnessError(what, "train or pack it again")
        shares = np.exp(logits - logits.max(axis=1, keepdims=True))
        return shares / shares.sum(axis=1, keepdims=True)


def of_run(folder: Path) -> Classifier:
    """Read a final training's network.

    Raises:
        HarnessError: the folder holds no finished run, or its model file isn't one.
    """
    run = read_run(folder)
    side_px = run.data.get("side_px") or run.data["options"].get("side_px")
    return _checked(folder / MODEL, run.data["classes"], side_px, Preprocessing.from_dict(run.preprocessing))


def of_entry(folder: Path) -> Classifier:
    """Read an entry's network.

    Raises:
        HarnessError: the folder holds no entry, or its model file isn't one.
    """
    entry = manifest.read(folder)
    side_px = entry.preprocessing.get("side_px") or entry.data["options"].get("side_px")
    return _checked(folder / MODEL, entry.classes, side_px, entry.prepared())


def is_run(folder: Path) -> bool:
    """Tell whether a folder is a finished run's."""
    return (folder / RUN).is_file()


def is_entry(folder: Path) -> bool:
    """Tell whether a folder is an entry's."""
    return (folder / manifest.MANIFEST).is_file()


def _checked(model: Path, classes: Sequence[str], side_px: int | None, how: Preprocessing) -> Classifier:
    if side_px is None:
        what = f"{model.parent}: an earlier version made it, and didn't note the size that photos are stored at"
        raise HarnessError(what, "train or pack it again")
    if not model.is_file():
        raise HarnessError(f"{model}: not found", "train or pack it again")
    gate.check(model, model.read_bytes(), how.resolution_px)
    return Classifier(model, tuple(classes), int(side_px), how)


def photos_in(path: Path) -> list[Path]:
    """Return a photo's path, or those of all photos in a folder and its folders, sorted.

    Raises:
        HarnessError: nothing is there, or no photo.
    """
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise HarnessError(f"predict: {path}: no such file", "name a photo, or a folder of them")
    found = sorted(p for p in path.rglob("*") if p.suffix.lower() in SUFFIXES and p.is_file())
    if not found:
        raise HarnessError(f"predict: {path}: no photo in this folder ({', '.join(SUFFIXES)})", "name another folder")
    return found
