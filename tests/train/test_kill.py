"""`kill -9` of a real final training, and the same command again."""

from __future__ import annotations

import json
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parents[2]
EPOCHS = 16
CANDIDATE = {
    "model": {
        "stages": [{"block": "conv", "channels": 16, "stride": 2}, {"block": "conv", "channels": 32, "stride": 2}]
    },
    "resolution_px": 16,
    "augment": {"n": 2, "m": 9, "flip": False},
    "recipe": {"batch": 64},
}


def command(candidate: Path, runs: Path) -> list[str]:
    """The command of one run; only the folder differs."""
    return [
        sys.executable, str(ROOT / "train.py"), f"candidate={candidate}", "data=digits", "run=net", "track=disabled",
        f"recipe.epochs={EPOCHS}", "recipe.ema=0.99", "threads=1", f"runs={runs}",
    ]  # fmt: skip


def kill_when(arguments: list[str], ready: Callable[[], bool], delay_s: float) -> int:
    """Start the command, wait for a moment, and kill it with SIGKILL; return its exit code."""
    with subprocess.Popen(arguments, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        try:
            deadline = time.monotonic() + 600
            while not ready() and process.poll() is None and time.monotonic() < deadline:
                time.sleep(0.002)
            time.sleep(delay_s)
        finally:
            process.kill()
        assert not process.stderr.read()
    return process.returncode


def rows(folder: Path) -> list[dict]:
    """The whole lines of metrics.jsonl."""
    path = folder / "metrics.jsonl"
    return [json.loads(line) for line in path.read_text().split("\n")[:-1]] if path.exists() else []


def test_a_training_killed_thrice_ends_like_one_that_was_not(tmp_path: Path):
    """Killed as its record appears, after its first checkpoint and at a random moment: the same result to the last bit.

    Takes its seconds because five processes load torch and two of them measure the artefact. The layout and number
    format are found by timing, once a run: the straight run is given those that the killed one found.
    """
    candidate = tmp_path / "net.json"
    candidate.write_text(json.dumps(CANDIDATE))
    killed, straight = (tmp_path / name / "final" / "net" for name in ("killed", "straight"))
    again, draw = command(candidate, tmp_path / "killed"), random.Random()
    saved = killed / "checkpoint.pt"

    assert kill_when(again, (killed / "begun.json").exists, 0.0) == -signal.SIGKILL
    assert kill_when(again, saved.exists, 0.0) == -signal.SIGKILL
    before = len(rows(killed))
    delay_s = draw.uniform(0.0, 0.3)
    assert kill_when(again, lambda: len(rows(killed)) > before + 3, delay_s) == -signal.SIGKILL
    assert 0 < int(torch.load(saved)["epoch"]) < EPOCHS, f"killed {delay_s} s after an epoch"
    ended = subprocess.run(again, capture_output=True, text=True, timeout=900)
    assert ended.returncode == 0, ended.stderr
    assert "resumed after epoch" in ended.stdout

    straight.mkdir(parents=True)
    shutil.copy(killed / "begun.json", straight)
    whole = subprocess.run(command(candidate, tmp_path / "straight"), capture_output=True, text=True, timeout=900)
    assert whole.returncode == 0 and "resumed" not in whole.stdout, whole.stderr

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
