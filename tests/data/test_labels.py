"""A flat folder beside a table of labels: columns by their usual names, and each wrong row by its number."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import pytest

from harness.data import sets
from harness.data.folder import FolderOptions
from harness.errors import HarnessError
from tests.data.test_tree import noise

ROWS = [(f"{k}.png", kind) for k, kind in enumerate(["glass"] * 6 + ["metal"] * 6)]


def flat(root: Path, text: str | bytes | None = None, folder: str = "") -> Path:
    """Lay twelve images flat, with a labels.csv."""
    for name, _ in ROWS:
        noise(root / folder / name)
    text = table() if text is None else text
    (root / "labels.csv").write_bytes(text.encode() if isinstance(text, str) else text)
    return root


def table(header: str = "filename,label", sign: str = ",", rows=ROWS) -> str:
    """Write the rows of a table."""
    return "\n".join([header, *(sign.join(row) for row in rows)]) + "\n"


def read(root: Path, **options):
    """Read a folder at 16 px."""
    return sets.load("folder", FolderOptions(root=str(root), side_px=16, **options))


def refusal(root: Path) -> str:
    """Return the words with which a root is refused."""
    with pytest.raises(HarnessError) as caught:
        read(root)
    return str(caught.value)


def labelled(data) -> dict[str, str]:
    """Return each image's class, by its name without folders."""
    parts = (data.train, data.validation, data.test)
    return {
        n.split("/")[-1]: data.classes[k] for p in parts for n, k in zip(p.names, p.labels, strict=True)
    }  # fmt: skip


@pytest.mark.parametrize(
    ("text", "folder"),
    [
        (table(), ""),
        (table("file_name,class"), ""),
        (table("Image ID,Category"), ""),
        (table("path;target", ";"), ""),
        (table("img\tlabel", "\t"), ""),
        ("\ufeff" + table(), ""),
        (table().encode("utf-16"), ""),
        (table("파일명,라벨"), ""),
        (table().replace("\n", "\r\n"), ""),
        (table(rows=[(f" {n} ", f" {k} ") for n, k in ROWS]), ""),
        (table("id,label", rows=[(n.removesuffix(".png"), k) for n, k in ROWS]), ""),
        (table("x,filename,label", rows=[("1", n, k) for n, k in ROWS]), ""),
        (table(), "images"),
        (table(rows=[(f"images\\{n}", k) for n, k in ROWS]), "images"),
        (table(rows=[(f"./images/{n}", k) for n, k in ROWS]), "images"),
    ],
)
def test_a_flat_folder_is_labelled_by_its_table(tmp_path, text, folder):
    """Whatever the columns, the sign between them, the byte order mark and the folder of the images are."""
    data = read(flat(tmp_path, text, folder))
    assert labelled(data) == dict(ROWS)
    assert data.counts() == {"train": [4, 4], "validation": [1, 1], "test": [1, 1]}
    assert any("class from column" in note for note in data.report["notes"])


def test_the_table_may_say_the_parts(tmp_path):
    """In a column, in whatever usual spelling."""
    parts = ["train", "Training", "train", "val", "valid", "TEST"] * 2
    text = table("filename,label,split", rows=[(*row, part) for row, part in zip(ROWS, parts, strict=True)])
    assert read(flat(tmp_path, text)).counts() == {"train": [3, 3], "validation": [2, 2], "test": [1, 1]}


def test_folders_may_say_the_parts(tmp_path):
    """Images in train/ and test/ without class folders, and one table for all."""
    rows = [
        (f"{part}{k}.png", kind) for part in ("train", "test") for k, kind in enumerate(["glass"] * 4 + ["metal"] * 4)
    ]
    for name, _ in rows:
        noise(tmp_path / name[: -len("0.png")] / name)
    (tmp_path / "labels.csv").write_text(table(rows=rows))
    assert [sum(c) for c in read(tmp_path).counts().values()] == [6, 2, 8]


def test_an_image_in_no_row_is_left_out_and_counted(tmp_path):
    """It has no class."""
    flat(tmp_path)
    noise(tmp_path / "more.png")
    assert read(tmp_path).report["dropped_by_reason"] == {"in no row of labels.csv": 1}


def test_names_in_another_unicode_form_are_found(tmp_path):
    """The table came from a Mac."""
    rows = [(f"ü{k}.png", kind) for k, (_, kind) in enumerate(ROWS)]
    for name, _ in rows:
        noise(tmp_path / name)
    (tmp_path / "labels.csv").write_text(unicodedata.normalize("NFD", table(rows=rows)))
    assert len(labelled(read(tmp_path))) == 12


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (table("one,two"), "labels.csv:1: no column for the file among 'one', 'two'; allowed: filename"),
        (table("filename,two"), "labels.csv:1: no column for the class"),
        (table(rows=[*ROWS, ("gone.png", "glass")]), "labels.csv:14: 'gone.png' names no image"),
        (table(rows=[*ROWS[:3], ("3.png", ""), *ROWS[4:]]), "labels.csv:5: no class for '3.png'"),
        (
            table(rows=[*ROWS, ("0.png", "metal")]),
            "labels.csv:14: '0.png' is metal, train here and glass, train in row 2",
        ),
        (table(rows=[*ROWS, ("0.png",)]), "labels.csv:14: 1 columns, the first line has 2"),
        (table(rows=[*ROWS, ("a", "b", "c")]), "labels.csv:14: 3 columns, the first line has 2"),
        (table(rows=[*ROWS, ("labels.csv", "glass")]), "(it is there, but no image by its name)"),
        (table("filename,label,split", rows=[(*r, "quiz") for r in ROWS]), "labels.csv:2: 'quiz' is no part"),
        ("filename,label\n", "holds no row"),
        ("", "no column for the file"),
        (table().encode() + "0.png,유리".encode("cp949"), "labels.csv:14: isn't UTF-8"),
    ],
)
def test_a_wrong_row_is_named_by_its_number(tmp_path, text, words):
    """Never a guess, never a row that is skipped without a word."""
    assert words in refusal(flat(tmp_path, text))


def test_a_row_that_stands_twice_alike_does_no_harm(tmp_path):
    """The same file and the same class say one thing."""
    assert labelled(read(flat(tmp_path, table(rows=[*ROWS, ROWS[0]])))) == dict(ROWS)


def test_where_folders_are_the_classes_a_table_is_not_read_and_it_is_said(tmp_path):
    """The folders had the word before there were tables."""
    for name, kind in ROWS:
        noise(tmp_path / kind / name)
    (tmp_path / "labels.csv").write_text("nothing of use")
    data = read(tmp_path)
    assert labelled(data) == dict(ROWS)
    assert data.report["notes"] == ["labels.csv is not read: the folders say the classes"]


@pytest.mark.parametrize("name", ["trainLabels.csv", "Labels.CSV", "train_labels.csv", "metadata.csv", "labels.tsv"])
def test_tables_of_other_usual_names_are_read(tmp_path, name):
    """Public sets call them so."""
    flat(tmp_path, table("filename\tlabel", "\t") if name.endswith("tsv") else table()).joinpath("labels.csv").rename(
        tmp_path / name
    )
    assert labelled(read(tmp_path)) == dict(ROWS)
