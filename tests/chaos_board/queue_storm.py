"""A storm on one database: driven in one process, judged by another."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import queue_check
import queue_drive
from forks import apart

LONGEST_S = 3600


def storm(kind: str, url: str, folder: Path, plan: queue_drive.Plan, quiet: bool) -> tuple[int, str]:
    """Return the checker's exit code and its words."""
    print(f"\n{kind}, seed {plan.seed}: history and logs in {folder}", flush=True)
    apart(queue_drive.drive, folder, url, plan, kind, quiet, within_s=LONGEST_S)
    done = subprocess.run([sys.executable, queue_check.__file__, folder, url], capture_output=True, text=True)
    return done.returncode, f"{kind}, seed {plan.seed}\n{done.stdout}{done.stderr}"
