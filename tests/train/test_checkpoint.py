"""Checkpoints: whole after a kill at any moment, and refused where they are not."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from harness.errors import HarnessError
from harness.train import checkpoint

KILLS = 25
# A process that imports torch once and forks a writer whenever it is asked to.
NURSERY = """
import os, signal, sys, torch
from pathlib import Path
from harness.train import checkpoint
torch.set_num_threads(1)
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
for order in sys.stdin:
    how, path, first = order.split("|")
    child = os.fork()
    if child == 0:
        for epoch in range(int(first), 10**9):
            state = {"epoch": epoch, "weights": torch.full((1_000_000,), float(epoch))}
            checkpoint.save(Path(path), state) if how == "save" else torch.save(state, path)
    print(child, flush=True)
"""


@pytest.fixture(scope="module")
def nursery() -> Iterator[subprocess.Popen]:
    """The process that forks writers."""
    with subprocess.Popen(
        [sys.executable, "-c", NURSERY], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        yield process
        process.stdin.close()


def write_until_killed(nursery: subprocess.Popen, how: str, path: Path, first: int, seconds: float) -> None:
    """Let a fresh writer save one checkpoint after the other and kill it in the middle."""
    nursery.stdin.write(f"{how}|{path}|{first}\n")
    nursery.stdin.flush()
    child = int(nursery.stdout.readline())
    time.sleep(seconds)
    os.kill(child, signal.SIGKILL)
    while Path(f"/proc/{child}").exists():
        time.sleep(0.002)


def epoch_of(path: Path) -> int:
    """Load a checkpoint and see that all of it is of one epoch."""
    state = checkpoint.load(path)
    assert (state["weights"] == state["epoch"]).all()
    return state["epoch"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_writer_killed_at_any_moment_leaves_a_whole_file(nursery: subprocess.Popen, tmp_path: Path):
    """Twenty-five kills, 5 to 80 ms after the start of 4 MB writes: always loadable, of one epoch, never older.

    Takes its seconds because a process must load torch, and the moments must be many.
    """
    path, newest, draw = tmp_path / "checkpoint.pt", 0, random.Random(0)
    checkpoint.save(path, {"epoch": 0, "weights": torch.zeros(1_000_000)})
    moved = 0
    for _ in range(KILLS):
        write_until_killed(nursery, "save", path, newest + 1, draw.uniform(0.005, 0.08))
        found = epoch_of(path)
        assert found >= newest
        moved += found > newest
        newest = found
    assert moved > KILLS / 3  # the kills did fall among the writes
    assert len(list(tmp_path.iterdir())) <= 2  # what killed writers leave behind doesn't pile up


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_plain_writer_is_caught(nursery: subprocess.Popen, tmp_path: Path):
    """Negative control: the same kills of a writer that writes in place leave a torn file, and `load` says so."""
    path, draw = tmp_path / "plain.pt", random.Random(0)
    with pytest.raises(HarnessError, match="not a whole checkpoint"):
        for _ in range(4 * KILLS):
            write_until_killed(nursery, "plain", path, 1, draw.uniform(0.005, 0.08))
            if path.exists():
                epoch_of(path)


@pytest.mark.parametrize("kept", [0.0, 0.3, 0.9, 0.999])
def test_a_torn_file_is_an_error_that_says_what_to_do(tmp_path: Path, kept: float):
    """Cut anywhere, it is refused with its path and the next step."""
    path = tmp_path / "checkpoint.pt"
    checkpoint.save(path, {"epoch": 3, "weights": torch.arange(5000.0)})
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * kept)])
    with pytest.raises(HarnessError, match=r"checkpoint\.pt: not a whole checkpoint(.|\n)*to start again"):
        checkpoint.load(path)


def test_code_in_a_checkpoint_is_not_run(tmp_path: Path):
    """Only tensors and plain values are loaded."""
    path, mark = tmp_path / "checkpoint.pt", tmp_path / "ran"
    torch.save({"epoch": Evil(str(mark))}, path)
    with pytest.raises(HarnessError, match="not a whole checkpoint"):
        checkpoint.load(path)
    assert not mark.exists()


class Evil:
    """Unpickling this makes a folder."""

    def __init__(self, mark: str) -> None:
        self.mark = mark

    def __reduce__(self):
        return os.mkdir, (self.mark,)
