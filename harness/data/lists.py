"""Split lists: text files that say which image belongs to which part."""

from __future__ import annotations

import codecs
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

from harness.data.files import Files
from harness.data.names import same, spelled
from harness.errors import HarnessError


def follow(
    lists: Mapping[str, str], files: Files, images: Mapping[str, str], places: Mapping[str, tuple[str, str]], root: str
) -> tuple[dict[str, tuple[str, str]], list[dict[str, str]]]:
    """Take the parts from the lists; report the images in none."""
    if not lists["train"]:
        raise HarnessError("data.train_list is empty, but another list is given", "set data.train_list too")
    paths = {same(way): n for n in places for way in spelled(n, images[n])} | {n: n for n in places}
    bases = defaultdict(list)
    for name in places:
        bases[same(name.rsplit("/", 1)[-1])].append(name)
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
    elif inside := [n for n in files.names if f"/{same(n)}".endswith(f"/{same(path)}")]:
        data = files.read(inside[0])
    else:
        raise HarnessError(
            f"data.{part}_list: no such file '{path}', on disk or inside data.root",
            f"name a text file with a line an image, e.g. data.{part}_list=splits/{part}.txt",
        )
    marked = data[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
    return data.decode("utf-16" if marked else "utf-8-sig", errors="replace").splitlines()


def locate(line: str, paths: Mapping[str, str], bases: Mapping[str, Sequence[str]], where: str, root: str) -> str:
    """Find the image that a line `name` or `name label` means; the folder decides the class, not the label."""
    for text in (line, line.rsplit(None, 1)[0]):
        text = same(text)
        found = [paths[text]] if text in paths else bases.get(text, ())
        if len(found) > 1:
            raise HarnessError(f"{where}: '{text}' could be {' or '.join(found)}", "write the path with its folder")
        if found:
            return found[0]
    if "\ufffd" in line:
        raise HarnessError(f"{where}: isn't UTF-8, and names no image so: '{line}'", "save the list as UTF-8")
    raise HarnessError(f"{where}: '{line}' names no image in a class folder of '{root}'", "mend or remove the line")
