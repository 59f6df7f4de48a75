"""One photograph in two classes or two parts: exact and near copies are found, others aren't."""

from __future__ import annotations

import io
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageEnhance

from harness.data import duplicates, overview
from harness.data.crops import square
from harness.data.split import Dataset, Images


def photograph(seed: int, size=(160, 120)) -> Image.Image:
    """Make something like a photograph: smooth shapes of all sizes."""
    random = np.random.default_rng(seed)
    layers = [
        np.asarray(Image.fromarray(random.integers(0, 255, (n, n, 3), dtype=np.uint8)).resize(size, Image.BICUBIC))
        for n in (3, 6, 12, 40)
    ]
    return Image.fromarray(np.average(layers, axis=0, weights=(5, 4, 2, 1)).astype(np.uint8))


def copied(image: Image.Image, quality: int = 90, scale: float = 1, brightness: float = 1) -> Image.Image:
    """Save a copy as a JPEG of other quality, size and brightness."""
    small = image.resize((round(image.width * scale), round(image.height * scale)))
    out = io.BytesIO()
    ImageEnhance.Brightness(small).enhance(brightness).save(out, "JPEG", quality=quality)
    return Image.open(out)


def dataset(**parts: list[tuple[str, Image.Image]]) -> Dataset:
    """Put images with their classes into parts."""
    classes = ("glass", "metal")

    def images(name: str) -> Images:
        rows = parts.get(name, [])
        pixels = np.array([square(np.asarray(image.convert("RGB")), 64) for _, image in rows], dtype=np.uint8)
        labels = np.array([classes.index(kind) for kind, _ in rows], dtype=np.int64)
        return Images(pixels.reshape(-1, 64, 64, 3), labels, tuple(f"{name}{k}" for k in range(len(rows))))

    return Dataset("folder", classes, images("train"), images("validation"), images("test"))


def many(count: int, first: int = 0) -> list[tuple[str, Image.Image]]:
    """Make photographs that are all of their own."""
    return [(("glass", "metal")[k % 2], photograph(first + k)) for k in range(count)]


@pytest.mark.parametrize(
    "change",
    [{}, {"quality": 40}, {"scale": 0.5}, {"scale": 0.5, "brightness": 1.1}, {"brightness": 0.9}, {"scale": 2}],
)
def test_copies_of_other_quality_size_and_brightness_are_found(change):
    """Ten photographs stand in train and, otherwise saved, in test; forty are their own."""
    originals = many(50)
    data = dataset(train=originals, test=[(kind, copied(image, **change)) for kind, image in originals[:10]])
    found, _ = duplicates.find(data)
    assert [c.names for c in found] == [(f"train{k}", f"test{k}") for k in range(10)]
    assert all(c.harmful and c.parts == ("train", "test") for c in found)


def test_photographs_of_their_own_are_no_copies():
    """Nor are those that are plain or nearly so, unless they have one colour."""
    plain = [("glass", Image.new("RGB", (60, 60), (10 * k, 0, 0))) for k in range(10)]
    assert duplicates.find(dataset(train=many(100) + plain)) == ([], True)


def test_exact_copies_in_two_classes_are_one_group():
    """Three of one: named once, with their classes, and as exact."""
    image = photograph(1)
    (found,), _ = duplicates.find(
        dataset(train=[("glass", image), ("metal", image), *many(5, 10)], validation=[("glass", image)])
    )
    assert found.names == ("train0", "train1", "validation0") and found.classes == ("glass", "metal", "glass")
    assert found.exact and found.harmful


def test_copies_in_one_class_and_part_do_no_harm():
    """They are found, and not named."""
    image = photograph(1)
    found, _ = duplicates.find(dataset(train=[("glass", image), ("glass", image)]))
    assert len(found) == 1 and not found[0].harmful and overview.said(found) == []


def test_black_bars_do_not_make_two_long_pictures_alike():
    """Squares of narrow pictures are mostly bars; what is between them counts."""
    narrow = [("glass", photograph(k, size=(200, 24))) for k in range(40)]
    assert duplicates.find(dataset(train=narrow)) == ([], True)


def test_what_is_said_names_the_photograph_with_its_parts_and_classes():
    """A line each, and how many more."""
    image = photograph(1)
    lines = overview.said(duplicates.find(dataset(train=[("glass", image)], test=[("metal", image)]))[0])
    assert lines == [
        "1 photograph is of two classes:",
        "  train0 (train, glass) = test0 (test, metal): the same pixels",
        "1 photograph is in two parts:",
        "  train0 (train, glass) = test0 (test, metal): the same pixels",
    ]


def test_many_images_take_seconds():
    """20,000 take a second or two of a processor's time; empty pictures don't make it slow."""
    random = np.random.default_rng(0)
    pixels = random.integers(0, 255, (20_000, 32, 32, 3), dtype=np.uint8)
    pixels[:5_000] = 255
    labels = np.zeros(len(pixels), dtype=np.int64)
    whole = Images(pixels, labels, tuple(map(str, range(len(pixels)))))
    none = Images(pixels[:0], labels[:0], ())
    began = time.process_time()
    found, whole = duplicates.find(Dataset("folder", ("glass", "metal"), whole, none, none))
    assert time.process_time() - began < 8
    assert whole and len(found) == 1 and len(found[0].names) == 5_000


def test_what_was_not_compared_is_said(monkeypatch, capsys):
    """Of very many images only those with equal hashes are held against each other."""
    data = dataset(train=many(20))
    assert duplicates.find(data)[1]
    monkeypatch.setattr(duplicates, "MOST", 19)
    assert duplicates.find(data) == ([], False)
    overview.show(data)
    assert "there may be more copies" in capsys.readouterr().out


def test_a_photograph_in_two_class_folders_is_named_on_the_screen(tmp_path, capsys):
    """From the files to the words."""
    from harness.data import sets
    from harness.data.folder import FolderOptions

    for k in range(5):
        for kind in ("glass", "metal"):
            path = Path(tmp_path, kind, f"{kind}{k}.png")
            path.parent.mkdir(exist_ok=True)
            photograph(10 * k + (kind == "glass")).save(path)
    copied(photograph(20)).save(tmp_path / "glass" / "again.jpg")
    overview.show(sets.load("folder", FolderOptions(root=str(tmp_path), side_px=64)))
    printed = capsys.readouterr().out
    assert "1 photograph is of two classes:" in printed
    assert "glass/again.jpg" in printed and "metal/metal2.png" in printed and "nearly the same" in printed
