"""A model's file, in the course's format or ours, as `model=` takes it."""

from __future__ import annotations

from pathlib import Path

import in_process
import pytest

from harness import config
from harness.errors import HarnessError
from harness.record.candidate import Candidate, of_model, side_px_of_model

STAGES = "stages:\n  - {block: conv, channels: 16, stride: 2}\n"
COURSE = "input_channel: 3\ndepth_multiple: 1.0\nwidth_multiple: 0.5\nbackbone: [[1, Conv, [24, 3, 2]]]\n"
LINES = COURSE.replace("[[1, Conv, [24, 3, 2]]]", "\n  - [1, Conv, [24, 3, 2]]")


def under_model(text: str) -> str:
    """Put all lines under `model:`."""
    return "model:\n" + "".join(f"  {line}\n" for line in text.splitlines())


def candidate(text: str, folder: Path) -> Candidate:
    """Write a model's file and make a candidate of it."""
    path = folder / "model.yaml"
    path.write_text(text)
    return of_model(config.read_yaml(path), path, 32)


@pytest.mark.parametrize("text", [STAGES, COURSE])
def test_what_stands_under_model_is_what_stands_alone(text: str, tmp_path: Path):
    """Both formats, as docs/models.md shows ours and as the course has its own."""
    assert candidate(under_model(text), tmp_path) == candidate(text, tmp_path)


def test_a_key_beside_model_is_named(tmp_path: Path):
    """Such a file is a candidate's."""
    with pytest.raises(HarnessError, match=r"'resolution_px' beside `model`.*\n.*candidate="):
        candidate(under_model(STAGES) + "resolution_px: 64\n", tmp_path)


def test_a_file_for_gray_images_is_refused(tmp_path: Path):
    """They would be read in colour, and the first layer be another one."""
    with pytest.raises(HarnessError, match="input_channel=1"):
        candidate(COURSE.replace("input_channel: 3", "input_channel: 1"), tmp_path)


@pytest.mark.parametrize(("size", "side_px"), [("INPUT_SIZE: [52, 52]\n", 52), ("", None)])
def test_a_course_files_own_input_size_is_found(size: str, side_px: int | None, tmp_path: Path):
    """Alone and under `model:`; ours has none."""
    path = tmp_path / "model.yaml"
    for text in (COURSE + size, under_model(COURSE + size)):
        path.write_text(text)
        assert side_px_of_model(config.read_yaml(path), path) == side_px
    path.write_text(STAGES)
    assert side_px_of_model(config.read_yaml(path), path) is None


def test_every_shipped_model_is_found_by_its_name_and_builds():
    """`model=mobilenetv3` needs no path."""
    names = config.groups()["model"]
    assert "mobilenetv3" in names
    for name in names:
        path = config.model_file(name)
        assert of_model(config.read_yaml(path), path, 32).model.stages


def test_a_model_that_isnt_there_is_answered_with_those_that_are():
    """With the nearest name."""
    with pytest.raises(HarnessError, match=r"(?s)model=mobilenetv2: no such file; .*mobilenetv3.*did you mean"):
        config.model_file("mobilenetv2")


def test_a_file_comes_before_a_shipped_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """What lies there under that very name is what was meant."""
    monkeypatch.chdir(tmp_path)
    Path("mobilenetv3").write_text(STAGES)
    assert config.model_file("mobilenetv3") == Path("mobilenetv3")


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        (LINES + "  - [1, Conv, [16, x, 2]]\n", -1, "Conv: kernel='x': allowed"),
        (LINES + "  - [1, Conv, [24, 3, 1, null, 5]]\n", -1, "(Conv): groups 5: must divide"),
        (LINES + "  - [1000000, Conv, [8, 3]]\n", -1, "repeat 1000000: must be a whole number"),
        ("dept_multiple: 1\n" + COURSE, 1, "unknown key 'dept_multiple'"),
        ("stages:\n  - {block: conv, channels: 8}\n  - {block: conv, channels: 8, kernell: 3}\n", 3, "'kernell'"),
        ("stagess: 3\nstages:\n  - {block: conv, channels: 8}\n", 1, "unknown part 'stagess'"),
    ],
)
@pytest.mark.parametrize("wrapped", [False, True])
def test_what_is_wrong_with_a_network_names_file_and_line(
    text: str, line: int, words: str, wrapped: bool, tmp_path: Path
):
    """Where it can't be built, too, before any data are read."""
    path = tmp_path / "model.yaml"
    path.write_text(under_model(text) if wrapped else text)
    number = len(path.read_text().splitlines()) if line < 0 else line + wrapped
    done = in_process.run(tmp_path, "train.py", f"model={path}", "data=folder", "data.root=nowhere", code=2)
    assert f"error: {path}, line {number}: " in done.stderr and words in done.stderr
