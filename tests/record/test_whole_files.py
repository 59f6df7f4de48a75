"""Whole files, or none."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from harness.record import files


def test_a_file_is_the_old_one_until_the_new_one_is_whole(tmp_path: Path) -> None:
    """What fills it may fail on the way: nothing remains of that."""
    path = tmp_path / "x.json"
    files.write_json(path, {"a": 1})

    def fails(file: object) -> None:
        assert path.read_text() == '{\n  "a": 1\n}\n'
        raise OSError("full")

    with pytest.raises(OSError, match="full"):
        files.write(path, fails)
    assert path.read_text() == '{\n  "a": 1\n}\n' and [p.name for p in tmp_path.iterdir()] == ["x.json"]


def test_what_a_killed_writer_left_goes_with_the_next_write_and_a_living_one_s_stays(tmp_path: Path) -> None:
    """By the name of its process: one that still writes isn't disturbed, nor one on another machine."""
    path = tmp_path / "x [1].txt"  # a name that means something else to a pattern
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    here, there = files.HOST, "another-host"
    left, writing, far = (
        tmp_path / f".{path.name}.{host}.{pid}.part"
        for host, pid in ((here, dead.pid), (here, os.getppid()), (there, dead.pid))
    )
    for part in (left, writing, far):
        part.write_text("")
    files.write(path, "new")
    assert path.read_text() == "new" and not left.exists() and writing.exists() and far.exists()
    files.remove(path)
    assert not list(tmp_path.iterdir())


def test_a_secret_is_nobody_else_s_from_its_first_moment(tmp_path: Path) -> None:
    """Its mode is set before anything is in it."""
    path = tmp_path / "password"
    modes = []
    files.write(path, lambda file: modes.append(stat.S_IMODE(os.fstat(file.fileno()).st_mode)), mode=0o600)
    assert modes == [0o600] and stat.S_IMODE(path.stat().st_mode) == 0o600
