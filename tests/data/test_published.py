"""A team's copy: the same images, and nothing that tells of the hidden labels."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.data import digits, published, sets
from harness.data.published import PublishedOptions, publish
from harness.data.split import Dataset, Images
from harness.errors import HarnessError

CLASSES = ("glass/clear", "a, b", "Ähre")
HINTS = {"resolutions_px": [4], "flip": True, "competition": "digits"}


def images(count: int, name: str, seed: int, values: int = 256) -> Images:
    """Random squares of 4 px, of every class in turn; of few values some are equal."""
    random = np.random.default_rng(seed)
    pixels = np.broadcast_to(random.integers(0, values, (count, 1, 1, 3)), (count, 4, 4, 3)).astype(np.uint8)
    return Images(np.ascontiguousarray(pixels), np.arange(count) % 3, tuple(f"{name}{i}" for i in range(count)))


def dataset(test: Images) -> Dataset:
    """A data set of three classes with such a test part."""
    report = {"kept": {"glass/clear": 17}, "dropped": [{"name": "a/b.jpg", "reason": "rare"}]}
    return Dataset("squares", CLASSES, images(9, "a", 1), images(6, "v", 2), test, report)


def tree(root: Path) -> list[tuple[str, bytes, float]]:
    """Names, contents and times of all that is in a folder."""
    paths = [root, *sorted(root.rglob("*"))]
    return [(str(p.relative_to(root)), p.read_bytes() if p.is_file() else b"", p.stat().st_mtime) for p in paths]


def copied(data: Dataset, to: Path) -> Dataset:
    """Publish a data set, and read it as a team does."""
    publish(data, to, HINTS)
    return sets.load("published", PublishedOptions(root=str(to)))


@settings(max_examples=25)
@given(st.permutations(range(12)), st.lists(st.integers(0, 2), min_size=12, max_size=12), st.sampled_from([2, 256]))
def test_a_copy_tells_nothing_of_the_hidden_labels(order: list[int], labels: list[int], values: int) -> None:
    """Whatever the labels, the names and the order of the test images are, all of the copy stays the same.

    So no name, order, size, time or count in it can tell more of them than the images themselves do.
    """
    test = images(12, "t", 3, values)
    other = Images(test.pixels[order], np.array(labels), tuple(f"{CLASSES[k]}/{i}" for i, k in enumerate(labels)))
    with TemporaryDirectory() as folder:
        for name, part in (("one", test), ("two", other)):
            publish(replace(dataset(part), report={"kept": labels}), Path(folder, name), HINTS)
        assert tree(Path(folder, "one")) == tree(Path(folder, "two"))


def test_the_files_are_written_in_the_order_of_their_names(tmp_path: Path) -> None:
    """A disk keeps the order in which they were made: it is that of the names, and so of the pixels' hashes."""
    publish(dataset(images(200, "t", 3)), tmp_path / "copy", HINTS)
    for part in ("train", "validation", "test"):
        made = [p.stat().st_ctime_ns for p in sorted((tmp_path / "copy" / part).iterdir())]
        assert made == sorted(made)


def test_the_check_above_sees_what_would_tell(tmp_path: Path) -> None:
    """Negative control: another pixel, a file's time, or a file more makes another copy."""
    publish(dataset(images(12, "t", 3)), tmp_path / "one", HINTS)
    publish(dataset(images(12, "t", 4)), tmp_path / "pixels", HINTS)
    assert tree(tmp_path / "one") != tree(tmp_path / "pixels")
    for change in (lambda p: os.utime(p, (1, 1)), lambda p: p.with_suffix(".txt").touch()):
        other = shutil.copytree(tmp_path / "one", tmp_path / "other")
        plain = tree(other)
        change(next((other / "test").iterdir()))
        assert tree(other) != plain
        shutil.rmtree(other)


def test_a_copy_has_every_image_without_loss_and_the_labels_that_teams_may_have(tmp_path: Path) -> None:
    """By the same fingerprint, so that an entry made with it is one of the competition; twins are all there."""
    data = dataset(images(40, "t", 3, values=2))
    copy = copied(data, tmp_path / "copy")
    assert copy.fingerprint() == data.fingerprint()
    assert copy.classes == CLASSES
    for name in ("train", "validation"):
        mine, theirs = getattr(copy, name), getattr(data, name)
        assert (mine.pixels == theirs.pixels).all() and (mine.labels == theirs.labels).all()
        assert not set(mine.names) & set(theirs.names)  # gaps in the reader's own would count the hidden images
    assert copy.hidden and copy.test.labels is None
    assert copy.counts() == {"train": [3, 3, 3], "validation": [2, 2, 2], "test": "hidden"}
    assert copy.report == {"read": 55, "kept": dict.fromkeys(CLASSES, 5), "test": "hidden"}
    names = published.names_of(data.test.pixels)
    assert len(set(names)) == 40 and sorted(names) == sorted(copy.test.names)
    place = {name: image for name, image in zip(names, data.test.pixels, strict=True)}
    assert all((place[name] == image).all() for name, image in zip(copy.test.names, copy.test.pixels, strict=True))


def test_the_order_of_the_test_images_is_not_that_of_the_classes(tmp_path: Path) -> None:
    """Digits sorted by class come out mixed: the classes of neighbours are as often the same as by chance."""
    whole = digits.load(digits.DigitsOptions())
    sorted_ = replace(whole, test=whole.test.take(np.argsort(whole.test.labels, kind="stable")))
    copy = copied(sorted_, tmp_path / "copy")
    labels = dict(zip(published.names_of(sorted_.test.pixels), sorted_.test.labels.tolist(), strict=True))
    order = np.array([labels[name] for name in copy.test.names])
    assert np.mean(order[1:] == order[:-1]) < 0.2  # 0.1 by chance, 0.97 where sorted


@pytest.mark.parametrize("outer", [True, False], ids=["in a folder", "at the top"])
def test_a_zip_of_a_copy_is_a_copy(tmp_path: Path, outer: bool) -> None:
    """With or without the folder around it."""
    folder = copied(dataset(images(12, "t", 3)), tmp_path / "copy")
    at = {"root_dir": tmp_path, "base_dir": "copy"} if outer else {"root_dir": tmp_path / "copy"}
    path = shutil.make_archive(str(tmp_path / "zipped"), "zip", **at)
    found = sets.load("published", PublishedOptions(root=path))
    assert (found.fingerprint(), found.test.names) == (folder.fingerprint(), folder.test.names)
    assert published.hints(path) == HINTS


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda root: next((root / "test").iterdir()).unlink(), "isn't as it was published"),
        (lambda root: (root / "train" / "train-000003.png").unlink(), "train/train-000003.png of .* is damaged"),
        (lambda root: (root / "train" / "train-000003.png").write_bytes(b"x"), "train-000003.png of .* not an image"),
        (lambda root: (root / "train.csv").unlink(), "train.csv of .* can't be read"),
        (lambda root: (root / "train.csv").write_text("id,label\ntrain-000000,tin\n"), "train.csv of .* can't be read"),
        (lambda root: (root / "DATA.json").write_text("{"), "is no published copy: no DATA.json"),
        *((lambda root, text=text: (root / "DATA.json").write_text(text), "is no published copy: no DATA.json")
          for text in ("[]", '{"classes": 3, "side_px": 4, "fingerprint": "", "hints": {}}',
                       '{"classes": ["a", 1], "side_px": 4, "fingerprint": "", "hints": {}}',
                       '{"classes": ["a"], "side_px": null, "fingerprint": "", "hints": {}}',
                       '{"classes": ["a"], "side_px": -4, "fingerprint": "", "hints": {}}',
                       '{"classes": ["a"], "side_px": 4, "fingerprint": "", "hints": null}')),
        (lambda root: (root / "DATA.json").unlink(), "is no published copy: no DATA.json"),
    ],
)  # fmt: skip
def test_a_damaged_copy_is_refused(tmp_path: Path, damage, words: str) -> None:
    """With what is wrong; half a copy would be another data set."""
    publish(dataset(images(12, "t", 3)), tmp_path / "copy", HINTS)
    damage(tmp_path / "copy")
    with pytest.raises(HarnessError, match=words):
        sets.load("published", PublishedOptions(root=str(tmp_path / "copy")))


def test_a_copy_whose_test_images_were_renamed_makes_the_same_entries(tmp_path: Path) -> None:
    """Names are those that the judge finds, not the files'; what a file browser leaves there is no image."""
    data = dataset(images(40, "t", 3, values=2))
    publish(data, tmp_path / "copy", HINTS)
    for number, path in enumerate(sorted((tmp_path / "copy" / "test").iterdir(), reverse=True)):
        path.rename(path.with_name(f"picture {number:02d}.png"))
    (tmp_path / "copy" / "test" / "Thumbs.db").write_bytes(b"x")
    found = sets.load("published", PublishedOptions(root=str(tmp_path / "copy")))
    names = published.names_of(data.test.pixels)
    place = {name: image for name, image in zip(names, data.test.pixels, strict=True)}
    assert sorted(found.test.names) == sorted(names)
    assert all((place[name] == image).all() for name, image in zip(found.test.names, found.test.pixels, strict=True))


def test_a_folder_that_is_there_isnt_written_into(tmp_path: Path) -> None:
    """Old images among new ones would tell what changed; a copy that fails leaves nothing."""
    (tmp_path / "copy").mkdir()
    with pytest.raises(HarnessError, match="copy: is there already"):
        publish(dataset(images(12, "t", 3)), tmp_path / "copy", HINTS)
    (tmp_path / "file").touch()
    with pytest.raises(HarnessError, match="can't be written"):
        publish(dataset(images(12, "t", 3)), tmp_path / "file" / "copy", HINTS)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["copy", "file"]


def test_the_teams_fingerprint_sees_what_they_hold_and_the_judges_the_labels_too() -> None:
    """A test label, a test image's place or name change but the judge's."""
    data = dataset(images(12, "t", 3))
    test = data.test
    changes = {
        "label": replace(test, labels=np.roll(test.labels, 1)),
        "order": test.take(np.arange(12)[::-1]),
        "name": replace(test, names=("new", *test.names[1:])),
        "pixel": replace(test, pixels=test.pixels ^ np.uint8(1)),
    }
    for change, part in changes.items():
        other = replace(data, test=part)
        assert (other.fingerprint() == data.fingerprint()) == (change != "pixel"), change
        assert other.judge_fingerprint() != data.judge_fingerprint(), change
    hidden = replace(data, test=replace(test, labels=None))
    assert hidden.fingerprint() == data.fingerprint()
    with pytest.raises(HarnessError, match="without labels of its 12 test images"):
        hidden.judge_fingerprint()
