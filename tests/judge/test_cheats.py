"""Who cheats the clock or the score is caught by name, and who is honest is not."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from hashlib import blake2b
from pathlib import Path

import cheats
import onnx
import pytest
from squares import seal

from harness import config
from harness.data.prepare import prepare
from harness.data.sets import load
from harness.data.split import Dataset
from harness.judge import timing
from harness.judge.judge import LATENCY_S, judge
from harness.measure import paired_timing, process
from harness.measure.process import predict
from harness.record import manifest
from harness.rules.competition import Competition
from harness.sandbox.refused import Refused
from harness.sandbox.remote import RUNNER, Mode
from harness.submission import predictions

pytestmark = pytest.mark.alone
EXAMPLE = Path(__file__).resolve().parents[2] / "submissions" / "example"
TAKEN = Path(__file__).with_name("taken.py")
SHORT = [cheats.int8, cheats.depthwise, cheats.table, cheats.idle_on_noise, "Lazy", "Slow", "Constant"]
"""Of each kind; all of them are in the long form."""

Case = Callable[..., Path] | str


@pytest.fixture(scope="module")
def digits() -> tuple[Dataset, Competition]:
    """The example's data and competition."""
    settings = config.load("submit", ["data=digits"])
    return load(*config.data_options(settings.data)), settings.competition


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Time in fewer processes, on a machine however noisy: what is looked for here is large."""
    monkeypatch.setattr(paired_timing, "PROCESSES", 4)
    monkeypatch.setattr(process, "NOISY", 1.0)
    monkeypatch.setattr(timing, "NOISY", 1.0)


def packed(change: Callable[..., Path] | None, dataset: Dataset, folder: Path) -> Path:
    """Pack the example entry with a changed model and that one's predictions."""
    entry = shutil.copytree(EXAMPLE, folder / "entry")
    how = manifest.read(entry).prepared()
    if change:
        made = change(onnx.load(EXAMPLE / "model.onnx"), dataset, how, folder / "changed.onnx")
        shutil.copyfile(made, entry / "model.onnx")
        found = predictions.compute(entry / "model.onnx", dataset, how, 1)
        predictions.write(entry / "predictions.csv", dataset.test.names, found, dataset.classes)
    return seal(entry)


def program(name: str, dataset: Dataset, entry: Path, folder: Path) -> Path:
    """Write the taken-over runner with a class's name, and what it knows of the test images."""
    images = prepare(dataset.test.pixels, manifest.read(entry).prepared())
    answers = predict(entry / "model.onnx", images)
    names = (blake2b(image.tobytes(), digest_size=8).hexdigest() for image in images)
    known = dict(zip(names, answers.tolist(), strict=True)) if name == "Knowing" else {}
    path = folder / "taken.py"
    path.write_text(f"CHEAT = {name!r}\nKNOWN = {json.dumps(known)}\n{TAKEN.read_text()}")
    return path


def reason(
    case: Case, digits: tuple[Dataset, Competition], folder: Path, mode: Mode, latency_s: float = LATENCY_S
) -> str:
    """Judge a case; return the reason for its refusal, or nothing."""
    dataset, competition = digits
    taken = isinstance(case, str)
    entry = packed(None if taken else case, dataset, folder)
    runs = program(case, dataset, entry, folder) if taken else RUNNER
    try:
        judge(entry, dataset, competition, folder / "cache", sandbox=mode, latency_s=latency_s, program=runs)
    except Refused as e:
        return e.reason
    return ""


def expected(case: Case) -> tuple[str, ...]:
    """Return the checks of which one should refuse a case; ("",) for an honest one."""
    return cheats.PROGRAMS[case] if isinstance(case, str) else cheats.GRAPHS.get(case, ("",))


def name_of(case: Case) -> str:
    """Return what a case is called."""
    return case if isinstance(case, str) else case.__name__


@pytest.mark.parametrize("case", SHORT, ids=name_of)
def test_cheats_are_caught_and_the_honest_pass(
    case: Case, digits: tuple[Dataset, Competition], tmp_path: Path, quick: None, mode: Mode
) -> None:
    """Some of each kind: 2 to 5 s each, for a judgement with its processes."""
    assert reason(case, digits, tmp_path, mode, 1.0) in expected(case)
