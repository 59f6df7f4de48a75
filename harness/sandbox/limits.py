"""How much of everything an entry may take."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """Caps of one entry: bytes of its files; seconds of wall and CPU time and MB of memory of each of its processes."""

    model_bytes: int = 100_000_000
    predictions_bytes: int = 50_000_000
    manifest_bytes: int = 1_000_000
    wall_s: float = 600
    cpu_s: float = 600
    memory_mb: int = 2048
