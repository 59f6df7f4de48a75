"""The files of a folder or a zip, and the work done on each."""

from __future__ import annotations

import os
import sys
import zipfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
from tqdm import tqdm

from harness.errors import HarnessError
from harness.processors import cores

Item = TypeVar("Item")
SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")


@dataclass(frozen=True)
class Files:
    """The files of a folder or a zip: sorted names with forward slashes, and how to read one."""

    names: tuple[str, ...]
    read: Callable[[str], bytes]

    def images(self) -> dict[str, str]:
        """Map each image's name, less the one outer folder they may share, to its full name."""
        found = [n for n in self.names if n.lower().endswith(SUFFIXES)]
        outer = {n.split("/")[0] for n in found if n.count("/") > 1}
        whole = len(outer) == 1 and all(n.count("/") > 1 for n in found)
        prefix = f"{outer.pop()}/" if whole else ""
        return {n.removeprefix(prefix): n for n in found}


def existing(path: str, option: str, holds: str, example: str) -> Path:
    """Return the path that an option names.

    Raises:
        HarnessError: it is empty or not there; the message says what it must hold.
    """
    found = Path(path).expanduser()
    if path and (found.is_file() or (found.is_dir() and option == "data.root")):
        return found
    wrong = f"'{path}' is a folder" if path and found.is_dir() else f"no such file '{path}', seen from {Path.cwd()}"
    wrong = wrong if path else "empty"
    raise HarnessError(f"{option}: {wrong}; it must hold {holds}", f"set {option}=PATH, e.g. {option}={example}")


@contextmanager
def opened(root: str, holds: str, example: str) -> Iterator[Files]:
    """Open data.root, a folder or a zip; hidden files and macOS's copies in zips are not seen."""
    path = existing(root, "data.root", holds, example)
    if path.is_dir():
        walked = (Path(at, n) for at, _, names in os.walk(path, followlinks=True) for n in names)
        yield Files(visible(p.relative_to(path).as_posix() for p in walked), lambda name: (path / name).read_bytes())
        return
    try:
        archive = zipfile.ZipFile(path)
    except zipfile.BadZipFile as error:
        raise HarnessError(
            f"data.root: '{path}' is neither a folder nor a sound zip ({error})", "copy or download it again"
        ) from error
    with archive:
        yield Files(visible(n for n in archive.namelist() if not n.endswith("/")), archive.read)


def visible(names: Iterator[str]) -> tuple[str, ...]:
    """Sort the names without those that start with a dot, or whose folder does."""
    return tuple(sorted({n for n in names if not any(s.startswith((".", "__MACOSX")) for s in n.split("/"))}))


def attempts(
    work: Callable[[Item], np.ndarray], items: Sequence[Item], what: str
) -> Iterator[tuple[Item, np.ndarray | None, str]]:
    """Do the work on every item in threads, in order: the item, its result or None, and why it failed."""

    def attempt(item: Item) -> tuple[Item, np.ndarray | None, str]:
        try:
            return item, work(item), ""
        except Exception as error:  # a damaged file makes Pillow and zipfile raise almost anything; it is reported
            return item, None, str(error) or type(error).__name__

    quiet = len(items) <= 1000 or not sys.stderr.isatty()
    with ThreadPoolExecutor(cores()) as pool:
        yield from tqdm(pool.map(attempt, items), total=len(items), desc=what, disable=quiet)
