"""A data set, a finished run of it, and an entry packed from that."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from squares import CLASSES, SIDE, save_network, squares

from harness.data.split import Dataset
from harness.errors import HarnessError
from harness.judge import timing
from harness.judge.judge import judge
from harness.measure import process
from harness.record.verdict import Verdict
from harness.rules.competition import Competition
from harness.sandbox import sandbox
from harness.sandbox.remote import Mode
from harness.submission.pack import pack


@pytest.fixture(scope="session")
def dataset() -> Dataset:
    """Three parts of squares; 120 test images."""
    return Dataset("squares", CLASSES, squares(30, "a", 1), squares(30, "v", 2), squares(120, "t", 3))


@pytest.fixture(scope="session")
def competition() -> Competition:
    """Timed beside a one-layer network."""
    stage = {"block": "conv", "channels": 8, "stride": 2}
    return Competition(reference={"model": {"stages": [stage]}, "resolution_px": SIDE, "classes": 3})


@pytest.fixture(scope="session")
def run(dataset: Dataset) -> dict:
    """The content of a finished run's run.json."""
    return {
        "candidate": {"stages": [], "resolution_px": SIDE},
        "data": {
            "name": "squares",
            "options": {"root": "here", "map": "some/where.csv", "seed": 3},
            "fingerprint": dataset.fingerprint(),
            "classes": list(CLASSES),
        },
        "preprocessing": {"resolution_px": SIDE, "mean": [0.4, 0.4, 0.4], "std": [0.2, 0.2, 0.2]},
        "metrics": {"f1": 0.9, "loss": float("nan")},
        "versions": {"harness": "0"},
        "train_s": 1.5,
        "seed": 7,
    }


@pytest.fixture(scope="session")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run's folder with its model file."""
    folder = tmp_path_factory.mktemp("run")
    save_network(folder / "model.onnx")
    return folder


@pytest.fixture(scope="session")
def packed(run_folder: Path, run: dict, dataset: Dataset, competition: Competition, tmp_path_factory) -> Path:
    """An entry, to be read only."""
    return pack(run_folder, run, dataset, "brightest", tmp_path_factory.mktemp("entries"), competition)


@pytest.fixture
def entry(packed: Path, tmp_path: Path) -> Path:
    """A copy of the entry that a test may damage."""
    return shutil.copytree(packed, tmp_path / "brightest")


@pytest.fixture(scope="session")
def mode() -> Mode:
    """The strict sandbox where it can be had, as in CI; else none."""
    try:
        sandbox.check()
    except HarnessError:
        return "unsafe"
    return "strict"


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the reference network is kept."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="session")
def verdict(packed: Path, dataset: Dataset, competition: Competition, cache: Path, mode: Mode) -> Verdict:
    """What the judge says of the sound entry: the one real judgement that whoever wants a verdict shares.

    However noisy the machine: nobody asks it how long the network takes.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(process, "NOISY", 1.0)
        patch.setattr(timing, "NOISY", 1.0)
        return judge(packed, dataset, competition, cache, sandbox=mode)
