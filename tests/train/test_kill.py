"""`kill -9` of a real final training, and the same command again."""

from __future__ import annotations

import contextlib
import json
import random
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path

import torch
from fork_server import CONTEXT

from harness.__main__ import shell

EPOCHS = 16
CANDIDATE = {
    "model": {
        "stages": [{"block": "conv", "channels": 16, "stride": 2}, {"block": "conv", "channels": 32, "stride": 2}]
    },
    "resolution_px": 16,
    "augment": {"n": 2, "m": 9, "flip": False},
    "recipe": {"batch": 64},
}


def train(candidate: Path, runs: Path) -> None:
    """Be `train.py`; only the folder differs from run to run, and has what was printed, and the errors, beside it."""
    with (
        runs.with_suffix(".out").open("w") as out,
        runs.with_suffix(".err").open("w", buffering=1) as err,
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        words = [f"candidate={candidate}", "data=digits", "run=net", "track=disabled", f"runs={runs}"]
        shell(["train", *words, f"recipe.epochs={EPOCHS}", "recipe.ema=0.99", "threads=1"])


def kill_when(arguments: tuple[Path, Path], ready: Callable[[], bool], delay_s: float) -> int | None:
    """Start the training, wait for a moment or its end, and kill it with SIGKILL; return its exit code."""
    process = CONTEXT.Process(target=train, args=arguments)
    process.start()
    try:
        deadline = time.monotonic() + 600
        while not ready() and process.is_alive() and time.monotonic() < deadline:
            time.sleep(0.002)
        time.sleep(delay_s)
    finally:
        process.kill()
        process.join()
    if process.exitcode:  # one that ends well may have said that its measurement waited for another
        assert not arguments[1].with_suffix(".err").read_text()
    return process.exitcode


def rows(folder: Path) -> list[dict]:
    """The whole lines of metrics.jsonl."""
    path = folder / "metrics.jsonl"
    return [json.loads(line) for line in path.read_text().split("\n")[:-1]] if path.exists() else []


def test_a_training_killed_thrice_ends_like_one_that_was_not(tmp_path: Path):
    """Killed as its record appears, after its first checkpoint and at a random moment: the same result to the last bit.

    Takes its seconds because five processes train and two of them measure the artefact. The layout and number format
    are found by timing, once a run: the straight run is given those that the killed one found.
    """
    candidate = tmp_path / "net.json"
    candidate.write_text(json.dumps(CANDIDATE))
    killed, straight = (tmp_path / name / "final" / "net" for name in ("killed", "straight"))
    again, draw = (candidate, tmp_path / "killed"), random.Random()
    saved = killed / "checkpoint.pt"

    assert kill_when(again, (killed / "begun.json").exists, 0.0) == -signal.SIGKILL
    assert kill_when(again, saved.exists, 0.0) == -signal.SIGKILL
    before = len(rows(killed))
    delay_s = draw.uniform(0.0, 0.3)
    assert kill_when(again, lambda: len(rows(killed)) > before + 3, delay_s) == -signal.SIGKILL
    assert 0 < int(torch.load(saved)["epoch"]) < EPOCHS, f"killed {delay_s} s after an epoch"
    assert kill_when(again, lambda: False, 0.0) == 0
    assert "resumed after epoch" in (tmp_path / "killed.out").read_text()

    straight.mkdir(parents=True)
    shutil.copy(killed / "begun.json", straight)
    assert kill_when((candidate, tmp_path / "straight"), lambda: False, 0.0) == 0
    assert "resumed" not in (tmp_path / "straight.out").read_text()

    for name in ("weights.pt", "checkpoint.pt"):
        one, other = (torch.load(folder / name) for folder in (killed, straight))
        assert equal(one, other), f"{name} differs, killed {delay_s} s after an epoch"
    assert (killed / "model.onnx").read_bytes() == (straight / "model.onnx").read_bytes()
    assert [row["epoch"] for row in rows(killed)] == list(range(1, EPOCHS + 1))
    assert [row["loss"] for row in rows(killed)] == [row["loss"] for row in rows(straight)]
    assert (killed / "candidate.json").exists() and not list(killed.glob("*.part"))


def equal(one: object, other: object) -> bool:
    """Compare nested values with tensors in them."""
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(equal(v, other[k]) for k, v in one.items())
    if isinstance(one, list):
        return len(one) == len(other) and all(map(equal, one, other))
    return one == other
