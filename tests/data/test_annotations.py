"""COCO files as people bring them: odd values, repeated ids, other encodings, crowds, photographs that EXIF turns."""

from __future__ import annotations

import copy
import json
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from harness.data.annotations import Photo, clipped, read_coco, read_map, read_things
from harness.data.taco import TacoOptions, load
from harness.errors import HarnessError

CAN, BOTTLE = [10, 10, 30, 30], [55, 55, 35, 35]


@pytest.fixture
def root(tmp_path) -> Path:
    """Make 14 photographs of 120 x 100 px, each with a red Can and a green Bottle."""
    canvas = np.zeros((100, 120, 3), dtype=np.uint8)
    canvas[10:40, 10:40], canvas[55:90, 55:90] = (255, 0, 0), (0, 255, 0)
    for k in range(14):
        Image.fromarray(canvas).save(tmp_path / f"{k}.png")
    return tmp_path


def coco() -> dict:
    """Return the annotations of the photographs."""
    images = [{"id": k, "file_name": f"{k}.png", "width": 120, "height": 100} for k in range(14)]
    boxes = [
        {"id": 2 * k + n, "image_id": k, "category_id": category, "bbox": [*box], "iscrowd": 0}
        for k in range(14)
        for n, (category, box) in enumerate(((3, CAN), (90, BOTTLE)))
    ]
    return {
        "images": images,
        "annotations": boxes,
        "categories": [{"id": 3, "name": "Can"}, {"id": 90, "name": "Bottle"}],
    }


def options(root: Path, raw: dict | bytes, **more) -> TacoOptions:
    """Write the annotations and return the options that read them."""
    path = root / "boxes.json"
    path.write_bytes(raw if isinstance(raw, bytes) else json.dumps(raw).encode())
    return TacoOptions(root=str(root), annotations=str(path), min_per_class=3, side_px=32, margin=0.0, **more)


def changed(change) -> dict:
    """Return the annotations after a change."""
    raw = coco()
    change(raw)
    return raw


def refusal(root: Path, raw: dict, **more) -> str:
    """Return the words with which annotations are refused."""
    with pytest.raises(HarnessError) as caught:
        load(options(root, raw, **more))
    return str(caught.value)


@pytest.mark.parametrize(
    "box",
    [
        [None] * 4, [1, 1, "", 1], 5, {"x": 1, "y": 1, "w": 30, "h": 30}, "1,1,30,30", [1, 1, 30], [], None, True,
        [True, True, 30, 30], [1, 1, 30, float("nan")], [1, 1, float("inf"), 30], [1, 1, -30, 30], [1, 1, 0, 30],
        [[1], 1, 30, 30], [300, 300, 30, 30], [-50, -50, 30, 30], [1, 1, 10**400, 30],
    ],
)  # fmt: skip
def test_a_box_of_an_odd_value_is_left_out_and_counted(root, box):
    """The other 27 crops are as they were."""
    data = load(options(root, changed(lambda c: c["annotations"][0].update(bbox=box))))
    assert data.report["kept"] == {"Bottle": 14, "Can": 13}
    assert data.report["dropped"] == [{"name": "ann-0", "reason": "no usable box"}]


def test_a_box_without_a_size_to_clip_it_is_clipped_by_the_photograph(root):
    """Beyond its edge it has no area, and costs no other crop of the photograph."""

    def change(c):
        c["images"][0].update(width=None, height=None)
        c["annotations"][0]["bbox"] = [200, 200, 30, 30]

    report = load(options(root, changed(change))).report
    assert report["kept"] == {"Bottle": 14, "Can": 13} and report["damaged"] == []
    assert report["dropped"] == [{"name": "ann-0", "reason": "no usable box"}]


@pytest.mark.parametrize("size", [(None, None), ("120", "100"), (120.0, 100.0)])
def test_a_size_that_is_unknown_or_text_is_read(root, size):
    """All 28 crops are left, and nothing is said."""
    report = load(options(root, changed(lambda c: c["images"][0].update(width=size[0], height=size[1])))).report
    assert sum(report["kept"].values()) == 28 and report["notes"] == []


@pytest.mark.parametrize("width", [0, -120, float("nan"), "wide", [120], True])
def test_a_size_that_can_not_be_is_read_as_none_and_named(root, width):
    """A width of 0 doesn't make every box one without an area."""
    report = load(options(root, changed(lambda c: c["images"][0].update(width=width)))).report
    assert sum(report["kept"].values()) == 28
    assert report["notes"] == ["1 photographs have a size that can't be (0.png is the first): read as without"]


def test_a_byte_order_mark_does_no_harm(root):
    """UTF-8 with one, and UTF-16."""
    text = json.dumps(coco())
    for raw in (b"\xef\xbb\xbf" + text.encode(), text.encode("utf-16")):
        assert sum(load(options(root, raw)).report["kept"].values()) == 28


@pytest.mark.parametrize("form", [".\\{}", "./{}", " {}"])
def test_file_names_of_other_systems_are_found(root, form):
    """Labelling tools on Windows write backslashes."""

    def change(c):
        for image in c["images"]:
            image["file_name"] = form.format(image["file_name"])

    assert sum(load(options(root, changed(change))).report["kept"].values()) == 28


def test_names_in_another_unicode_form_are_found(root, tmp_path):
    """Of files, and of categories in the map."""
    raw = changed(lambda c: c["images"][0].update(file_name=unicodedata.normalize("NFD", "é.png")))
    raw["categories"][0]["name"] = unicodedata.normalize("NFD", "Dosé")
    (root / "0.png").rename(root / "é.png")
    (tmp_path / "map.csv").write_text("Dosé,Can\nBottle,Bottle\n")
    assert sum(load(options(root, raw, map=str(tmp_path / "map.csv"))).report["kept"].values()) == 28


@pytest.mark.parametrize("crowd", [1, True, "1", 1.0])
def test_crowds_are_left_out_and_counted(root, crowd):
    """A box around many objects is none of one."""
    report = load(options(root, changed(lambda c: c["annotations"][0].update(iscrowd=crowd)))).report
    assert report["dropped"] == [{"name": "ann-0", "reason": "a crowd (iscrowd)"}]
    assert report["annotated"] == {"Bottle": 14, "Can": 13}


@pytest.mark.parametrize("crowd", [0, False, "0", None, ""])
def test_what_is_no_crowd_is_kept(root, crowd):
    """However it is said."""
    assert load(options(root, changed(lambda c: c["annotations"][0].update(iscrowd=crowd)))).report["dropped"] == []


def test_an_image_id_of_two_photographs_is_refused(root):
    """A joined file that wasn't numbered anew: cut out of the wrong photograph without a word, else."""
    words = refusal(root, changed(lambda c: c["images"][1].update(id=0)))
    assert "image id 0 stands for '0.png' and for '1.png'" in words and "numbered anew" in words
    assert "stands for" in refusal(root, changed(lambda c: c["images"][1].update(id="0")))


def test_a_category_id_of_two_names_is_refused(root):
    """No Can would be left, else."""
    words = refusal(root, changed(lambda c: c["categories"].append({"id": 3, "name": "Straw"})))
    assert "category id 3 stands for 'Can' and for 'Straw'" in words


def test_entries_that_stand_twice_alike_do_no_harm(root):
    """An image, a category, and two ids of one name."""

    def change(c):
        c["images"].append(dict(c["images"][0]))
        c["categories"] += [dict(c["categories"][0]), {"id": 4, "name": "Can"}]
        c["annotations"][0]["category_id"] = 4

    assert load(options(root, changed(change))).report["kept"] == {"Bottle": 14, "Can": 14}


def test_two_ids_of_one_photograph_are_one(root):
    """Its crops are in one part, whichever id they have."""

    def change(c):
        for k in range(14):
            c["images"].append(c["images"][k] | {"id": 100 + k})
            c["annotations"][2 * k]["image_id"] = 100 + k

    data = load(options(root, changed(change)))
    homes = [{int(n.removeprefix("ann-")) // 2 for n in p.names} for p in (data.train, data.validation, data.test)]
    assert sum(map(len, homes)) == 14


def test_ids_as_text_mean_the_same(root):
    """Some tools write numbers as text, in one place alone."""

    def change(c):
        for annotation in c["annotations"]:
            annotation["image_id"] = str(annotation["image_id"])
            annotation["category_id"] = float(annotation["category_id"])

    data, plain = load(options(root, changed(change))), load(options(root, coco()))
    assert data.judge_fingerprint() == plain.judge_fingerprint()


def test_repeated_annotation_ids_are_said(root):
    """Both are read, and it is noted."""
    report = load(options(root, changed(lambda c: c["annotations"][1].update(id=0)))).report
    assert report["repeated_ids"] == [0] and "1 annotation ids stand there more than once" in report["notes"][0]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda c: c.update(images={}), "'images' is no list"),
        (lambda c: c["images"].append(7), "images[14] holds no names and values"),
        (lambda c: c["images"][2].pop("file_name"), "images[2] has no file_name"),
        (lambda c: c["images"][2].update(file_name=None), "images[2].file_name is None, not text"),
        (lambda c: c["images"][2].update(id=[1]), "images[2].id is [1]"),
        (lambda c: c["images"][2].update(id=float("nan")), "images[2].id is nan"),
        (lambda c: c["annotations"][2].pop("id"), "annotations[2] has no id"),
        (lambda c: c["annotations"][2].update(image_id={}), "annotations[2].image_id is {}"),
        (lambda c: c["categories"][1].update(name=5), "categories[1].name is 5, not text"),
        (lambda c: c["categories"][1].update(name="\ud800"), "surrogates not allowed"),
        (lambda c: c.pop("categories"), "categories"),
    ],
)
def test_an_entry_that_lacks_what_it_must_have_is_named(root, change, words):
    """One error, with the entry's place in its list."""
    assert words in refusal(root, changed(change))


@pytest.mark.parametrize("category", [77, None, [3], "Can"])
def test_an_unknown_category_is_left_out_and_counted(root, category):
    """Its object is of no class."""
    report = load(options(root, changed(lambda c: c["annotations"][0].update(category_id=category)))).report
    assert report["dropped"] == [{"name": "ann-0", "reason": "no such category"}]


def test_a_class_that_lost_all_its_objects_is_refused(root):
    """Its boxes are all unusable, and it would be gone without a word."""

    def change(c):
        for annotation in c["annotations"][::2]:
            annotation["bbox"] = None
        c["categories"].append({"id": 5, "name": "Straw"})
        c["annotations"] += [
            dict(c["annotations"][1], id=500 + k, image_id=k, category_id=5, bbox=[0, 0, 28, 28]) for k in range(14)
        ]

    assert "class 'Can' lost all its 14 images: no usable box 14 (ann-0 is the first)" in refusal(root, changed(change))


def test_a_rare_class_of_which_nothing_is_left_is_in_the_report(root):
    """Two straws, too small: fewer than are needed anyway, and said."""

    def change(c):
        c["categories"].append({"id": 5, "name": "Straw"})
        c["annotations"] += [dict(c["annotations"][0], id=500 + k, category_id=5, bbox=[0, 0, 3, 3]) for k in range(2)]

    report = load(options(root, changed(change))).report
    assert report["rare_classes"] == {"Straw": 0} and report["annotated"]["Straw"] == 2


def turned(root: Path, orientation: int) -> None:
    """Store a photograph as a camera on its side does: pixels as they are, and a tag that turns them."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    image = Image.open(root / "0.png").copy()
    image.save(root / "0.png", exif=exif)


@pytest.mark.parametrize("orientation", [5, 6, 7, 8])
def test_boxes_on_stored_pixels_of_a_turned_photograph_are_named(root, orientation):
    """The stated size is the one before EXIF turns it."""
    turned(root, orientation)
    (lost,) = load(options(root, coco())).report["damaged"]
    assert lost["name"] == "0.png"
    assert lost["reason"] == (
        "100x120 px, the annotations say 120x100, which is its size as it is stored, before EXIF orientation "
        f"{orientation} turns it: so are the boxes"
    )


def test_boxes_on_the_upright_photograph_are_read(root):
    """The stated size is the one after EXIF has turned it: nothing is doubtful."""
    turned(root, 6)
    raw = changed(lambda c: c["images"][0].update(width=100, height=120))
    report = load(options(root, raw)).report
    assert report["damaged"] == [] and report["notes"] == []


@pytest.mark.parametrize("orientation", [2, 3, 4])
def test_where_no_size_tells_how_a_photograph_was_turned_it_is_said(root, orientation):
    """Upside down it has the same size."""
    turned(root, orientation)
    report = load(options(root, coco())).report
    assert report["damaged"] == [] and "1 photographs are turned by their EXIF orientation" in report["notes"][0]


def test_a_map_with_two_classes_for_one_category_is_refused(tmp_path):
    """Which of them counts isn't left to the order of the lines."""
    (tmp_path / "map.csv").write_text("category,class\nCan,metal\nCan,tin\n")
    with pytest.raises(HarnessError, match="map.csv:3: category 'Can' is 'tin' here and 'metal' above"):
        read_map(str(tmp_path / "map.csv"))


def test_a_map_that_is_not_utf8_is_refused(tmp_path):
    """Its classes would have no letters."""
    (tmp_path / "map.csv").write_bytes("category,class\nCan,금속\n".encode("cp949"))
    with pytest.raises(HarnessError, match="map.csv:2: isn't UTF-8"):
        read_map(str(tmp_path / "map.csv"))


def test_things_keep_the_ids_of_their_photographs(root):
    """The cut into parts goes by them, so what was read right before is cut as before."""
    raw = copy.deepcopy(coco())
    for image in raw["images"]:
        image["id"] = f"p{image['id']}"
    for annotation in raw["annotations"]:
        annotation["image_id"] = f"p{annotation['image_id']}"
    things, _ = read_things(read_coco(options(root, raw).annotations), None)
    assert [t.photo for t in things[:3]] == ["p0", "p0", "p1"]


def test_a_box_is_clipped_at_the_edges():
    """On all four sides."""
    assert clipped([-5, -5, 200, 200], Photo("a", 120, 100)) == (0, 0, 120, 100)


@pytest.mark.parametrize("folder", ["", "photos", "data/photos"])
def test_file_names_are_found_below_any_outer_folder(root, folder):
    """The annotations may name the photographs from each of the folders they lie in."""
    (root / "all" / "data" / "photos" / "a").mkdir(parents=True)
    for k in range(14):
        (root / f"{k}.png").rename(root / "all" / "data" / "photos" / "a" / f"{k}.png")

    def change(c):
        for image in c["images"]:
            image["file_name"] = f"{folder}/a/{image['file_name']}".removeprefix("/")

    raw = options(root, changed(change))
    raw.root = str(root / "all")
    assert sum(load(raw).report["kept"].values()) == 28


def test_lists_within_lists_are_one_error(root):
    """Deeper than Python reads, and short of that: neither is shown bracket by bracket."""
    text = json.dumps(coco())
    for depth in (700, 100_000):
        raw = text.replace('"image_id": 0', f'"image_id": {"[" * depth}{"]" * depth}', 1)
        assert raw != text
        with pytest.raises(HarnessError, match="is no COCO file") as caught:
            load(options(root, raw.encode()))
        assert len(caught.value.what) < 300 and "RecursionError" not in caught.value.what


def test_a_category_of_blanks_is_refused(root):
    """It would be a class that nobody can see."""
    assert "categories[0].name is '  ', which names no class" in refusal(
        root, changed(lambda c: c["categories"][0].update(name="  "))
    )
