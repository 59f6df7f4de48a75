"""Run the real commands, as a person would from another folder."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from optuna.trial import FrozenTrial, TrialState

ROOT = Path(__file__).resolve().parents[2]
TRIES = 5
BUSY = "measure.patience_s=5"
"""For what times a network: other tests share the processors, so that waiting for a quiet time is in vain."""


def started(folder: Path, *words: str) -> subprocess.Popen[str]:
    """Start a root script (`tune.py ...`) or a module (`-m harness ...`) in a folder of its own, and don't wait."""
    first = [str(ROOT / words[0])] if words[0].endswith(".py") else [words[0]]
    mine = {k: v for k, v in os.environ.items() if not k.startswith(("HARNESS_", "WANDB_"))}
    return subprocess.Popen(
        [sys.executable, *first, *words[1:]],
        cwd=folder,
        env=mine | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run(folder: Path, *words: str, code: int = 0) -> subprocess.CompletedProcess[str]:
    """Run a command to its end and make sure of its exit code.

    One that should go well and finds the machine too noisy to time anything on is run again, as its error says.
    """
    for _ in range(TRIES):
        process = started(folder, *words)
        out, err = process.communicate(timeout=600)
        if code or process.returncode == 0 or "too noisy to time it" not in err:
            break
    logs = "".join(f"\n{p.name}:\n{p.read_text()[-2000:]}" for p in folder.glob("runs/*/worker-*.log"))
    assert process.returncode == code, f"{words}: exit code {process.returncode}\n{out[-3000:]}\n{err[-3000:]}{logs}"
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


def reasons(trials: list[FrozenTrial]) -> list[str]:
    """Why trials failed, but for the machine's noise: who can't be timed gives its slot back, as it should."""
    why = [t.user_attrs["reason"] for t in trials if t.state == TrialState.FAIL]
    return [reason for reason in why if "too noisy to time it" not in reason]
