"""A table beside the images that says which class each is of: labels.csv."""

from __future__ import annotations

import csv
import io
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath

from harness.data.files import Files, is_image, text
from harness.data.names import same, spelled
from harness.data.tree import Losses, Places, of_one_spelling, part_of, refuse_strangers
from harness.errors import HarnessError

NAMES = ("labels", "label", "imagelabels", "trainlabels", "traininglabels", "metadata", "annotations", "train", "data")
"""How such tables are called, without capitals and signs; each is a .csv or a .tsv."""
COLUMNS = {
    "file": ("filename", "file", "filepath", "path", "image", "images", "img", "imagename", "imagefile", "imagepath",
             "imageid", "imgname", "fname", "photo", "picture", "name", "id", "파일", "파일명", "이미지"),
    "class": ("label", "labels", "class", "classname", "category", "categoryname", "target", "classlabel", "labelname",
              "tag", "species", "y", "클래스", "라벨", "분류"),
    "part": ("split", "part", "set", "subset", "partition"),
}  # fmt: skip
"""Usual names of the columns, without capitals, blanks and signs; of several the first here is taken."""
SHAPE = "write a line `filename,label` first, then a line an image: 1.jpg,glass"


def find(files: Files, images: Mapping[str, str]) -> str | None:
    """Return the table of a root whose images lie flat: in one folder, or in a folder a part."""
    tables = tables_of(files)
    folders = {n.rpartition("/")[0] for n in images}
    flat = len(folders) == 1 or all(part_of(f.rpartition("/")[2]) for f in folders)
    if not tables or not images or not flat:
        return None
    return min(tables, key=lambda n: (n.count("/"), NAMES.index(_plain(PurePosixPath(n).stem))))


def tables_of(files: Files) -> list[str]:
    """List the files that are called as such tables are."""
    paths = [PurePosixPath(n) for n in files.names if n.lower().endswith((".csv", ".tsv"))]
    return [str(p) for p in paths if _plain(p.stem) in NAMES]


def _plain(name: str) -> str:
    return "".join(c for c in name.casefold() if c.isalnum())


def read(table: str, files: Files, images: Mapping[str, str]) -> tuple[Places, Losses, list[str]]:
    """Give each image the class, and the part where there is a column for it, that the table says.

    Raises:
        HarnessError: a column is missing, or a row is wrong; the message names the row.
    """
    lines = _rows(table, files)
    _, header = next(lines, (1, []))
    at = _columns(table, header)
    known, parted = _named(images), len({n.rpartition("/")[0] for n in images}) > 1
    places: Places = {}
    rows: dict[str, int] = {}
    for number, row in lines:
        name, kind, part = _row(f"{table}:{number}", row, header=header, at=at, known=known, files=files)
        part = part or (part_of(PurePosixPath(name).parent.name) if parted else None) or "train"
        if name in places and places[name] != (kind, part):
            what = (
                f"{table}:{number}: '{name}' is {kind}, {part} here and {', '.join(places[name])} in row {rows[name]}"
            )
            raise HarnessError(what, "leave one of the rows")
        places[name], rows[name] = (kind, part), number
    if not places:
        raise HarnessError(f"{table}: holds no row", SHAPE)
    places = {n: places[n] for n in images if n in places}  # in the order of the names, whatever the table's
    places, notes = of_one_spelling(places)
    refuse_strangers(places)
    said = ", ".join(f"{what} from column '{header[column]}'" for what, column in at.items())
    left = [{"name": n, "reason": f"in no row of {PurePosixPath(table).name}"} for n in images if n not in places]
    return places, left, [f"{table}: {said}", *notes]


def _rows(table: str, files: Files):
    """Yield the rows that aren't empty, each with its line's number."""
    content = text(files.read(table), table)
    first = content.partition("\n")[0]
    reader = csv.reader(io.StringIO(content), delimiter=max(",;\t", key=first.count))
    try:
        for row in reader:
            if any(cell.strip() for cell in row):
                yield reader.line_num, [cell.strip() for cell in row]
    except csv.Error as error:
        raise HarnessError(f"{table}:{reader.line_num}: {error}", SHAPE) from error


def _columns(table: str, header: Sequence[str]) -> dict[str, int]:
    """Find the columns of file, class and part."""
    plain = [_plain(cell) for cell in header]
    at = {what: next((plain.index(n) for n in names if n in plain), None) for what, names in COLUMNS.items()}
    for what in ("file", "class"):
        if at[what] is None:
            allowed = ", ".join(n for n in COLUMNS[what] if n.isascii())
            raise HarnessError(
                f"{table}:1: no column for the {what} among {', '.join(map(repr, header))}; allowed: {allowed}",
                SHAPE,
            )
    return {what: column for what, column in at.items() if column is not None}


def _named(images: Mapping[str, str]) -> dict[str, list[str]]:
    """List the images that a text may mean: by name or full name, else without folders, else without a suffix too."""
    ways = [
        lambda n: spelled(n, images[n]), lambda n: [PurePosixPath(n).name], lambda n: [PurePosixPath(n).stem],
    ]  # fmt: skip
    known: dict[str, list[str]] = {}
    for way in ways:
        found = defaultdict(list)
        for name in images:
            for named in way(name):
                found[same(named)].append(name)
        known = found | known
    return known


def _row(
    where: str, row: Sequence[str], *, header: Sequence[str], at: Mapping[str, int],
    known: Mapping[str, Sequence[str]], files: Files,
) -> tuple[str, str, str | None]:  # fmt: skip
    """Return the image that a row names, its class, and its part where there is a column for it."""
    if len(row) != len(header):
        raise HarnessError(f"{where}: {len(row)} columns, the first line has {len(header)}", "quote what holds a comma")
    named, kind = row[at["file"]], row[at["class"]]
    found = known.get(same(named), ())
    if len(found) > 1:
        raise HarnessError(f"{where}: '{named}' could be {' or '.join(found[:3])}", "write the path with its folder")
    if not found:
        there = any(same(n).endswith(same(named)) for n in files.names if not is_image(n)) if named else False
        also = " (it is there, but no image by its name)" if there else ""
        raise HarnessError(f"{where}: '{named}' names no image{also}", "mend or remove the row, or add the image")
    if not kind:
        raise HarnessError(f"{where}: no class for '{named}'", "write its class, or remove the row")
    if "part" not in at:
        return found[0], kind, None
    part = part_of(row[at["part"]])
    if part is None:
        what = f"{where}: '{row[at['part']]}' is no part; allowed: train, validation, test"
        raise HarnessError(what, "mend the row, or remove the column: parts are cut by share then")
    return found[0], kind, part
