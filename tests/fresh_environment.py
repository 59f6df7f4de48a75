"""An environment that has the built wheel and nothing of this checkout, and a shell in which it is active."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

from next_lines import ROOT, run_line


def build(folder: Path) -> Path:
    """Build the wheel and the archive of the sources, by what is installed here, without a network: 3 s."""
    subprocess.run([sys.executable, "-m", "hatchling", "build", "-d", folder], cwd=ROOT, check=True)
    return folder


def fresh(built: Path, place: Path) -> Path:
    """Make an environment and return the folder of its programs: what the wheel needs is this environment's.

    All of it is some 6 GB, and takes pip minutes.
    """
    venv.create(place, with_pip=False, symlinks=True)
    (wheel,) = built.glob("*.whl")
    python = place / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--quiet", "--python", python, "install", "--no-deps", "--no-index", wheel]
    subprocess.run(pip, check=True)
    (packages,) = place.glob("lib/python*/site-packages")
    (packages / "needed.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")
    return place / "bin"


def typed(environment: Path, folder: Path, line: str, **variables: str) -> str:
    """Type a line into a shell in which a fresh environment is activated; return what it printed."""
    return run_line(folder, line, **active(environment) | variables).stdout


def active(environment: Path) -> dict[str, str]:
    """Return the variables of such a shell."""
    path = f"{environment}:{os.environ['PATH']}"
    return {"PATH": path, "PYTHONPATH": "", "VIRTUAL_ENV": str(environment.parent)}
