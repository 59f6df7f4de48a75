"""The next command is spelt as this one was started."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from harness.invoked import spelt


def program(path: Path) -> Path:
    """A file that can be run."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    return path


def test_a_command_is_spelt_as_it_was_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By name where the shell finds this very program by it; by its path where it would find another or none."""
    python, command = program(tmp_path / ".venv/bin/python"), program(tmp_path / ".venv/bin/harness")
    monkeypatch.setattr(sys, "executable", str(python))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", f"{tmp_path}/.venv/bin:{os.environ['PATH']}")
    for started, verb, line in (
        (str(command), "tune", "harness tune"),
        ("tune.py", "train", "python train.py"),
        ("../a b/tune.py", "pack", "python '../a b/inference.py'"),
        ("tune.py", "front", "python -m harness front"),
        ("/x/harness/__main__.py", "train", "python -m harness train"),
    ):
        monkeypatch.setattr(sys, "argv", [started])
        assert spelt(verb) == line
    program(tmp_path / "other/python")
    program(tmp_path / "other/harness")
    monkeypatch.setenv("PATH", f"{tmp_path}/other:{os.environ['PATH']}")  # another one comes first
    monkeypatch.setattr(sys, "argv", ["tune.py"])
    assert spelt("train") == ".venv/bin/python train.py"
    monkeypatch.setattr(sys, "argv", [str(command)])
    assert spelt("train") == ".venv/bin/harness train"
