"""How this command was started, so that the next one can be printed in words that run as they are."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from pathlib import Path

SCRIPTS = {"tune": "tune.py", "train": "train.py", "pack": "inference.py"}
"""The commands that are also a script beside the others."""


def spelt(verb: str) -> str:
    """Return what starts a verb here, as this command was started: by `harness`, a script, or `python -m harness`."""
    started = Path(sys.argv[0])
    if started.name == "harness":
        return f"{_program('harness', started)} {verb}"
    python = _program("python", Path(sys.executable))
    if started.name in SCRIPTS.values() and verb in SCRIPTS:
        return f"{python} {shlex.quote(str(started.with_name(SCRIPTS[verb])))}"
    return f"{python} -m harness {verb}"


def _program(name: str, path: Path) -> str:
    """Return a program's name where the shell finds this very one by it, else its path; from here, if it lies below."""
    found = shutil.which(name)
    path = Path(os.path.abspath(path)) if path.parent.name else path
    if found and (Path(found).resolve(), _place(found)) == (path.resolve(), _place(path)):
        return name  # an environment's python is a link to the system's: it is the folder that tells them apart
    here = path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
    return shlex.quote(str(here))


def _place(program: str | Path) -> Path:
    return Path(program).parent.resolve()
