"""A folder or a zip of class folders, whole or already cut into parts."""

from __future__ import annotations

import os
import sys
import zipfile
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

import numpy as np
from tqdm import tqdm

from harness.data.crops import decode, refuse_too_big, square
from harness.data.split import Dataset, Images, cut
from harness.errors import HarnessError

Item = TypeVar("Item")
SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")
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


def follow(
    lists: Mapping[str, str], files: Files, images: Mapping[str, str], places: Mapping[str, tuple[str, str]], root: str
) -> tuple[dict[str, tuple[str, str]], list[dict[str, str]]]:
    """Take the parts from the lists; report the images in none."""
    if not lists["train"]:
        raise HarnessError("data.train_list is empty, but another list is given", "set data.train_list too")
    paths = {images[n]: n for n in places} | {n: n for n in places}
    bases = defaultdict(list)
    for name in places:
        bases[name.rsplit("/", 1)[-1]].append(name)
    chosen: dict[str, tuple[str, str]] = {}
    for part, path in lists.items():
        for number, line in enumerate(list_lines(path, files, part), start=1):
            if not line.strip():
                continue
            name = locate(line.strip(), paths, bases, f"{path}:{number}", root)
            if name in chosen:
                raise HarnessError(f"{path}:{number}: '{name}' is listed a second time", "leave one of the lines")
            chosen[name] = (places[name][0], part)
        if path and part not in {given for _, given in chosen.values()}:
            raise HarnessError(f"data.{part}_list: '{path}' names no image", "write a line an image, or leave it empty")
    return chosen, [{"name": n, "reason": "in no list"} for n in places if n not in chosen]


def list_lines(path: str, files: Files, part: str) -> list[str]:
    """Read a list from disk, else from inside the root."""
    if not path:
        return []
    if Path(path).expanduser().is_file():
        data = Path(path).expanduser().read_bytes()
    elif inside := [n for n in files.names if n == path or n.endswith(f"/{path}")]:
        data = files.read(inside[0])
    else:
        raise HarnessError(
            f"data.{part}_list: no such file '{path}', on disk or inside data.root",
            f"name a text file with a line an image, e.g. data.{part}_list=splits/{part}.txt",
        )
    return data.decode("utf-8-sig", errors="replace").splitlines()


def locate(line: str, paths: Mapping[str, str], bases: Mapping[str, Sequence[str]], where: str, root: str) -> str:
    """Find the image that a line `name` or `name label` means; the folder decides the class, not the label."""
    for text in (line, line.rsplit(None, 1)[0]):
        text = text.replace("\\", "/").removeprefix("./")
        found = [paths[text]] if text in paths else bases.get(text, ())
        if len(found) > 1:
            raise HarnessError(f"{where}: '{text}' could be {' or '.join(found)}", "write the path with its folder")
        if found:
            return found[0]
    raise HarnessError(f"{where}: '{line}' names no image in a class folder of '{root}'", "mend or remove the line")


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
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        yield from tqdm(pool.map(attempt, items), total=len(items), desc=what, disable=quiet)


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


def refuse_damaged(damaged: Sequence[Mapping[str, str]], total: int, root: str) -> None:
    """Refuse a data set of which more than half can't be read."""
    if 2 * len(damaged) > total:
        first = "; ".join(f"{d['name']}: {d['reason']}" for d in damaged[:3])
        raise HarnessError(
            f"data.root: {len(damaged)} of {total} images in '{root}' are damaged or missing ({first})",
            "copy or download the data again, or point data.root at the right place",
        )


def refuse_few(classes: Sequence[str], labels: np.ndarray) -> None:
    """Refuse fewer than two classes, and classes that can't be in three parts."""
    if len(classes) < 2:
        raise HarnessError(f"data.root: one class only, '{classes[0]}'", "give a folder with a folder for each class")
    counts = np.bincount(labels, minlength=len(classes))
    few = [f"'{c}' ({n})" for c, n in zip(classes, counts, strict=True) if n < 3]
    if few:
        raise HarnessError(
            f"data.root: fewer than 3 images in class {', '.join(few)}; each of the three parts needs one",
            "add images, or move the class folder away",
        )


def summary(
    read: int,
    classes: Sequence[str],
    labels: np.ndarray,
    damaged: list[dict[str, str]],
    dropped: list[dict[str, str]],
) -> dict[str, Any]:
    """Return the report of a reader: counts a class, and every loss with its reason."""
    counts = np.bincount(labels, minlength=len(classes)).tolist()
    return {
        "read": read,
        "kept": dict(zip(classes, counts, strict=True)),
        "damaged": damaged,
        "dropped": dropped,
        "dropped_by_reason": dict(Counter(d["reason"] for d in dropped)),
    }
