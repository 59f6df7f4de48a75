"""Each command uses the threads that this machine gives, says so, and times nothing on more."""

from __future__ import annotations

from pathlib import Path

import in_process
import pytest
import torch

from harness.processors import cores, given

MODEL = Path(__file__).resolve().parents[2] / "conf" / "model" / "mobilenetv3.yaml"
COMMANDS = {
    "tune.py": ("tune.py", "competition.threads=999", "track=disabled"),
    "train.py": ("train.py", f"model={MODEL}", "competition.threads=999", "track=disabled"),
    "measure": ("-m", "harness", "measure", str(MODEL), "threads=999"),
}


@pytest.mark.parametrize("words", COMMANDS.values(), ids=list(COMMANDS))
def test_a_network_that_needs_more_processors_is_refused_at_once(words: tuple[str, ...], tmp_path: Path) -> None:
    """Before the first trial or epoch: the setting, what is given, and what may be set."""
    done = in_process.command(tmp_path, *words)
    assert done.returncode == 2
    assert "competition.threads=999: as many processors are needed" in done.stderr and str(given()) in done.stderr
    assert f"set competition.threads={cores()}" in done.stderr


def test_training_takes_as_many_threads_as_are_given_and_says_so(tmp_path: Path) -> None:
    """In a line of its own, before anything else; the run ends early here, by another mistake."""
    before = torch.get_num_threads()
    try:
        done = in_process.command(tmp_path, "train.py", f"model={MODEL}", "threads=999", "layout=x", "track=disabled")
        assert f"threads=999: uses {cores()} threads; this machine gives {given()}" in done.stdout
        assert torch.get_num_threads() == cores() and "layout=x" in done.stderr
    finally:
        torch.set_num_threads(before)


def test_a_study_says_what_the_environment_leaves_its_workers(tmp_path: Path) -> None:
    """And goes by it; it ends early here, by another mistake."""
    done = in_process.command(tmp_path, "tune.py", "launch=nowhere", "track=disabled", OMP_NUM_THREADS="1")
    one = cores() == 1
    assert one or f"OMP_NUM_THREADS=1: uses 1 thread; this machine gives {given()}" in done.stdout
    assert "launch" in done.stderr
