"""Part folders in any usual spelling, deeper trees, empty and unread class folders, and names of other systems."""

from __future__ import annotations

import io
import os
import unicodedata
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from harness.data import sets
from harness.data.files import Files
from harness.data.folder import FolderOptions
from harness.data.tree import part_of
from harness.errors import HarnessError

KINDS = ("glass", "metal", "paper")
RANDOM = np.random.default_rng(0)


def noise(path: Path | str | bytes, side: int = 16) -> None:
    """Write an image of noise: no two are alike."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    image = Image.fromarray(RANDOM.integers(0, 255, (side, side, 3), dtype=np.uint8))
    with open(path, "wb") as file:
        image.save(file, "PNG")


def tree(root: Path, **counts: int) -> Path:
    """Write class folders of so many images into each folder of that name."""
    for folder, count in counts.items():
        for kind in KINDS:
            for k in range(count):
                noise(root / folder / kind / f"{k}.png")
    return root


def read(root: Path, **options):
    """Read a folder at 16 px."""
    return sets.load("folder", FolderOptions(root=str(root), side_px=16, **options))


def refusal(root: Path) -> str:
    """Return the words with which a root is refused."""
    with pytest.raises(HarnessError) as caught:
        read(root)
    return str(caught.value)


@pytest.mark.parametrize(
    ("train", "test"),
    [
        ("Train", "Test"),
        ("TRAIN", "TEST"),
        ("Training", "Testing"),
        ("training_set", "test_set"),
        ("seg_train", "seg_test"),
        ("train", "test_set"),
        ("train", "testing"),
        ("trainset", "testset"),
        ("TrainData", "TestData"),
        ("train_images", "test_images"),
        ("train2017", "test2017"),
        ("1.Training", "2.Test"),
        ("Train (1)", "Test (1)"),
        ("훈련 데이터", "테스트 데이터"),
    ],
)
def test_part_folders_in_any_usual_spelling_are_parts(tmp_path, train, test):
    """Three classes, and the test images where the folders put them: never the parts for classes."""
    data = read(tree(tmp_path, **{train: 10, test: 4}))
    assert data.classes == KINDS
    assert data.counts() == {"train": [8, 8, 8], "validation": [2, 2, 2], "test": [4, 4, 4]}


@pytest.mark.parametrize(
    "name", ["val", "Valid", "validation", "VAL_SET", "dev", "evaluation", "val2017", "2.Validation"]
)
def test_validation_folders_in_any_usual_spelling_are_parts(tmp_path, name):
    """The images of all three parts stay where they are."""
    assert [sum(c) for c in read(tree(tmp_path, train=6, test=4, **{name: 3})).counts().values()] == [18, 9, 12]


@pytest.mark.parametrize(
    "name", ["trainer", "contest", "test tube", "invalid", "device", "glass", "set", "2017", "", "latest"]
)
def test_other_folders_are_no_parts(name):
    """A word that only holds a part's is none, nor is what may stand beside one."""
    assert part_of(name) is None


def test_a_class_may_be_called_like_a_part_and_it_is_said(tmp_path):
    """Cars, buses and trains are three classes; so are trainers."""
    for kind in ("bus", "car", "train"):
        for k in range(5):
            noise(tmp_path / kind / f"{k}.png")
    data = read(tmp_path)
    assert data.classes == ("bus", "car", "train")
    assert data.report["notes"] == ["class 'train' is called as parts are"]


def test_a_part_folder_that_holds_one_of_its_own_name_is_looked_through(tmp_path):
    """Public sets of scenes are packed so; what has no labels there is left out and counted."""
    tree(tmp_path / "seg_train", seg_train=6)
    tree(tmp_path / "seg_test", seg_test=4)
    noise(tmp_path / "seg_pred" / "seg_pred" / "1.png")
    data = read(tmp_path)
    assert data.classes == KINDS and data.counts()["test"] == [4, 4, 4]
    assert data.report["dropped_by_reason"] == {"in no part's folder": 1}


def test_several_outer_folders_are_looked_through(tmp_path):
    """Downloads lie in folders of their own, with a picture of the set beside them perhaps."""
    tree(tmp_path / "archive", images=6)
    noise(tmp_path / "preview.png")
    data = read(tmp_path)
    assert data.classes == KINDS and data.report["dropped_by_reason"] == {"in no class folder": 1}


@pytest.mark.parametrize(
    "folders",
    [
        ["animals/cat", "animals/dog", "vehicles/car"],
        ["glass", "glass/broken", "metal"],
        ["train/animals/cat", "train/vehicles/car", "test/animals/cat", "test/vehicles/car"],
        ["glass/train", "glass/test", "metal/train", "metal/test"],
    ],
)
def test_a_deeper_tree_is_refused_with_the_tree_and_what_is_allowed(tmp_path, folders):
    """Which of two folders is the class isn't guessed."""
    for folder in folders:
        for k in range(4):
            noise(tmp_path / folder / f"{k}.png")
    words = refusal(tmp_path)
    assert all(f"{folder}/  4 images" in words for folder in folders)
    assert "allowed: ROOT/CLASS/IMAGE, or ROOT/PART/CLASS/IMAGE" in words


def test_a_large_tree_is_shown_in_part(tmp_path):
    """Twelve folders, and how many more."""
    for k in range(30):
        noise(tmp_path / f"group{k % 5}" / f"kind{k}" / "1.png")
    assert "and 18 more folders" in refusal(tmp_path)


@pytest.mark.parametrize("folders", [["train", "test"], ["train", "test", "sample"], ["Train", "val"]])
def test_parts_without_classes_are_refused(tmp_path, folders):
    """train/1.png and test/2.png have no class, and are none."""
    for folder in folders:
        for k in range(5):
            noise(tmp_path / folder / f"{k}.png")
    assert "with no class folders" in refusal(tmp_path)


def test_parts_without_one_to_learn_from_are_refused(tmp_path):
    """val/ and test/ alone aren't two classes."""
    assert "no part to learn from" in refusal(tree(tmp_path, val=4, test=4))


def test_a_class_of_another_case_in_another_part_is_named_with_its_near_one(tmp_path):
    """Glass in val/ isn't glass in train/, and the message says why."""
    tree(tmp_path, train=5)
    noise(tmp_path / "val" / "Glass" / "1.png")
    assert "(it has 'glass': capitals and blanks count)" in refusal(tmp_path)


@pytest.mark.parametrize("twin", ["Glass", "glass ", "GLASS"])
def test_classes_that_look_alike_are_named(tmp_path, twin):
    """They stay two, as their folders are; a person decides."""
    tree(tmp_path, **{".": 5})
    for k in range(5):
        noise(tmp_path / twin / f"x{k}.png")
    assert any("look alike" in note and "'glass'" in note for note in read(tmp_path).report["notes"])


def test_a_class_in_two_unicode_forms_is_one(tmp_path):
    """A Mac wrote train/, another system val/: two classes, and it is said."""
    for part, form in (("train", "NFD"), ("val", "NFC")):
        for kind in ("유리", "금속"):
            for k in range(6):
                noise(tmp_path / part / unicodedata.normalize(form, kind) / f"{k}.png")
    data = read(tmp_path)
    assert data.classes == ("금속", "유리") and data.counts()["validation"] == [6, 6]
    assert len(data.report["notes"]) == 2


def test_a_class_that_stands_in_one_form_keeps_it(tmp_path):
    """What was read right before has the same classes, in the same order, and so the same fingerprint."""
    names = [unicodedata.normalize("NFD", kind) for kind in ("금속", "유리")]
    for kind in names:
        for k in range(5):
            noise(tmp_path / kind / f"{k}.png")
    data = read(tmp_path)
    assert data.classes == tuple(names) and data.report["notes"] == []


def test_lists_find_names_of_another_unicode_form(tmp_path):
    """A list from a Mac names files from elsewhere."""
    for kind in ("é", "glass"):
        for k in range(5):
            noise(tmp_path / "root" / kind / f"ü{k}-{kind}.png")
    lines = "\n".join(f"{kind}/ü{k}-{kind}.png" for kind in ("é", "glass") for k in range(5))
    (tmp_path / "train.txt").write_text(unicodedata.normalize("NFD", lines))
    assert [sum(c) for c in read(tmp_path / "root", train_list=str(tmp_path / "train.txt")).counts().values()] == [
        6,
        2,
        2,
    ]


def test_a_class_folder_that_is_not_named_in_utf8_is_one_error(tmp_path):
    """The bytes are shown, what they may mean, and how to rename them."""
    for kind in ("유리", "금속"):
        for k in range(6):
            noise(os.fsencode(tmp_path) + b"/" + kind.encode("cp949") + b"/%d.png" % k)
    words = refusal(tmp_path)
    assert (
        r"'\xb1\xdd\xbc\xd3/0.png'" in words and "cp949 reads it as '금속'" in words and "convmv -r -f cp949" in words
    )


def test_a_single_image_that_is_not_named_in_utf8_is_read_and_shown_with_escapes(tmp_path):
    """Its class is clear, and its name can be written anywhere."""
    tree(tmp_path, **{".": 4})
    noise(os.fsencode(tmp_path) + b"/glass/\xc0\xaf.png")
    data = read(tmp_path)
    names = [*data.train.names, *data.validation.names, *data.test.names]
    assert r"glass/\xc0\xaf.png" in names and data.report["kept"]["glass"] == 5
    assert all(n.encode() for n in names) and len(data.judge_fingerprint()) == 64


def test_a_file_that_is_only_reported_may_have_any_name(tmp_path):
    """Notes beside the images don't stop anything."""
    tree(tmp_path, **{".": 4})
    (tmp_path / "glass" / os.fsdecode(b"\xb8\xde\xb8\xf0.txt")).write_text("x")
    assert read(tmp_path).report["dropped"] == [
        {"name": r"glass/\xb8\xde\xb8\xf0.txt", "reason": "not an image by its name"}
    ]


class Unflagged(zipfile.ZipInfo):
    """An entry whose name is written in a code page, without the flag for UTF-8."""

    page = ""

    def _encodeFilenameFlags(self):
        return self.filename.encode(self.page), 0


def packed(to: Path, page: str | None, kinds=("유리", "금속"), slash: str = "/", folder: str = "") -> Path:
    """Pack six images of each class with names in a code page, or in UTF-8 with its flag where there is none."""
    with zipfile.ZipFile(to, "w") as archive:
        for kind in kinds:
            for k in range(6):
                out = io.BytesIO()
                Image.fromarray(RANDOM.integers(0, 255, (16, 16, 3), dtype=np.uint8)).save(out, "PNG")
                info = Unflagged("x") if page else zipfile.ZipInfo("x")
                info.filename = f"{folder}{kind}{slash}{k}.png"
                if page:
                    info.page = page
                archive.writestr(info, out.getvalue())
    return to


@pytest.mark.parametrize(
    ("page", "kinds"),
    [
        (None, ("금속", "유리")),
        ("utf-8", ("금속", "유리")),  # a Mac's zip: no flag
        ("cp437", ("Glas", "Müll")),
        ("cp850", ("Glas", "Müll")),
        ("cp437", ("bâtiment", "métal")),
    ],
)
def test_a_zip_of_a_known_code_page_has_the_names_that_were_packed(tmp_path, page, kinds):
    """UTF-8 with or without its flag, and the Latin letters of old zips."""
    assert read(packed(tmp_path / "a.zip", page, kinds)).classes == tuple(sorted(kinds))


@pytest.mark.parametrize(
    ("page", "kinds"),
    [
        ("cp949", ("유리", "금속")),
        ("cp932", ("ガラス", "メタル")),
        ("gbk", ("玻璃", "金属")),
        ("cp1251", ("стекло", "металл")),
        ("cp1252", ("máquina", "vidrio")),  # by CP437 it would be mßquina
        ("cp1252", ("glød", "metal")),
        ("cp1250", ("sklář", "zelený")),
    ],
)
def test_a_zip_of_another_code_page_is_refused_and_never_shown_in_another_script(tmp_path, page, kinds):
    """Among what the name may mean stands what it meant."""
    words = refusal(packed(tmp_path / "a.zip", page, kinds))
    assert f"{page} reads it as '{min(kinds, key=lambda k: k.encode(page))}'" in words and "unzip -O" in words


def test_a_zip_with_backslashes_is_read(tmp_path):
    """Older Windows tools write them."""
    data = read(packed(tmp_path / "a.zip", None, ("glass", "metal"), slash="\\", folder="waste\\"))
    assert data.classes == ("glass", "metal") and len(data.train) + len(data.validation) + len(data.test) == 12


def test_two_files_of_one_name_are_refused(tmp_path):
    """One with a slash in its name, one with a backslash."""
    packed(tmp_path / "a.zip", None, ("glass", "metal"))
    with zipfile.ZipFile(tmp_path / "a.zip", "a") as archive:
        info = zipfile.ZipInfo("x")
        info.filename = "glass\\0.png"
        archive.writestr(info, b"")
    assert "two files of" in refusal(tmp_path / "a.zip")


def test_a_zip_whose_names_begin_with_a_dot_and_a_slash_is_read(tmp_path):
    """Some tools pack ./glass/0.png."""
    assert read(packed(tmp_path / "a.zip", None, ("./glass", "./metal"))).classes == ("glass", "metal")


def test_what_systems_leave_behind_is_not_seen(tmp_path):
    """Neither thumbnails nor settings of folders are images or losses."""
    tree(tmp_path, **{".": 4})
    for name in ("Thumbs.db", "desktop.ini", ".DS_Store", "._0.png"):
        (tmp_path / "glass" / name).write_bytes(b"x")
    noise(tmp_path / "glass" / "@eaDir" / "0.png" / "SYNOFILE_THUMB_M.png")
    noise(tmp_path / "__MACOSX" / "glass" / "0.png")
    report = read(tmp_path).report
    assert report["kept"] == {"glass": 4, "metal": 4, "paper": 4} and report["dropped"] == []


def test_a_link_up_the_tree_is_not_followed_and_others_are(tmp_path):
    """A class may be a link; a circle ends."""
    tree(tmp_path / "data", **{".": 4})
    os.rename(tmp_path / "data" / "paper", tmp_path / "elsewhere")
    (tmp_path / "data" / "paper").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "data" / "glass" / "loop").symlink_to(tmp_path / "data")
    (tmp_path / "data" / "metal" / "gone.png").symlink_to(tmp_path / "nowhere.png")
    report = read(tmp_path / "data").report
    assert report["kept"] == {"glass": 4, "metal": 4, "paper": 4}
    assert [d["name"] for d in report["damaged"]] == ["metal/gone.png"]


def test_an_empty_class_folder_is_in_the_report(tmp_path):
    """Of a folder and of a zip."""
    tree(tmp_path / "data", **{".": 4})
    (tmp_path / "data" / "wood").mkdir()
    assert read(tmp_path / "data").report["dropped"] == [{"name": "wood/", "reason": "empty folder"}]
    packed(tmp_path / "a.zip", None, ("glass", "metal"))
    with zipfile.ZipFile(tmp_path / "a.zip", "a") as archive:
        archive.mkdir("wood/")
    assert read(tmp_path / "a.zip").report["dropped"] == [{"name": "wood/", "reason": "empty folder"}]


def test_a_class_folder_of_pictures_that_are_not_read_is_refused(tmp_path):
    """Raw photographs, and images without a suffix, aren't lost without a word; lists beside the classes are fine."""
    tree(tmp_path, **{".": 4})
    (tmp_path / "splits").mkdir()
    (tmp_path / "splits" / "train.txt").write_text("x")
    assert read(tmp_path).report["dropped"] == [{"name": "splits/", "reason": "folder without an image"}]
    (tmp_path / "wood").mkdir()
    (tmp_path / "wood" / "1.dng").write_bytes(b"raw")
    assert "class 'wood' has no image that is read: none of the 1 files in 'wood'" in refusal(tmp_path)
    (tmp_path / "wood" / "1.dng").unlink()
    noise(tmp_path / "wood" / "1.png ")
    assert "class 'wood' has no image that is read" in refusal(tmp_path)


def test_a_class_that_lost_all_its_images_is_refused(tmp_path):
    """The reason stands in the message."""
    tree(tmp_path, **{".": 6})
    for k in range(6):
        (tmp_path / "paper" / f"{k}.png").write_bytes(b"")
    assert "class 'paper' lost all its 6 images: empty file 6 (paper/0.png is the first)" in refusal(tmp_path)


def test_a_class_with_too_few_images_says_what_it_lost(tmp_path):
    """Two are left of four, and why."""
    tree(tmp_path, **{".": 4})
    (tmp_path / "paper" / "0.png").rename(tmp_path / "paper" / "0.txt")
    (tmp_path / "paper" / "1.png").write_bytes(b"")
    assert "'paper' (2; 1 left out: empty file; 1 left out: not an image by its name)" in refusal(tmp_path)


def test_a_root_without_images_says_what_is_there(tmp_path):
    """Names and kinds of the files, or that there is none."""
    (tmp_path / "glass").mkdir()
    assert "there is no file at all" in refusal(tmp_path)
    (tmp_path / "glass" / "1.dng").write_bytes(b"raw")
    assert "1 files that are no images by their names: glass/1.dng" in refusal(tmp_path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_a_folder_that_can_not_be_read_is_refused(tmp_path):
    """It isn't taken for an empty one."""
    tree(tmp_path, **{".": 4})
    (tmp_path / "glass").chmod(0)
    try:
        assert "can't be read" in refusal(tmp_path)
    finally:
        (tmp_path / "glass").chmod(0o755)


def test_images_look_through_all_outer_folders():
    """Names are short where all agree, and whole where they don't."""
    files = Files(("a/b/glass/1.png", "a/b/metal/2.png"), lambda name: b"")
    assert files.images() == {"glass/1.png": "a/b/glass/1.png", "metal/2.png": "a/b/metal/2.png"}
    assert [*Files(("a/1.png", "b/2.png"), lambda name: b"").images()] == ["a/1.png", "b/2.png"]
