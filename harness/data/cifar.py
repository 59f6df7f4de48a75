"""CIFAR-10 with its official test part."""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from harness.data.bound import refuse_too_big
from harness.data.prepare import resize
from harness.data.split import Dataset, Images, cut
from harness.errors import HarnessError

FOLDER = "cifar-10-batches-py"
# The authors' files and their md5, as torchvision lists them; its import would cost every worker 150 MB.
LEARN = {
    "data_batch_1": "c99cafc152244af753f735de768cd75f",
    "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
    "data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
    "data_batch_4": "634d18415352ddfa80567beed471001a",
    "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
}
TEST = {"test_batch": "40351d587109b95175f43aff81a1287e"}
CLASSES = {"batches.meta": "5ff9c542aee3614f3951f8cda6e48888"}
FIX = f"data.root=PATH of the folder that holds {FOLDER}, or data.download=true with data.root=PATH to put it in"


@dataclass
class CifarOptions:
    """Options of `data=cifar10`.

    root: folder that holds cifar-10-batches-py, or that folder itself. validation: share of the 50,000 training images.
    side_px: stored side (32 px in the source). download: fetch what is missing (170 MB).
    """

    root: str = ""
    seed: int = 0
    validation: float = 0.2
    side_px: int = 32
    download: bool = False


def load(options: CifarOptions) -> Dataset:
    """Read the 60,000 images: the training images cut by class and seed, the official test images kept.

    Source: https://www.cs.toronto.edu/~kriz/cifar.html
    Raises:
        HarnessError: the files are missing, damaged or can't be downloaded.
    """
    root = find(options)
    refuse_too_big(60_000, options.side_px)
    if options.download:
        download(root)
    refuse_damaged(root)
    images, test = (read(root, files, kind, options.side_px) for files, kind in ((LEARN, "train"), (TEST, "test")))
    (names,) = (tuple(unpickled(root, name)["label_names"]) for name in CLASSES)
    validation, train = cut(images.labels, (options.validation,), options.seed)
    kept = np.bincount(images.labels) + np.bincount(test.labels)
    report = {"read": len(images) + len(test), "kept": dict(zip(names, kept.tolist(), strict=True))}
    return Dataset("cifar10", names, images.take(train), images.take(validation), test, report)


def find(options: CifarOptions) -> Path:
    """Return the folder that holds cifar-10-batches-py, or is to hold it."""
    if not options.root:
        raise HarnessError("data.root is empty; CIFAR-10 is not part of the harness", f"set {FIX}")
    root = Path(options.root).expanduser()
    root = root.parent if root.name == FOLDER else root
    if not options.download and not (root / FOLDER).is_dir():
        raise HarnessError(f"data.root: there is no folder {FOLDER} in '{root}'", f"set {FIX}")
    return root


def download(root: Path) -> None:
    """Let torchvision fetch what is missing."""
    from torchvision.datasets import CIFAR10

    try:
        CIFAR10(str(root), download=True)
    except (OSError, RuntimeError) as error:
        raise HarnessError(f"data.root: CIFAR-10 can't be fetched into '{root}': {error}", f"set {FIX}") from error


def refuse_damaged(root: Path) -> None:
    """Refuse files that are missing or differ from the authors', before any is unpickled."""
    wrong = [name for name, md5 in (LEARN | TEST | CLASSES).items() if md5_of(root / FOLDER / name) != md5]
    if wrong:
        raise HarnessError(
            f"data.root: missing or damaged (the md5 differs) in '{root / FOLDER}': {', '.join(wrong)}",
            f"delete the folder and unpack it again, or set {FIX}",
        )


def md5_of(path: Path) -> str:
    """Return the md5 of a file; '' where there is none.

    Raises:
        HarnessError: it can't be read.
    """
    if not path.is_file():
        return ""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "md5").hexdigest()
    except OSError as error:
        raise HarnessError(f"data.root: '{path}' can't be read: {error}", f"set {FIX}") from error


def read(root: Path, files: Sequence[str], kind: str, side_px: int) -> Images:
    """Read batch files, one in memory at a time; the images are named by their position in them."""
    pixels = np.empty((10_000 * len(files), side_px, side_px, 3), dtype=np.uint8)
    labels = np.empty(len(pixels), dtype=np.int64)
    for number, name in enumerate(files):
        batch, rows = unpickled(root, name), slice(10_000 * number, 10_000 * (number + 1))
        pixels[rows] = resize(batch["data"].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1), side_px)
        labels[rows] = batch["labels"]
    return Images(pixels, labels, tuple(f"{kind}-{i:05d}" for i in range(len(pixels))))


def unpickled(root: Path, name: str) -> dict[str, Any]:
    """Unpickle one of the authors' files."""
    with (root / FOLDER / name).open("rb") as file:
        return pickle.load(file, encoding="latin1")
