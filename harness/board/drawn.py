"""Boards as people and as programs read them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from rich.table import Table

from harness.board.local import Key, Row


def local_table(key: Key, rows: Sequence[Row]) -> Table:
    """Draw one board for a terminal."""
    title = f"Standings: {key.competition} ({key.digest[:6]}) on {key.data} ({key.fingerprint[:6]})"
    drawn = Table("rank", "name", "points", "F1", "latency ms", "ratio", "size MB", "when (UTC)", title=title)
    for column in drawn.columns:
        column.justify = "left" if column.header in ("name", "when (UTC)") else "right"
    for row in rows:
        drawn.add_row(*_cells(row))
    return drawn


def local_as_json(boards: Mapping[Key, Sequence[Row]]) -> list[dict[str, Any]]:
    """Return the boards as plain JSON values."""
    return [key._asdict() | {"rows": [asdict(row) for row in rows]} for key, rows in boards.items()]


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
