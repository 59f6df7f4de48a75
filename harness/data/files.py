"""The files of a folder or a zip, and the work done on each."""

from __future__ import annotations

import os
import sys
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import numpy as np
from tqdm import tqdm

from harness.data.names import is_utf8, of_zip, shown
from harness.errors import HarnessError
from harness.processors import cores

Item = TypeVar("Item")
SUFFIXES = (
    ".avif", ".bmp", ".dib", ".gif", ".heic", ".heif", ".hif", ".j2k", ".jfif", ".jp2", ".jpe", ".jpeg", ".jpg", ".mpo",
    ".pbm", ".pcx", ".pgm", ".png", ".pnm", ".ppm", ".qoi", ".ras", ".sgi", ".tga", ".tif", ".tiff", ".webp",
)  # fmt: skip
"""How the names of images end; what can't be decoded all the same is reported as damaged, with the reason."""
SYSTEM = {"$recycle.bin", "@eadir", "desktop.ini", "lost+found", "thumbs.db"}
"""What systems leave in folders of pictures: never a class, never an image."""


@dataclass(frozen=True)
class Files:
    """The files of a folder or a zip: sorted names with forward slashes, and how to read one.

    empty: folders with nothing in them. foreign: the bytes of names that aren't UTF-8, which `names` has with escapes.
    """

    names: tuple[str, ...]
    read: Callable[[str], bytes]
    empty: tuple[str, ...] = ()
    foreign: Mapping[str, bytes] = field(default_factory=dict)

    def images(self) -> dict[str, str]:
        """Map each image's name, less the outer folders that they all share, to its full name."""
        found = [n for n in self.names if is_image(n)]
        prefix = ""
        while found and all(n.count("/", len(prefix)) > 1 for n in found):
            outer = {n[len(prefix) :].split("/")[0] for n in found}
            if len(outer) > 1:
                break
            prefix += f"{outer.pop()}/"
        return {n.removeprefix(prefix): n for n in found}


def is_image(name: str) -> bool:
    """Tell whether a file is an image by its name."""
    return name.lower().endswith(SUFFIXES)


def text(data: bytes, where: str) -> str:
    """Decode a text file with or without a byte order mark.

    Raises:
        HarnessError: it isn't UTF-8; the message has the line.
    """
    try:
        return data.decode("utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise HarnessError(f"{where}:{line}: isn't UTF-8", "save it as UTF-8 (Excel: `CSV UTF-8`)") from error


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
    """Open data.root, a folder or a zip; hidden files and what systems leave behind are not seen.

    Raises:
        HarnessError: it isn't there, can't be read, or two of its files have one name.
    """
    path = existing(root, "data.root", holds, example)
    if path.is_dir():
        found = ((shown(os.fsencode(n)), n, os.fsencode(n)) for n in _below(path, "", ()))
        yield _files(root, found, lambda name: (path / name).read_bytes())
        return
    try:
        archive = zipfile.ZipFile(path)
    except (zipfile.BadZipFile, NotImplementedError, UnicodeDecodeError, OSError) as error:
        raise HarnessError(
            f"data.root: '{path}' is neither a folder nor a sound zip ({error})", "copy or download it again"
        ) from error
    with archive:
        yield _files(root, (of_zip(info) for info in archive.infolist()), archive.read)


def _below(root: Path, folder: str, above: tuple[tuple[int, int], ...]) -> Iterator[str]:
    """Yield the files below a folder, and the folders with a slash at their end; a link up the tree isn't followed."""
    try:
        at = os.stat(root / folder)
        if (here := (at.st_dev, at.st_ino)) in above:
            return
        entries = [*os.scandir(root / folder)]
    except OSError as error:
        raise HarnessError(f"data.root: '{root / folder}' can't be read: {error}", "mend its permissions") from error
    for entry in entries:
        name = f"{folder}{entry.name}"
        if os.path.isdir(entry.path):
            yield f"{name}/"
            yield from _below(root, f"{name}/", (*above, here))
        elif os.path.isfile(entry.path) or entry.is_symlink():  # a broken link is reported when it is read; no pipes
            yield name


def _files(root: str, found: Iterable[tuple[str, Item, bytes]], read: Callable[[Item], bytes]) -> Files:
    """Put the files of a folder or a zip together: shown name, what reads it, and its bytes."""
    places: dict[str, Item] = {}
    foreign: dict[str, bytes] = {}
    for text_of_name, item, raw in found:
        name, raw = text_of_name.removeprefix("./").lstrip("/"), raw.removeprefix(b"./").lstrip(b"/")
        if not _is_visible(name):
            continue
        if name in places and not name.endswith("/") and _differ(places[name], item):
            raise HarnessError(f"data.root: two files of '{root}' are called '{name}'", "rename one of them")
        places[name] = item
        if not is_utf8(raw):
            foreign[name] = raw
    folders = {n.rstrip("/") for n in places if n.endswith("/")}
    names = tuple(sorted(n for n in places if not n.endswith("/")))
    homes = {n[:i] for n in names for i, c in enumerate(n) if c == "/"}
    return Files(names, lambda name: read(places[name]), tuple(sorted(folders - homes)), foreign)


def _differ(one: object, other: object) -> bool:
    """Tell two files from one that stands in a zip twice, of which the later counts, as for all who unpack it."""
    return getattr(one, "filename", one) != getattr(other, "filename", other)


def _is_visible(name: str) -> bool:
    """Tell whether neither a file nor a folder it lies in is hidden or a system's own."""
    steps = name.rstrip("/").split("/")
    return bool(steps[0]) and not any(s.startswith((".", "__MACOSX")) or s.casefold() in SYSTEM for s in steps)


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
