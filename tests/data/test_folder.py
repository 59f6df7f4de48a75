"""Folders and zips of class folders: parts, lists, damage, and wrong paths."""

from __future__ import annotations

import io
import json
import os
import shutil
import struct
import zipfile
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from harness.data import sets
from harness.data.crops import decode, square
from harness.data.folder import FolderOptions, load
from harness.errors import HarnessError

DATA = Path(__file__).parents[2] / os.environ.get("HARNESS_DATA", "../shared/data")


def picture(path: Path, colour=(200, 30, 30), size=(24, 16), **options) -> None:
    """Write a plain image."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).save(path, **options)


def encoded(size=(30, 20), kind="JPEG", mode="RGB", **options) -> bytes:
    """Encode a noisy image."""
    out = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 255, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(noise).convert(mode).save(out, kind, **options)
    return out.getvalue()


@pytest.fixture
def root(tmp_path) -> Path:
    """Make 10 images of each of two classes."""
    base = tmp_path / "waste"
    for k in range(10):
        picture(base / "glass" / f"glass{k}.png", (10 * k, 0, 0))
        picture(base / "metal" / f"metal{k}.png", (0, 10 * k, 0))
    return base


def zipped(folder: Path, to: Path, prefix: str = "") -> Path:
    """Pack a folder under a prefix."""
    with zipfile.ZipFile(to, "w") as archive:
        for file in sorted(folder.rglob("*.*")):
            archive.write(file, prefix + file.relative_to(folder).as_posix())
    return to


def write_lists(folder: Path, **lines: str) -> dict[str, str]:
    """Write split lists and return the options that name them."""
    for part, text in lines.items():
        (folder / f"{part}.txt").write_text(text)
    return {f"{part}_list": str(folder / f"{part}.txt") for part in lines}


def test_folder_and_zip_are_the_same_data_set(root, tmp_path):
    """A folder, its zip, and a zip with an outer folder and macOS's copies have one fingerprint."""
    plain = load(FolderOptions(root=str(root), side_px=16)).fingerprint()
    flat = zipped(root, tmp_path / "flat.zip")
    nested = zipped(root, tmp_path / "nested.zip", "waste-128/")
    with zipfile.ZipFile(nested, "a") as archive:
        archive.writestr("__MACOSX/waste-128/glass/._glass1.png", b"junk")
        archive.writestr("splits/train.txt", "glass1.png 1")
    assert plain == load(FolderOptions(root=str(flat), side_px=16)).fingerprint()
    assert plain == load(FolderOptions(root=str(nested), side_px=16)).fingerprint()


def test_without_lists_the_cut_is_stratified_by_seed(root):
    """Each class has its share in each part, and the seed decides which images."""
    options = FolderOptions(root=str(root), side_px=16, validation=0.25)
    data = load(options)
    assert data.counts() == {"train": [6, 6], "validation": [2, 2], "test": [2, 2]}
    assert data.fingerprint() == load(options).fingerprint()
    assert data.test.names != load(replace(options, seed=1)).test.names


def test_train_val_test_folders_are_the_parts(tmp_path):
    """The course's layout is taken as it is; a part that is not there is cut from train/."""
    for part, count in (("train", 8), ("val", 3), ("test", 2)):
        for k in range(count):
            picture(tmp_path / part / "glass" / f"{part}{k}.png")
            picture(tmp_path / part / "metal" / f"{part}{k}.png")
    data = load(FolderOptions(root=str(tmp_path), side_px=16))
    assert data.counts() == {"train": [8, 8], "validation": [3, 3], "test": [2, 2]}
    assert all(n.startswith("val/") for n in data.validation.names)
    shutil.rmtree(tmp_path / "val")
    data = load(FolderOptions(root=str(tmp_path), side_px=16, validation=0.25))
    assert data.counts() == {"train": [6, 6], "validation": [2, 2], "test": [2, 2]}


def test_a_test_folder_without_labels_is_refused(tmp_path):
    """test/NoLabel is not taken for a class."""
    for k in range(4):
        picture(tmp_path / "train" / "glass" / f"{k}.png")
        picture(tmp_path / "train" / "metal" / f"{k}.png")
    picture(tmp_path / "test" / "NoLabel" / "1.png")
    with pytest.raises(HarnessError, match="'NoLabel', which train/ has not"):
        load(FolderOptions(root=str(tmp_path)))


def test_lists_decide_the_parts_and_what_is_in_none_is_counted(root, tmp_path):
    """Bare names with a label, paths, and Windows paths all name images; the rest is reported."""
    picture(root / "glass" / "with space.png")
    lines = {
        "train": "glass0.png 1\nglass1.png 1\nwith space.png 1\nmetal/metal0.png\n\nmetal1.png 2\n",
        "validation": "glass\\glass2.png\n./metal/metal2.png 2",
        "test": "metal3.png 2",
    }
    data = load(FolderOptions(root=str(root), side_px=16, **write_lists(tmp_path, **lines)))
    assert data.counts() == {"train": [3, 2], "validation": [1, 1], "test": [0, 1]}
    assert data.test.names == ("metal/metal3.png",)
    assert data.report["dropped_by_reason"] == {"in no list": 13}
    assert sum(data.report["kept"].values()) + 13 == data.report["read"] == 21


def test_a_train_list_alone_leaves_the_other_parts_to_the_shares(root, tmp_path):
    """Validation and test are cut from the listed images."""
    lines = "\n".join(f"{c}{k}.png" for c in ("glass", "metal") for k in range(5))
    data = load(FolderOptions(root=str(root), side_px=16, **write_lists(tmp_path, train=lines)))
    assert [sum(c) for c in data.counts().values()] == [6, 2, 2]


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("glass1.png 1\nglass77.png 1", "train.txt:2: 'glass77.png 1' names no image"),
        ("same.png 1", "train.txt:1: 'same.png' could be glass/same.png or metal/same.png"),
        ("glass1.png 1\n\nglass/glass1.png", "train.txt:3: 'glass/glass1.png' is listed a second time"),
    ],
)
def test_a_wrong_line_is_named_with_its_file(root, tmp_path, lines, message):
    """Unknown, ambiguous and repeated names say the list and the line."""
    picture(root / "glass" / "same.png")
    picture(root / "metal" / "same.png")
    with pytest.raises(HarnessError, match=message):
        load(FolderOptions(root=str(root), **write_lists(tmp_path, train=lines)))


def test_a_list_of_another_encoding_is_read_or_said_to_be_so(root, tmp_path):
    """UTF-16 with its mark is read; what is neither is named with its line."""
    path = tmp_path / "train.txt"
    path.write_text("\n".join(f"glass{i}.png\nmetal{i}.png" for i in range(5)), encoding="utf-16")
    options = FolderOptions(root=str(root), side_px=16, train_list=str(path))
    assert sum(len(part) for part in (load(options).train, load(options).validation, load(options).test)) == 10
    path.write_bytes("glass1.png\n유리.png".encode("cp949"))
    with pytest.raises(HarnessError, match="train.txt:2: isn't UTF-8"):
        load(options)


def test_an_image_in_two_lists_is_refused(root, tmp_path):
    """The test part must not leak into training."""
    options = write_lists(tmp_path, train="glass1.png\nmetal1.png", test="glass1.png")
    with pytest.raises(HarnessError, match="test.txt:1: 'glass/glass1.png' is listed a second time"):
        load(FolderOptions(root=str(root), **options))


def test_a_missing_list_is_named(root):
    """The message says which option, and where it was looked for."""
    with pytest.raises(HarnessError, match="data.train_list: no such file 'gone.txt', on disk or inside data.root"):
        load(FolderOptions(root=str(root), train_list="gone.txt"))
    with pytest.raises(HarnessError, match="data.train_list is empty"):
        load(FolderOptions(root=str(root), test_list="gone.txt"))


def test_damaged_images_are_named_with_their_reason_and_left_out(root):
    """Empty, truncated, foreign, huge and deep images are each in the report, and nothing else is lost."""
    sound = encoded(size=(200, 200))
    bad = {
        "empty.jpg": (b"", "empty file"),
        "cut.jpg": (sound[: len(sound) // 2], "runcated"),
        "text.png": (b"this is no image", "not an image"),
        "bomb.png": (b"\x89PNG\r\n\x1a\n" + huge_header(), "over 100"),
        "deep.png": (deep_png(), "more than 8 bits"),
    }
    for name, (data, _) in bad.items():
        (root / "glass" / name).write_bytes(data)
    (root / "glass" / "notes.txt").write_text("hello")
    data = load(FolderOptions(root=str(root), side_px=16))
    reasons = {d["name"].removeprefix("glass/"): d["reason"] for d in data.report["damaged"]}
    assert reasons.keys() == bad.keys()
    assert all(bad[name][1] in reason for name, reason in reasons.items()), reasons
    assert data.report["kept"] == {"glass": 10, "metal": 10}
    assert data.report["dropped_by_reason"] == {"not an image by its name": 1}
    assert json.loads(json.dumps(data.report)) == data.report


def huge_header() -> bytes:
    """Make the first chunk of a PNG that claims 12,000 x 12,000 px."""
    body = b"IHDR" + struct.pack(">IIBBBBB", 12_000, 12_000, 8, 2, 0, 0, 0)
    return struct.pack(">I", 13) + body + struct.pack(">I", zlib.crc32(body)) + struct.pack(">I", 0) + b"IDAT"


def deep_png() -> bytes:
    """Encode a PNG of 16 bits a pixel."""
    out = io.BytesIO()
    Image.fromarray(np.full((8, 8), 40_000, dtype=np.uint16)).save(out, "PNG")
    return out.getvalue()


def test_a_data_set_that_is_mostly_damaged_is_refused(root):
    """More than half unreadable is an error with examples, not a small data set."""
    for file in [*(root / "glass").iterdir(), *list((root / "metal").iterdir())[:2]]:
        file.write_bytes(b"")
    with pytest.raises(HarnessError, match="12 of 20 images .* are damaged.*empty file"):
        load(FolderOptions(root=str(root)))


def test_a_class_that_is_too_small_is_named(root):
    """Two images can't be in three parts."""
    picture(root / "paper" / "1.png")
    picture(root / "paper" / "2.png")
    with pytest.raises(HarnessError, match=r"fewer than 3 images in class 'paper' \(2\)"):
        load(FolderOptions(root=str(root)))


@pytest.mark.parametrize("path", ["", "nowhere", "file.txt"])
def test_a_wrong_root_says_what_it_must_hold(path, tmp_path, monkeypatch):
    """Empty, missing and not a zip: the option is named."""
    monkeypatch.chdir(tmp_path)
    Path("file.txt").write_text("x")
    with pytest.raises(HarnessError, match="data.root") as caught:
        load(FolderOptions(root=path))
    assert "zip" in str(caught.value) and "do: " in str(caught.value)


def test_a_folder_without_classes_is_refused(tmp_path):
    """Images beside each other have no label."""
    picture(tmp_path / "1.png")
    with pytest.raises(HarnessError, match="no image in a class folder"):
        load(FolderOptions(root=str(tmp_path)))


def test_pixels_that_do_not_fit_are_refused_before_decoding(root):
    """The limit is images x side x side x 3 bytes, and the message says a side that fits."""
    with pytest.raises(HarnessError, match="lower data.side_px to 129 or less"):
        load(FolderOptions(root=str(root), side_px=512, max_gb=0.001))


def test_a_list_without_images_is_refused(root, tmp_path):
    """An empty list is not taken for no list, so its part is never cut from training unasked."""
    options = write_lists(tmp_path, train="glass1.png\nmetal1.png", test="\n")
    with pytest.raises(HarnessError, match="data.test_list: '.*test.txt' names no image"):
        load(FolderOptions(root=str(root), **options))


def test_a_part_that_is_all_damaged_is_refused(root):
    """The caller never gets an empty part."""
    for k in range(3):
        for kind in ("glass", "metal"):
            (root / "test" / kind).mkdir(parents=True, exist_ok=True)
            (root / "test" / kind / f"{k}.png").write_bytes(b"")
    (root / "train").mkdir()
    shutil.move(root / "glass", root / "train" / "glass")
    shutil.move(root / "metal", root / "train" / "metal")
    with pytest.raises(HarnessError, match="test part of 'folder' has no image"):
        sets.load("folder", FolderOptions(root=str(root)))


def test_exif_orientation_is_applied():
    """A photograph stored on its side (orientation 6) is read upright."""
    exif = Image.Exif()
    exif[0x0112] = 6
    assert decode(encoded(size=(30, 20))).shape == (20, 30, 3)
    assert decode(encoded(size=(30, 20), exif=exif)).shape == (30, 20, 3)


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "LA", "CMYK"])
def test_every_colour_mode_becomes_rgb(mode):
    """Grey, palette, transparent and print images have three channels."""
    kind = "TIFF" if mode == "CMYK" else "PNG"
    image = decode(encoded(kind=kind, mode=mode))
    assert image.shape == (20, 30, 3) and image.dtype == np.uint8


@pytest.mark.parametrize("shape", [(40, 20), (20, 40), (7, 100), (1, 5000), (32, 32), (5, 3)])
def test_squares_are_padded_black_around_the_centre(shape):
    """The image fills the longer side, is centred to a pixel, and the border is black."""
    out = square(np.full((*shape, 3), 255, dtype=np.uint8), 32)
    rows, columns = np.flatnonzero(out[:, :, 0].any(axis=1)), np.flatnonzero(out[:, :, 0].any(axis=0))
    assert out.shape == (32, 32, 3) and max(len(rows), len(columns)) == 32
    for used, side in ((rows, shape[0]), (columns, shape[1])):
        assert len(used) == max(1, round(side * 32 / max(shape)))
        assert abs(used[0] - (31 - used[-1])) <= 1


def test_trashnet_keeps_its_authors_split():
    """1,768, 328 and 431 images from the lists inside the zip, 2,527 in all, none damaged."""
    if not (DATA / "trashnet-128.zip").exists():
        pytest.skip(f"no trashnet-128.zip in {DATA}: set HARNESS_DATA")
    lists = {
        f"{part}_list": f"splits/one-indexed-files-notrash_{short}.txt"
        for part, short in (("train", "train"), ("validation", "val"), ("test", "test"))
    }
    data = load(FolderOptions(root=str(DATA / "trashnet-128.zip"), side_px=64, **lists))
    assert (len(data.train), len(data.validation), len(data.test)) == (1768, 328, 431)
    assert list(data.report["kept"].values()) == [403, 501, 410, 594, 482, 137]
    assert data.report["read"] == 2527 and not data.report["damaged"] and not data.report["dropped"]
