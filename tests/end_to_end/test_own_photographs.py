"""A team's own few photographs, from a folder to a trained network: what they are is said at every step."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from harness.record import run_folder
from tests.data.test_tree import KINDS, noise, tree
from tests.end_to_end.commands import BUSY
from tests.in_process import ROOT, run

FAST = ("competition=digits", "latency_s=0.05", BUSY, "track=disabled")


@pytest.fixture
def photographs(tmp_path: Path) -> list[str]:
    """Three classes in Training/ and Testing/, one photograph in two of them, and a file that is none."""
    root = tree(tmp_path / "photographs", Training=10, Testing=4)
    noise(root / "Training" / "glass" / "both.png")
    (root / "Testing" / "metal" / "both.png").write_bytes((root / "Training" / "glass" / "both.png").read_bytes())
    (root / "Training" / "glass" / "empty.jpg").write_bytes(b"")
    return ["data=folder", f"data.root={root}", "data.side_px=16"]


def cells(text: str) -> list[list[str]]:
    """Return the cells of the rows of the first table."""
    return [[c.strip() for c in line.strip("│").split("│")] for line in text.splitlines() if line.startswith("│")]


def check_what_is_said(text: str) -> None:
    """Classes by name with their counts, the loss with its reason, and the photograph that is two things."""
    rows = cells(text)
    assert [row[0] for row in rows[:4]] == [*KINDS, "3 classes"]
    assert rows[3][1:5] == ["25", "6", "13", "1"]
    assert rows[4] == ["left out: can't be read: empty file", "", "", "", "1", "Training/glass/empty.jpg"]
    assert "1 photograph is of two classes:" in text
    assert "Training/glass/both.png" in text and "Testing/metal/both.png" in text


def test_a_study_of_few_photographs_says_what_they_are_and_lowers_the_batch(photographs: list[str], tmp_path: Path):
    """The trial's record has the batch that it trained with; 128 would have made an epoch one step.

    It takes seconds: a whole study of one trial.
    """
    settings = [*photographs, "data.resolutions_px=[8]", "study.name=few", "study.trials=1", "proxy.epochs=1", *FAST]
    printed = run(tmp_path, "tune.py", *settings).stdout
    check_what_is_said(printed)
    assert "note:  a batch of more than 12 is lowered to 6: 25 images to learn from" in printed
    assert run_folder.read_candidate(tmp_path / "runs" / "few" / "00000").recipe.batch == 6
    stored = json.loads((tmp_path / "runs" / "few" / "data.json").read_text())
    assert stored["copies"][0]["classes"] == ["glass", "metal"] and stored["copies"][0]["exact"]
    assert stored["report"]["damaged"][0]["name"] == "Training/glass/empty.jpg"


def test_the_long_training_of_few_photographs_says_it_too(photographs: list[str], tmp_path: Path):
    """Of what is trained on, the held-out part not among it; what is recorded is what was trained with."""
    model = f"model={ROOT / 'conf' / 'model' / 'mobilenetv3.yaml'}"
    settings = [model, *photographs, "recipe.epochs=1", "run=few", *FAST]
    printed = run(tmp_path, "train.py", *settings).stdout
    check_what_is_said(printed)
    assert "note:  recipe.batch=128 is lowered to 6: 25 images, an epoch would be one step" in printed
    assert run_folder.read_candidate(tmp_path / "runs" / "final" / "few").recipe.batch == 6
