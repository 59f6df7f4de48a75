"""Training state on disk: whole or not there."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch

from harness.errors import HarnessError


def write_atomically(path: Path, write: Any) -> None:
    """Let `write(file)` fill a new file and put it in place of the old one in one step that survives a crash."""
    part = path.with_name(f"{path.name}.part")  # one name: what a killed writer left is written over
    with part.open("wb") as file:
        write(file)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)  # the rename itself must reach the disk
    finally:
        os.close(folder)


def save(path: Path, state: dict[str, Any]) -> None:
    """Save tensors and plain values."""
    write_atomically(path, lambda file: torch.save(state, file))


def load(path: Path) -> dict[str, Any]:
    """Load what `save` wrote, onto the CPU, refusing anything but tensors and plain values."""
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as e:  # torch raises many kinds for a damaged file
        raise HarnessError(f"{path}: not a whole checkpoint ({e})", f"remove {path} to start again") from e
