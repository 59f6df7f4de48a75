"""Training state on disk: whole or not there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from harness.errors import HarnessError
from harness.record import files


def save(path: Path, state: dict[str, Any]) -> None:
    """Save tensors and plain values."""
    files.write(path, lambda file: torch.save(state, file), durable=True)


def load(path: Path) -> dict[str, Any]:
    """Load what `save` wrote, onto the CPU, refusing anything but tensors and plain values."""
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as e:  # torch raises many kinds for a damaged file
        why = (str(e).splitlines() or [type(e).__name__])[0]
        raise HarnessError(f"{path}: not a whole checkpoint ({why})", f"remove {path} to start again") from e
