"""What was done, by whom and when, in a chain of hashes: a row that is changed later no longer fits.

The chain alone doesn't show that its end was cut off: note `head` elsewhere, and `audit` holds the log against it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Engine

from harness import database
from harness.board import store
from harness.board.tables import Log

CHAINED = ("id", "at", "actor", "action", "detail", "before")
"""What a row's hash covers, in this order."""


@dataclass(frozen=True)
class LogRow:
    """One row. at: ISO 8601, by the database's clock. detail: canonical JSON. before: the hash of the row before."""

    id: int
    at: str
    actor: str
    action: str
    detail: str
    before: str
    hash: str

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values, with the detail unfolded."""
        return asdict(self) | {"detail": json.loads(self.detail)}


@dataclass(frozen=True)
class Bad:
    """The first row that doesn't fit."""

    row: int
    why: str


def canonical(value: Any) -> str:
    """Write a value as JSON in the one way that hashes compare; ASCII."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


def digest(value: Any) -> str:
    """Hash a value's canonical JSON (64 hex digits)."""
    return hashlib.sha256(canonical(value).encode()).hexdigest()


def append(connection: sa.Connection, actor: str, action: str, detail: dict[str, Any]) -> None:
    """Add a row within the caller's transaction, as its last step: others wait until that ends."""
    connection.execute(sa.select(Log.id).where(Log.id == 0).with_for_update())  # one at a time
    last = connection.execute(sa.select(Log.id, Log.hash).order_by(Log.id.desc()).limit(1).with_for_update()).one()
    seconds = float(connection.scalar(sa.select(database.now(connection))))
    at = datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")
    row = (last.id + 1, at, actor, action, canonical(detail), last.hash)
    connection.execute(sa.insert(Log).values(dict(zip(CHAINED, row, strict=True)) | {"hash": digest(row)}))


def last(engine: Engine) -> int:
    """Return the number of the last row: it changes with whatever changes a board."""
    return store.look(engine, lambda connection: connection.scalar(sa.select(sa.func.max(Log.id))) or 0)


def rows(engine: Engine, last: int | None = None) -> list[LogRow]:
    """List the rows, or the last few of them, the oldest first."""
    return store.look(engine, lambda connection: read(connection, last))


def read(connection: sa.Connection, last: int | None = None) -> list[LogRow]:
    """List the rows within a transaction."""
    columns = [getattr(Log, name) for name in (*CHAINED, "hash")]
    query = sa.select(*columns).order_by(Log.id.desc()).limit(last)
    return [LogRow(*row) for row in connection.execute(query).all()][::-1]


def verify(lines: Sequence[LogRow], head: str = "") -> Bad | None:
    """Return the first row that was changed, put in, or taken out; None where all fit.

    head: a hash that was noted earlier; the row that has it must still be there.
    """
    before = "0" * 64
    for number, line in enumerate(lines):
        if line.id != number:
            return Bad(number, f"is missing; the next one is {line.id}")
        if line.before != before:
            return Bad(number, "doesn't follow the row before it")
        if digest([getattr(line, name) for name in CHAINED]) != line.hash:
            return Bad(number, "was changed")
        before = line.hash
    if not lines:
        return Bad(0, "is missing; the log is empty")
    if head and head not in {line.hash for line in lines}:
        return Bad(
            len(lines),
            f"no row has the hash {head[:16]}, which was noted: a backup of before was restored, the end was "
            "cut off, or all rewritten",
        )
    return None
