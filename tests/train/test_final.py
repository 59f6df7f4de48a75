"""The final training holds a part out and tells what it learnt from that, unless it is the last run."""

from __future__ import annotations

import json
import shlex
from dataclasses import dataclass
from pathlib import Path

import albumentations
import in_process
import pytest
from PIL import Image

CANDIDATE = {
    "model": {
        "stages": [{"block": "conv", "channels": 16, "stride": 2}, {"block": "conv", "channels": 32, "stride": 2}]
    },
    "resolution_px": 8,
    "augment": {"n": 0, "m": 0, "flip": False},
    "recipe": {"batch": 64},
}


@dataclass
class Trained:
    """A run's folder, its record, its journal's rows, and what the command said."""

    folder: Path
    record: dict
    rows: list[dict]
    said: str


def train(folder: Path, name: str, *more: str) -> Trained:
    """Train a small network on digits for a few epochs by the real script."""
    candidate = folder / "net.json"
    candidate.write_text(json.dumps(CANDIDATE))
    words = [f"candidate={candidate}", "data=digits", f"run={name}", "recipe.epochs=20", "recipe.ema=0.9", "threads=1",
             "track=disabled", f"runs={folder}/runs", *more]  # fmt: skip
    said = in_process.run(folder, "train.py", *words).stdout
    run = folder / "runs" / "final" / name
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return Trained(run, json.loads((run / "run.json").read_text()), rows, said)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One folder for both runs: they time the same reference."""
    return tmp_path_factory.mktemp("final")


@pytest.fixture(scope="module")
def held_out(place: Path) -> Trained:
    """A run as it is by default, with a terminal's worth of time for the reference."""
    return train(place, "net")


def test_by_default_a_part_is_held_out_and_its_f1_told(held_out: Trained) -> None:
    """Over 5 s: trains and measures. During the training at ten epochs, at the end of the exported network."""
    found = held_out.record["metrics"]
    images = sum(map(sum, found["confusion"]))
    assert found["f1"] > 0.5 and found["points"] is not None and images == 337
    assert [row["epoch"] for row in held_out.rows if "f1" in row] == [*range(2, 21, 2)]
    assert held_out.rows[-1]["f1"] == pytest.approx(found["f1"], abs=0.02)
    assert "1011 images at 8 px" in held_out.said and f"F1 {found['f1']:.4f} on 337 images held out" in held_out.said


def test_it_ends_with_each_class_and_the_picture_of_who_is_taken_for_whom(held_out: Trained) -> None:
    """Ten classes in the table; the picture lies beside the network."""
    table = held_out.said[held_out.said.index("images held out") :]
    rows = [line for line in table.splitlines() if line.startswith("│")]
    assert len(rows) == 10
    with Image.open(held_out.folder / "confusion.png") as picture:
        assert picture.size == (720, 720)
    assert f"wrote {held_out.folder / 'confusion.png'}" in held_out.said


def test_the_last_run_learns_from_all_by_the_command_that_was_printed(held_out: Trained, place: Path) -> None:
    """Over 5 s: trains and measures. It has no F1 of its own, and no picture is made up."""
    (line,) = (line for line in held_out.said.splitlines() if line.endswith("hold_out=false run=net-all"))
    _, script, *words = shlex.split(line)
    assert Path(script).name == "train.py" and f"runs={place}/runs" in words and "recipe.epochs=20" in words
    said = in_process.run(place, "train.py", *words).stdout
    folder = place / "runs" / "final" / "net-all"
    record = json.loads((folder / "run.json").read_text())
    assert record["metrics"]["f1"] is None and record["metrics"]["cost"]["latency_ms"] > 0
    assert "1348 images at 8 px" in said and "held out" not in said and not (folder / "confusion.png").exists()
    assert not any("f1" in json.loads(row) for row in (folder / "metrics.jsonl").read_text().splitlines())


def test_transforms_of_the_command_line_are_trained_with_and_recorded(place: Path) -> None:
    """Over 5 s: trains and measures. In the candidate as they were given, and as the library writes them."""
    listed = "augment.transforms=[{Affine: {rotate: [-10, 10], p: 0.7}}, RandomResizedCrop]"
    trained = train(place, "turned", listed, "augment.place=after")
    first, crop = albumentations.load(trained.folder / "transforms.json").transforms
    assert (tuple(first.rotate), first.p, tuple(crop.size)) == ((-10, 10), 0.7, (8, 8))
    how = trained.record["candidate"]["augment"]
    assert how["transforms"] == [{"Affine": {"rotate": [-10, 10], "p": 0.7}}, {"RandomResizedCrop": {}}]
    assert how["place"] == "after" and trained.record["metrics"]["f1"] > 0.3
    wrong = in_process.run(
        place, "train.py", f"candidate={place}/net.json", "data=digits", "augment.transforms=[Mosaic]", code=2
    )
    assert "augment.transforms.0: Mosaic needs other images" in wrong.stderr
