"""The judge scores what it has run itself, and refuses what doesn't hold together."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import onnx
import pytest
from squares import seal

from harness.data.split import Dataset
from harness.errors import HarnessError
from harness.measure.competition import Competition, Figures, points
from harness.measure.quality import macro_f1
from harness.submission import judge as judging
from harness.submission import predictions
from harness.submission.judge import Verdict, judge
from harness.submission.manifest import sha256


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the reference network is kept."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def verdict(packed: Path, dataset: Dataset, competition: Competition, cache: Path) -> Verdict:
    """What the judge says of the sound entry."""
    return judge(packed, dataset, competition, cache)


def test_a_verdict_holds_what_was_measured(
    verdict: Verdict, packed: Path, dataset: Dataset, competition: Competition
) -> None:
    """F1 is that of the predictions, time has its interval and raw samples, points follow from them."""
    submitted = predictions.read(packed / "predictions.csv", dataset.test.names, dataset.classes)
    assert verdict.f1 == macro_f1(dataset.test.labels, submitted, 3)
    assert verdict.agreement == 1.0
    assert 0 < verdict.latency_low_ms <= verdict.latency_ms <= verdict.latency_high_ms
    assert verdict.ratio_low <= verdict.ratio <= verdict.ratio_high
    loads = [load for loads in verdict.samples["processes"] for load in loads]
    assert sum(len(load["model_ms"]) for load in loads) == sum(len(load["reference_ms"]) for load in loads) >= 10
    assert verdict.samples["runtime"] == "onnx"
    assert verdict.macs == 9
    figures = Figures(verdict.f1, verdict.ratio, verdict.latency_ms, verdict.macs)
    assert verdict.points == points(competition, figures)
    assert verdict.model_sha256 == sha256(packed / "model.onnx")
    assert verdict.size_bytes == (packed / "model.onnx").stat().st_size
    assert (verdict.competition_digest, verdict.formula) == (competition.digest(), "boostcamp2021b")
    assert verdict.machine["cores"] >= 1


def test_a_verdict_survives_json(verdict: Verdict) -> None:
    """What goes to the board can be written and read."""
    assert Verdict.from_dict(json.loads(json.dumps(verdict.to_dict()))) == verdict


def test_a_board_formula_leaves_the_points_to_the_board(
    packed: Path, dataset: Dataset, competition: Competition, cache: Path
) -> None:
    """With rank_mean a verdict has no points of its own (about 4 s: a whole measurement)."""
    assert judge(packed, dataset, replace(competition, formula="rank_mean"), cache).points is None


def test_one_flipped_byte_of_the_model_is_caught(
    entry: Path, dataset: Dataset, competition: Competition, cache: Path
) -> None:
    """The error names the file and both hashes, and says what to do."""
    content = bytearray((entry / "model.onnx").read_bytes())
    expected = sha256(entry / "model.onnx")
    content[len(content) // 2] ^= 1
    (entry / "model.onnx").write_bytes(content)
    found = sha256(entry / "model.onnx")
    with pytest.raises(HarnessError, match=rf"model.onnx: changed .*is {found}.*says {expected}\n.*pack the entry"):
        judge(entry, dataset, competition, cache)


def flip(entry: Path, count: int) -> Path:
    """Change the label of the first rows."""
    lines = (entry / "predictions.csv").read_text().splitlines()
    other = {"red": "green", "green": "blue", "blue": "red"}
    for i in range(1, count + 1):
        name, label = lines[i].split(",")
        lines[i] = f"{name},{other[label]}"
    (entry / "predictions.csv").write_text("\n".join(lines) + "\n")
    return entry


def test_one_flipped_prediction_is_caught(entry: Path, dataset: Dataset, competition: Competition, cache: Path) -> None:
    """By its hash; and where a cheat renews the hash, because the model doesn't say so."""
    flip(entry, 1)
    with pytest.raises(HarnessError, match="predictions.csv: changed since it was packed"):
        judge(entry, dataset, competition, cache)
    with pytest.raises(HarnessError, match="predictions.csv: 0.9917 of the labels .*allowed: 0.995 or more"):
        judge(seal(entry), dataset, competition, cache)


def test_a_missing_row_is_caught(entry: Path, dataset: Dataset, competition: Competition, cache: Path) -> None:
    """The first id without a row is named, and how many there are."""
    lines = (entry / "predictions.csv").read_text().splitlines()
    (entry / "predictions.csv").write_text("\n".join(lines[:5] + lines[7:]) + "\n")
    with pytest.raises(HarnessError, match="no row for id 't-004'; 2 of 120 test images have none"):
        judge(seal(entry), dataset, competition, cache)


def test_a_missing_file_and_a_link_are_caught(
    entry: Path, dataset: Dataset, competition: Competition, cache: Path
) -> None:
    """A link could show the judge's own files."""
    (entry / "model.onnx").rename(entry / "elsewhere")
    with pytest.raises(HarnessError, match="model.onnx: not found, or no plain file"):
        judge(entry, dataset, competition, cache)
    (entry / "model.onnx").symlink_to(entry / "elsewhere")
    with pytest.raises(HarnessError, match="model.onnx: not found, or no plain file"):
        judge(entry, dataset, competition, cache)


@pytest.mark.parametrize("name", ["model.onnx", "predictions.csv"])
def test_an_oversized_file_is_caught(
    name: str, entry: Path, dataset: Dataset, competition: Competition, cache: Path
) -> None:
    """A file over its cap isn't even hashed."""
    with (entry / name).open("r+b") as file:
        file.truncate(judging.LARGEST[name] + 1)  # a hole: takes no space
    with pytest.raises(HarnessError, match=f"{name}: {judging.LARGEST[name] + 1:,} bytes; allowed: "):
        judge(entry, dataset, competition, cache)


def test_other_data_are_caught(packed: Path, dataset: Dataset, competition: Competition, cache: Path) -> None:
    """An entry for another split, or for other classes, isn't scored on this one."""
    other = replace(dataset, train=dataset.validation)
    with pytest.raises(HarnessError, match="data.fingerprint is .*; 'squares' has .*\n.*data options of the entry"):
        judge(packed, other, competition, cache)
    with pytest.raises(HarnessError, match="classes are .*'blue'.*has .*'violet'"):
        judge(packed, replace(dataset, classes=("red", "green", "violet")), competition, cache)


def test_another_engine_is_caught(packed: Path, dataset: Dataset, competition: Competition, cache: Path) -> None:
    """An entry made for another runtime isn't timed on this one."""
    with pytest.raises(HarnessError, match="runtime is 'onnx'; competition 'digits' times 'openvino'"):
        judge(packed, dataset, replace(competition, runtime="openvino"), cache)


def test_a_misspelt_formula_stops_at_once(
    packed: Path, dataset: Dataset, competition: Competition, cache: Path
) -> None:
    """Before anything is run."""
    with pytest.raises(HarnessError, match="unknown 'boostcamp2021c'"):
        judge(packed, dataset, replace(competition, formula="boostcamp2021c"), cache)


def test_a_model_that_fails_when_run_is_an_error_with_its_reason(
    entry: Path, dataset: Dataset, competition: Competition, cache: Path
) -> None:
    """What the child process says reaches the user: here an operator that the engine doesn't know."""
    network = onnx.load(str(entry / "model.onnx"))
    network.graph.node[0].domain = "nowhere"
    network.opset_import.append(onnx.helper.make_opsetid("nowhere", 1))
    (entry / "model.onnx").write_bytes(network.SerializeToString())
    with pytest.raises(HarnessError, match="model.onnx: ONNX Runtime can't load it: .*nowhere"):
        judge(seal(entry), dataset, competition, cache)
