"""TACO crops: the competition's cleaning rules, the cut by photograph, and the real annotations."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from harness.data.annotations import read_coco, read_map, read_things, tally
from harness.data.crops import cut_out, overlap, overlapping, rare, too_long, too_small
from harness.data.taco import TacoOptions, clean, load
from harness.errors import HarnessError

DATA = Path(__file__).parents[2] / os.environ.get("HARNESS_DATA", "../shared/data") / "taco"
BOXES = st.lists(st.tuples(*[st.integers(0, 60)] * 2, *[st.integers(1, 60)] * 2), min_size=1, max_size=25)


@pytest.fixture
def small(tmp_path) -> TacoOptions:
    """Make 12 photographs, each with a red can and a green bottle, 30 px each."""
    images, annotations = [], []
    (tmp_path / "photos" / "batch_1").mkdir(parents=True)
    for k in range(12):
        canvas = np.zeros((80, 120, 3), dtype=np.uint8)
        canvas[10:40, 10:40], canvas[40:70, 60:90] = (255, 0, 0), (0, 255, 0)
        Image.fromarray(canvas).save(tmp_path / "photos" / "batch_1" / f"{k}.png")
        images.append({"id": k, "file_name": f"batch_1/{k}.png", "width": 120, "height": 80})
        annotations += [thing(2 * k, k, 1, [10, 10, 30, 30]), thing(2 * k + 1, k, 2, [60, 40, 30, 30])]
    categories = [{"id": 1, "name": "Drink can"}, {"id": 2, "name": "Clear bottle"}, {"id": 3, "name": "Straw"}]
    save(tmp_path / "boxes.json", {"images": images, "annotations": annotations, "categories": categories})
    root, boxes = str(tmp_path / "photos"), str(tmp_path / "boxes.json")
    return TacoOptions(root=root, annotations=boxes, side_px=32, min_per_class=5, margin=0.0)


def thing(number: int, photo: int, category: int, box: list) -> dict:
    """Return a COCO annotation."""
    return {"id": number, "image_id": photo, "category_id": category, "bbox": box, "iscrowd": 0}


def save(path, raw: dict) -> None:
    """Write a json file."""
    Path(path).write_text(json.dumps(raw))


def extended(options: TacoOptions, *annotations: dict) -> TacoOptions:
    """Add annotations to the file."""
    raw = json.loads(Path(options.annotations).read_text())
    raw["annotations"] += annotations
    save(options.annotations, raw)
    return options


def test_crops_hold_the_object_and_its_label(small):
    """Cans are red, bottles are green, and each is named by its annotation."""
    data = load(small)
    assert data.classes == ("Clear bottle", "Drink can")
    for part in (data.train, data.validation, data.test):
        assert (part.pixels[part.labels == 1] == (255, 0, 0)).all()
        assert (part.pixels[part.labels == 0] == (0, 255, 0)).all()
        assert all(
            (int(n.removeprefix("ann-")) % 2 == 0) == (k == 1) for n, k in zip(part.names, part.labels, strict=True)
        )


def test_crops_of_a_photograph_stay_together(small):
    """No photograph is in two parts, all crops are used, and the seed decides."""
    data = load(small)
    homes = [{int(n.removeprefix("ann-")) // 2 for n in p.names} for p in (data.train, data.validation, data.test)]
    assert sum(map(len, homes)) == len(set().union(*homes)) == 12
    assert data.judge_fingerprint() == load(small).judge_fingerprint()
    small.seed = 5
    assert data.judge_fingerprint() != load(small).judge_fingerprint()


def test_every_drop_is_listed_with_its_reason(small):
    """One object for each rule: all are in the report, by annotation and by count, and nothing else is."""
    options = extended(
        small,
        thing(100, 0, 1, [100, 5, 4, 30]),
        thing(101, 0, 1, [50, 0, 60, 9]),
        thing(102, 0, 1, [8, 8, 34, 34]),
        thing(103, 0, 3, [90, 0, 28, 28]),
        thing(104, 0, 1, [200, 200, 30, 30]),
        thing(105, 99, 1, [10, 10, 30, 30]),
    )
    report = load(options).report
    assert {d["name"]: d["reason"] for d in report["dropped"]} == {
        "ann-100": "too small",
        "ann-101": "extreme aspect ratio",
        "ann-102": "overlaps a smaller box",
        "ann-103": "rare class",
        "ann-104": "no usable box",
        "ann-105": "photograph missing",
    }
    assert report["read"] == 30 and sum(report["kept"].values()) == 24
    assert sum(report["dropped_by_reason"].values()) == len(report["dropped"]) == 6
    assert json.loads(json.dumps(report)) == report


def test_a_class_dropped_as_rare_is_named_with_its_counts(small):
    """Three straws are annotated, one is too small, two are too few: the report has the 3 and the 2."""
    boxes = ([90, 0, 28, 28], [0, 50, 28, 28], [0, 0, 5, 9])
    report = load(extended(small, *[thing(100 + k, k, 3, box) for k, box in enumerate(boxes)])).report
    assert report["annotated"] == {"Clear bottle": 12, "Drink can": 12, "Straw": 3}
    assert report["rare_classes"] == {"Straw": 2} and "Straw" not in report["kept"]


def test_repeated_annotation_ids_are_both_kept(small):
    """TACO gives two ids to two different objects each; both become crops."""
    data = load(extended(small, thing(0, 1, 1, [70, 5, 26, 26])))
    names = [*data.train.names, *data.validation.names, *data.test.names]
    assert {"ann-0", "ann-0-2"} <= set(names) and len(names) == 25
    assert data.report["repeated_ids"] == [0]


def test_categories_are_mapped_by_the_csv(small, tmp_path):
    """Two categories become two classes of another name; a category without a line is dropped and counted."""
    (tmp_path / "map.csv").write_text("category,class\nDrink can,metal\nClear bottle,plastic\n")
    small.map = str(tmp_path / "map.csv")
    data = load(extended(small, thing(100, 0, 3, [90, 0, 28, 28])))
    assert data.classes == ("metal", "plastic")
    assert data.report["dropped_by_reason"] == {"category not in the map": 1}


def test_missing_and_damaged_photographs_are_named(small):
    """A missing file, a broken one and one of another size are in the report with their crops."""
    root = Path(small.root) / "batch_1"
    (root / "3.png").unlink()
    (root / "4.png").write_bytes(b"nothing")
    Image.new("RGB", (80, 120)).save(root / "5.png")
    report = load(small).report
    assert {d["name"]: d["reason"] for d in report["damaged"]} == {
        "batch_1/3.png": "no such file",
        "batch_1/4.png": "not an image",
        "batch_1/5.png": "80x120 px, the annotations say 120x80",
    }
    assert report["dropped_by_reason"] == {"photograph missing": 2, "photograph damaged": 4}


def test_a_root_without_the_photographs_is_refused(small, tmp_path):
    """The wrong folder is an error, not an empty data set."""
    (tmp_path / "other").mkdir()
    small.root = str(tmp_path / "other")
    with pytest.raises(HarnessError, match="12 of 12 images .* missing"):
        load(small)


@pytest.mark.parametrize("option", ["root", "annotations", "map"])
def test_a_wrong_path_names_its_option(small, option):
    """Each of the three paths says what it must hold."""
    setattr(small, option, "nowhere/at/all")
    with pytest.raises(HarnessError, match=rf"data.{option}: no such file 'nowhere/at/all'[\s\S]*e.g. data.{option}="):
        load(small)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"images": [{}], "annotations": [], "categories": []}'])
def test_a_file_that_is_no_coco_file_is_refused(small, text):
    """Broken or foreign json is said to be so."""
    Path(small.annotations).write_text(text)
    with pytest.raises(HarnessError, match="is no COCO file"):
        load(small)


def test_too_strict_rules_say_which_to_loosen(small):
    """Where no class is left the message counts the reasons."""
    small.min_per_class = 13
    with pytest.raises(HarnessError, match=r"'rare class': 24[\s\S]*'Drink can' \(12\)[\s\S]*lower data.min_per_class"):
        load(small)


def test_the_memory_limit_holds_for_crops(small):
    """24 crops of 512 px are more than 1 MB."""
    small.side_px, small.max_gb = 512, 0.001
    with pytest.raises(HarnessError, match="lower data.side_px to 117 or less"):
        load(small)


@given(BOXES, st.floats(0.1, 0.9))
def test_of_two_overlapping_boxes_the_larger_goes(raw, iou):
    """No two survivors overlap over the threshold, and each dropped box overlaps a survivor no larger than it."""
    boxes = np.array(raw, dtype=float)
    drop = overlapping(boxes, iou)
    kept = boxes[~drop]
    for k, box in enumerate(kept):
        assert not (overlap(box, np.delete(kept, k, axis=0)) > iou).any()
    for box in boxes[drop]:
        rivals = kept[overlap(box, kept) > iou]
        assert len(rivals) and (rivals[:, 2:].prod(axis=1) <= box[2:].prod()).any()


def test_iou_agrees_with_pycocotools():
    """Our IoU is the reference one."""
    from pycocotools import mask

    boxes = np.random.default_rng(0).uniform(1, 50, (30, 4))
    ours = np.array([overlap(b, boxes) for b in boxes])
    assert np.allclose(ours, mask.iou(boxes, boxes, [0] * 30))


@given(BOXES, st.integers(1, 40), st.integers(1, 40), st.floats(1, 8))
def test_size_rules_do_what_they_say(raw, side, longer, aspect):
    """What is left is large enough and not too long, whichever side is longer."""
    boxes = np.array(raw, dtype=float)
    left = boxes[~too_small(boxes, side, longer) & ~too_long(boxes, aspect)][:, 2:]
    assert (left.min(axis=1) >= side).all() and (left.max(axis=1) >= longer).all()
    assert (left.max(axis=1) <= aspect * left.min(axis=1)).all()
    assert np.array_equal(too_long(boxes, aspect), too_long(boxes[:, [0, 1, 3, 2]], aspect))


@given(st.lists(st.sampled_from("abcd"), min_size=1), st.integers(1, 10))
def test_what_is_left_of_the_classes_is_not_rare(raw, least):
    """Every class that remains has at least that many members, and keeps all of them."""
    labels = np.array(raw)
    left = labels[~rare(labels, least)].tolist()
    assert all(left.count(c) == raw.count(c) >= least for c in set(left))


def test_the_margin_is_a_share_of_the_longer_side_and_stops_at_the_edge():
    """A 40x20 box gains 4 px on each side, where the photograph has them."""
    photo = np.zeros((100, 100, 3), dtype=np.uint8)
    assert cut_out(photo, np.array([30, 30, 40, 20]), 0.1).shape == (28, 48, 3)
    assert cut_out(photo, np.array([0, 80, 40, 20]), 0.1).shape == (24, 44, 3)


def needs(name: str) -> str:
    """Return the path of a real file, or skip."""
    if not (DATA / name).exists():
        pytest.skip(f"no {name} in {DATA}: set HARNESS_DATA")
    return str(DATA / name)


def test_all_of_taco_is_read_with_its_repeated_ids():
    """4,784 annotations, two ids twice: every one has a name and a class of its own."""
    things, repeated = read_things(read_coco(needs("annotations.json")), read_map(needs("map_10.csv")))
    assert len({t.name for t in things}) == len(things) == 4784
    assert repeated == [309, 4040] and {t.kind for t in things if not t.kind} == set()


def test_the_real_photographs_become_crops():
    """369 photographs: every annotation is kept or listed, and every class is in every part near its share."""
    paths = {"root": "taco-369-images.zip", "annotations": "annotations_369.json", "map": "map_10.csv"}
    data = load(TacoOptions(**{option: needs(name) for option, name in paths.items()}, side_px=64))
    assert data.report["read"] == 1082 == sum(data.report["kept"].values()) + len(data.report["dropped"])
    assert not data.report["damaged"] and min(data.report["kept"].values()) >= 20
    assert data.report["rare_classes"] == {"Cigarette": 15} and data.report["annotated"]["Cigarette"] == 160
    counts = {part: np.array(c) for part, c in data.counts().items()}
    total = sum(counts.values())
    assert min(c.min() for c in counts.values()) >= 1
    assert np.abs(counts["test"] - 0.2 * total).max() <= 0.05 * total.max()
    assert abs(counts["test"].sum() / total.sum() - 0.2) < 0.02


def test_lower_size_limits_keep_cigarettes_on_the_reduced_photographs():
    """The values that docs/data.md gives for the 369 photographs leave all ten classes; boxes alone decide it."""
    coco, classes = read_coco(needs("annotations_369.json")), read_map(needs("map_10.csv"))
    kept, dropped = clean(read_things(coco, classes)[0], TacoOptions(min_side_px=4, min_longer_px=12))
    counts = tally(kept)
    assert len(kept) == 875 and len(kept) + len(dropped) == 1082
    assert len(counts) == 10 and min(counts.values()) >= 20 and counts["Cigarette"] == 67
