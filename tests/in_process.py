"""Run a script or a verb in this process: what it imports is here already, so it takes no seconds before it begins.

A few real commands are left, for what only they can show: their start, their exit, a folder of their own.
"""

from __future__ import annotations

import contextlib
import io
import os
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

from harness.__main__ import shell

ROOT = Path(__file__).resolve().parents[1]


def command(folder: Path, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Do what `python WORDS` would do in a folder (`tune.py ...`, `-m harness ...`), without our settings of here."""
    out, err, code = io.StringIO(), io.StringIO(), 0
    with (
        pytest.MonkeyPatch.context() as patch,
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        for name in [name for name in os.environ if name.startswith(("HARNESS_", "WANDB_"))]:
            patch.delenv(name)
        for name, value in environment.items():
            patch.setenv(name, value)
        patch.chdir(folder)
        try:
            if words[:2] == ("-m", "harness"):
                shell(list(words[2:]))
            else:
                patch.setattr(sys, "argv", [str(ROOT / words[0]), *words[1:]])
                runpy.run_path(str(ROOT / words[0]), run_name="__main__")
        except SystemExit as e:
            code = int(e.code or 0)
    return subprocess.CompletedProcess(words, code, out.getvalue(), err.getvalue())


def run(folder: Path, *words: str, code: int = 0) -> subprocess.CompletedProcess[str]:
    """Run it, and make sure of its exit code."""
    done = command(folder, *words)
    assert done.returncode == code, (
        f"{words}: exit code {done.returncode}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    )
    return done
