"""CIFAR-10 with its official test part."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from harness.data.prepare import resize
from harness.data.split import Dataset, Images, cut
from harness.errors import HarnessError

if TYPE_CHECKING:
    from torchvision.datasets import CIFAR10

FOLDER = "cifar-10-batches-py"
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
    learn, judge = (open_part(root, options.download, train) for train in (True, False))
    images, test = (to_images(part, kind, options.side_px) for part, kind in ((learn, "train"), (judge, "test")))
    validation, train = cut(images.labels, (options.validation,), options.seed)
    kept = np.bincount(images.labels) + np.bincount(test.labels)
    report = {
        "read": len(images) + len(test),
        "kept": dict(zip(learn.classes, kept.tolist(), strict=True)),
    }
    return Dataset("cifar10", tuple(learn.classes), images.take(train), images.take(validation), test, report)


def find(options: CifarOptions) -> Path:
    """Return the folder that holds cifar-10-batches-py, or is to hold it."""
    if not options.root:
        raise HarnessError("data.root is empty; CIFAR-10 is not part of the harness", f"set {FIX}")
    root = Path(options.root).expanduser()
    root = root.parent if root.name == FOLDER else root
    if not options.download and not (root / FOLDER).is_dir():
        raise HarnessError(f"data.root: there is no folder {FOLDER} in '{root}'", f"set {FIX}")
    return root


def open_part(root: Path, download: bool, train: bool) -> CIFAR10:
    """Let torchvision check the md5 of every file and read one part."""
    from torchvision.datasets import CIFAR10

    try:
        return CIFAR10(str(root), train=train, download=download)
    except OSError as error:
        raise HarnessError(
            f"data.root: CIFAR-10 can't be read or fetched in '{root}': {error}", f"set {FIX}"
        ) from error
    except RuntimeError as error:
        raise HarnessError(
            f"data.root: missing or damaged (the md5 differs) in '{root / FOLDER}': {', '.join(damaged(root))}",
            f"delete the folder and unpack it again, or set {FIX}",
        ) from error


def damaged(root: Path) -> list[str]:
    """Name the files that are missing or differ from the authors'."""
    from torchvision.datasets import CIFAR10
    from torchvision.datasets.utils import check_integrity

    files = [*CIFAR10.train_list, *CIFAR10.test_list, (CIFAR10.meta["filename"], CIFAR10.meta["md5"])]
    return [name for name, md5 in files if not check_integrity(str(root / FOLDER / name), md5)] or ["the archive"]


def to_images(part: CIFAR10, kind: str, side_px: int) -> Images:
    """Name the images by their position in the authors' files."""
    names = tuple(f"{kind}-{i:05d}" for i in range(len(part)))
    return Images(resize(part.data, side_px), np.asarray(part.targets, dtype=np.int64), names)
