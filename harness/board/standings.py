"""The board as people and as programs read it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from rich.table import Table

from harness.board.store import Row


def table(rows: Sequence[Row]) -> Table:
    """Draw the ranking for a terminal."""
    drawn = Table("rank", "name", "points", "F1", "latency ms", "ratio", "size MB", "when (UTC)", title="Standings")
    for column in drawn.columns:
        column.justify = "left" if column.header in ("name", "when (UTC)") else "right"
    for row in rows:
        drawn.add_row(*_cells(row))
    return drawn


def as_json(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Return the ranking as plain JSON values."""
    return [asdict(row) for row in rows]


def _cells(row: Row) -> list[str]:
    return [
        str(row.rank),
        row.name,
        f"{row.points:.4f}",
        f"{row.f1:.4f}",
        f"{row.latency_ms:.4g} [{row.latency_low_ms:.4g} – {row.latency_high_ms:.4g}]",
        f"{row.ratio:.3f}",
        f"{row.size_bytes / 1e6:.2f}",
        row.created[:16].replace("T", " "),
    ]
