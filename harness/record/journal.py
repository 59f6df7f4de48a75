"""The record of a run: JSON lines in its folder, complete whatever else fails."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from harness.record import files

NAME = "metrics.jsonl"


class Journal:
    """Append rows to `metrics.jsonl`; each is on its way to the disk before `log` returns."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / NAME

    def log(self, **row: Any) -> dict[str, Any]:
        """Append one row, with the time."""
        row = {"time": round(time.time(), 3)} | row
        with self.path.open("a") as file:
            file.write(json.dumps(row) + "\n")
        return row

    def rows(self) -> list[dict[str, Any]]:
        """Read all whole rows; a line torn by a crash is the last one and is left out."""
        if not self.path.exists():
            return []
        whole = self.path.read_text().split("\n")[:-1]
        return [json.loads(line) for line in whole]

    def rewind(self, epoch: int) -> None:
        """Drop the rows after an epoch, and a torn line: a resumed run writes them again."""
        kept = [row for row in self.rows() if row.get("epoch", 0) <= epoch]
        files.write(self.path, "".join(json.dumps(row) + "\n" for row in kept))


def last_row(folder: Path) -> dict[str, Any] | None:
    """Read the last whole row of a run folder that another process may be writing; None before there is one."""
    try:
        whole = (folder / NAME).read_bytes().split(b"\n")[:-1]
        return json.loads(whole[-1]) if whole else None
    except (OSError, ValueError):  # not there, not ours to read, or damaged: it is looked at, and nothing depends on it
        return None
