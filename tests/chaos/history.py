"""What happened in a kill test, in one file that many processes append to and none ever changes."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

NAME = "history.jsonl"


class History:
    """Append lines: one write(2) each, so that a kill leaves no process's lines mixed with another's.

    A line that was written is the kernel's, and survives the process; only a power cut would need fsync.
    """

    def __init__(self, folder: Path, **always: Any) -> None:
        self._file = os.open(folder / NAME, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        self._always = always

    def write(self, event: str, **facts: Any) -> None:
        # the clock is one for all processes of a machine, and nobody sets it
        line = {"t": round(time.monotonic(), 6), "event": event} | self._always | facts
        # a newline first: what a kill may have torn stays a line of its own
        os.write(self._file, f"\n{json.dumps(line)}\n".encode())


def read(folder: Path) -> list[dict[str, Any]]:
    """Return the lines in the order they were written; a torn one says nothing."""
    lines = []
    for text in (folder / NAME).read_text().splitlines():
        try:
            lines.append(json.loads(text))
        except json.JSONDecodeError:
            continue
    return lines
