"""The lines that a command prints for what comes next, and a shell that they are typed into."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TRIES = 5


def following(printed: str) -> list[str]:
    """The commands that a command says come next."""
    found: list[str] = []
    for line in printed.splitlines():
        if line.startswith("next:  ") or (found and line.startswith("       ")):
            found.append(line[7:])
        elif found:
            break
    return found


def run_line(folder: Path, line: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Type a line into a shell, and make sure that it goes well."""
    mine = {k: v for k, v in os.environ.items() if not k.startswith(("HARNESS_", "WANDB_"))}
    mine |= {"PYTHONPATH": str(ROOT)} | environment
    for _ in range(TRIES):
        done = subprocess.run(line, shell=True, cwd=folder, env=mine, capture_output=True, text=True, timeout=600)
        if done.returncode == 0 or "too noisy to time it" not in done.stderr:
            break
    assert done.returncode == 0, f"{line}: exit code {done.returncode}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done
