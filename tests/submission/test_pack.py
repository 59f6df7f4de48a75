"""A run becomes an entry, whole or not at all."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from squares import save_network

from harness import config
from harness.commands import pack as commands
from harness.data.split import Dataset
from harness.errors import HarnessError
from harness.record import manifest
from harness.record.files import sha256
from harness.record.result import Cost, Result
from harness.record.run import Run
from harness.record.run_folder import write_run
from harness.rules.competition import Competition
from harness.submission import predictions
from harness.submission.pack import pack

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "submissions" / "example"


def test_an_entry_holds_model_predictions_and_manifest(packed: Path, run_folder: Path, dataset: Dataset) -> None:
    """The three files are there and speak of each other; nothing else is left beside them but how to use the model."""
    assert sorted(p.name for p in packed.iterdir()) == ["manifest.json", "model.onnx", "predict.py", "predictions.csv"]
    assert [p.name for p in packed.parent.iterdir()] == ["brightest"]
    said = manifest.read(packed)
    assert said.files == {name: sha256(packed / name) for name in said.files}
    assert (packed / "model.onnx").read_bytes() == (run_folder / "model.onnx").read_bytes()
    found = predictions.read(packed / "predictions.csv", dataset.test.names, dataset.classes)
    assert (found == dataset.test.labels).mean() == pytest.approx(0.9)
    assert [line.split(",")[0] for line in (packed / "predictions.csv").read_text().split()[1:]] == [
        *dataset.test.names
    ]


def test_no_path_of_this_machine_travels(packed: Path) -> None:
    """Data options keep what decides the data, not where they lie."""
    assert manifest.read(packed).data["options"] == {"seed": 3}


def test_a_metric_that_is_no_number_becomes_null(packed: Path) -> None:
    """The manifest is standard JSON, NaN or not."""
    assert manifest.read(packed).run["metrics"] == {"f1": 0.9, "loss": None}


def test_a_taken_name_is_replaced_only_by_force(
    entry: Path, run_folder: Path, run: dict, dataset: Dataset, competition: Competition
) -> None:
    """The entry that is there stays as it is; with force it is exchanged as a whole."""
    (entry / "note.txt").write_text("mine")
    with pytest.raises(HarnessError, match="brightest: an entry of this name is there"):
        pack(run_folder, run, dataset, "brightest", entry.parent, competition)
    assert (entry / "note.txt").exists()
    pack(run_folder, run | {"seed": 8}, dataset, "brightest", entry.parent, competition, force=True)
    assert manifest.read(entry).run["seed"] == 8
    assert not (entry / "note.txt").exists()
    assert [p.name for p in entry.parent.iterdir()] == ["brightest"]


@pytest.mark.parametrize("name", ["", "..", "a/b", "../a", ".hidden", "x" * 65])
def test_a_name_that_is_no_folder_name_is_refused(
    name: str, run_folder: Path, run: dict, dataset: Dataset, competition: Competition, tmp_path: Path
) -> None:
    """Nothing is written outside the folder of entries."""
    with pytest.raises(HarnessError, match="name: .*; allowed: 1 to 64 letters"):
        pack(run_folder, run, dataset, name, tmp_path / "entries", competition)
    assert not list(tmp_path.iterdir())


def test_other_data_than_the_runs_are_refused(
    run_folder: Path, run: dict, dataset: Dataset, competition: Competition, tmp_path: Path
) -> None:
    """A run is packed with the data that it was trained on."""
    other = Dataset(dataset.name, dataset.classes, dataset.train, dataset.validation, dataset.validation)
    with pytest.raises(HarnessError, match="trained on data .*'squares' is now .*\n.*data options of the run"):
        pack(run_folder, run, other, "x", tmp_path, competition)


def test_a_run_from_before_there_were_two_fingerprints_is_packed(
    run_folder: Path, run: dict, dataset: Dataset, competition: Competition, tmp_path: Path
) -> None:
    """Its entry goes by the fingerprint that teams hold now."""
    old = run | {"data": run["data"] | {"fingerprint": dataset.judge_fingerprint()}}
    entry = pack(run_folder, old, dataset, "x", tmp_path, competition)
    assert manifest.read(entry).data["fingerprint"] == dataset.fingerprint()


def test_an_unfinished_run_is_refused(
    run_folder: Path, run: dict, dataset: Dataset, competition: Competition, tmp_path: Path
) -> None:
    """Without its model file, or without a key of run.json, there is nothing to pack."""
    short = json.loads(json.dumps({k: v for k, v in run.items() if k != "metrics"}))
    with pytest.raises(HarnessError, match="run.json: no 'metrics'"):
        pack(run_folder, short, dataset, "x", tmp_path, competition)
    with pytest.raises(HarnessError, match="model.onnx: not found"):
        pack(tmp_path, run, dataset, "x", tmp_path, competition)


def test_a_network_of_other_classes_is_refused_and_leaves_nothing(
    run: dict, dataset: Dataset, competition: Competition, tmp_path: Path
) -> None:
    """A failure while packing leaves no half entry."""
    folder = tmp_path / "run"
    folder.mkdir()
    save_network(folder / "model.onnx", classes=4)
    with pytest.raises(HarnessError, match="4 outputs; data set 'squares' has 3 classes"):
        pack(folder, run, dataset, "x", tmp_path / "entries", competition)
    assert not (tmp_path / "entries").exists() or not list((tmp_path / "entries").iterdir())


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], ("openvino", 1)),
        (["competition=taco2021"], ("onnx", 1)),
        (["competition.threads=2"], ("openvino", 2)),
    ],
)
def test_inference_packs_for_the_competition_that_is_named(
    tmp_path: Path, arguments: list[str], expected: tuple[str, int]
) -> None:
    """Without one, for that of the run."""
    said, folder = manifest.read(EXAMPLE), tmp_path / "run"
    folder.mkdir()
    shutil.copyfile(EXAMPLE / "model.onnx", folder / "model.onnx")
    rules = config.read_competition("digits").rules() | {"runtime": "openvino"}
    data = said.data | {"classes": said.classes}
    cost = Cost(10**6, 1234, 0.2, 0.19, 0.21, 0.4, 0.39, 0.41, "openvino")
    run = Run(
        candidate=said.candidate, data=data, preprocessing=said.preprocessing, precision={}, competition=rules, seed=0,
        metrics=Result(cost, f1=None, confusion=None, points=None), versions={}, train_s=1.0,
    )  # fmt: skip
    write_run(folder, run)
    commands.pack([f"run={folder}", "name=ours", f"submissions={tmp_path}/sub", *arguments])
    packed = manifest.read(tmp_path / "sub" / "ours")
    assert (packed.runtime, packed.threads) == expected
