"""A run's folder is read as it was written, and says what it is when it isn't what was asked for."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from harness.data.augment import Augment
from harness.data.prepare import Preprocessing
from harness.errors import HarnessError
from harness.models.spec import ModelSpec, Stage
from harness.record import run_folder
from harness.record.candidate import Candidate
from harness.record.recipe import Recipe
from harness.record.result import Cost, Result
from harness.record.run import Run

CANDIDATE = Candidate(ModelSpec((Stage("conv", 8),)), 8, Augment(), Recipe())
COST = Cost(10**6, 1234, 0.2, 0.19, 0.21, 0.4, 0.39, 0.41, "onnx")
RESULT = Result(COST, 0.75, ((3, 1), (0, 4)), None, rungs={2: 0.5}, fidelity={"epochs": 5}, seconds=1.5)
RUN = Run(
    candidate=CANDIDATE.to_dict(), data={}, preprocessing={}, precision={}, competition={}, seed=0, metrics=RESULT,
    versions={}, train_s=1.0,
)  # fmt: skip


def trial(folder: Path) -> Path:
    """A folder as a trial leaves it."""
    run_folder.write_candidate(folder / "00003", CANDIDATE)
    run_folder.write_result(folder / "00003", RESULT, Preprocessing(8, (0.5,) * 3, (0.2,) * 3), {"torch": "2"})
    return folder / "00003"


def test_what_was_written_is_read(tmp_path: Path) -> None:
    """Of a trial and of a final training; a folder or the file itself names the candidate."""
    place = trial(tmp_path)
    assert run_folder.read_candidate(place) == run_folder.read_candidate(place / "candidate.json") == CANDIDATE
    assert run_folder.read_result(place) == RESULT
    run_folder.write_run(tmp_path, replace(RUN, metrics=replace(RESULT, f1=None, confusion=None)))
    assert (
        run_folder.read_run(tmp_path).metrics
        == run_folder.read_result(tmp_path)
        == replace(RESULT, f1=None, confusion=None)
    )


def test_before_its_end_there_is_no_result(tmp_path: Path) -> None:
    """Where only the candidate lies there."""
    run_folder.write_candidate(tmp_path, CANDIDATE)
    assert run_folder.read_result(tmp_path) is None


@pytest.mark.parametrize("content", ['{"macs": 5, "f1": 0.5}', "{", "[]"])
def test_a_result_of_an_earlier_version_is_named_as_such(tmp_path: Path, content: str) -> None:
    """As a damaged one is; whoever hands its folder in is told so, too."""
    place = trial(tmp_path)
    (place / "result.json").write_text(content)
    for read in (run_folder.read_result, run_folder.read_run):
        with pytest.raises(HarnessError, match=r"00003/result.json: not a result that this version reads"):
            read(place)


def test_a_trials_folder_is_no_run_to_hand_in(tmp_path: Path) -> None:
    """The error says what it is, and the command that makes one of it."""
    place = trial(tmp_path)
    with pytest.raises(HarnessError, match=rf"a trial's folder \(F1 0.7500\)(.|\n)*train.py candidate={place}"):
        run_folder.read_run(place)


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, r"no finished run there \(no run.json\)"), ("{", "not a run's record"), ('{"seed": 1}', "not a run's rec")],
)
def test_what_is_no_run_is_one_error(tmp_path: Path, content: str | None, message: str) -> None:
    """Not there, torn, or another's."""
    if content is not None:
        (tmp_path / "run.json").write_text(content)
    with pytest.raises(HarnessError, match=message):
        run_folder.read_run(tmp_path)


def test_what_is_no_candidate_is_one_error(tmp_path: Path) -> None:
    """Nothing there, or no JSON, with the line."""
    with pytest.raises(HarnessError, match=f"candidate={tmp_path}/candidate.json: no such file"):
        run_folder.read_candidate(tmp_path)
    (tmp_path / "candidate.json").write_text("{\n]")
    with pytest.raises(HarnessError, match=r"candidate\.json:2: not JSON"):
        run_folder.read_candidate(tmp_path)
