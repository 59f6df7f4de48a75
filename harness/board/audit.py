"""The organiser's audit: is the log whole, and do entries and verdicts say what it says?"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Engine

from harness.board import log, store
from harness.board.log import LogRow
from harness.board.tables import Entry, Judgement

FIGURES = ("f1", "f1_public", "f1_private", "ratio", "ratio_low", "ratio_high", "latency_ms", "macs", "size_bytes")
"""What is compared of each verdict."""
KEPT = ("predicted", "f1_draws", "f1_public_draws", "f1_private_draws")
"""What the judge keeps of each test image, of which ranks hang: the log has its hash."""


@dataclass(frozen=True)
class Found:
    """rows: of the log. head: its last hash. wrong: a sentence for each thing that doesn't fit."""

    rows: int
    head: str
    wrong: list[str]


def audit(engine: Engine, head: str = "") -> Found:
    """Check the chain, then entries and verdicts against it. head: a hash that was noted earlier."""
    lines, entries, verdicts = store.look(engine, _read)
    bad = log.verify(lines, head)
    wrong = [] if bad is None else [f"row {bad.row} of the log {bad.why}"]
    if bad is None:
        wrong = [*_entries(lines, entries), *_verdicts(lines, verdicts)]
    return Found(len(lines), lines[-1].hash if lines else "", wrong)


def kept_sha256(row: Mapping[str, Any]) -> str:
    """Hash what a verdict keeps of each test image (64 hex digits)."""
    return log.digest([row[name] for name in KEPT])


def _read(connection: sa.Connection) -> tuple[list[LogRow], Sequence[Any], Sequence[Any]]:
    stored = sa.select(Entry.id, Entry.content).where(Entry.kind != "local").order_by(Entry.id)
    figures = [getattr(Judgement, name) for name in (*FIGURES, *KEPT)]
    judged = sa.select(Judgement.id, Judgement.entry_id, *figures).join(Judgement.entry).where(Entry.kind != "local")
    entries = connection.execute(stored).mappings().all()
    return log.read(connection), entries, connection.execute(judged.order_by(Judgement.id)).mappings().all()


def _entries(lines: Sequence[LogRow], stored: Sequence[Any]) -> list[str]:
    logged = {d["entry"]: d["content"] for d in _details(lines, "submit")}
    found = {row["id"]: row["content"] for row in stored}
    return [
        *(f"entry {n}: was submitted and is missing" for n in logged.keys() - found.keys()),
        *(f"entry {n}: isn't in the log" for n in found.keys() - logged.keys()),
        *(f"entry {n}: has other files than those submitted" for n in found if logged.get(n, found[n]) != found[n]),
    ]


def _verdicts(lines: Sequence[LogRow], stored: Sequence[Any]) -> list[str]:
    logged = {d["verdict"]: d for d in _details(lines, "finish")}
    found = {row["id"]: row for row in stored}
    differ = [n for n in found.keys() & logged.keys() if not _same(found[n], logged[n])]
    return [
        *(f"verdict {n}: was given and is missing" for n in logged.keys() - found.keys()),
        *(f"verdict {n}: isn't in the log" for n in found.keys() - logged.keys()),
        *(f"verdict {n} on entry {found[n]['entry_id']}: was changed" for n in sorted(differ)),
    ]


def _same(row: Any, told: dict[str, Any]) -> bool:
    kept = kept_sha256(row)
    return (
        row["entry_id"] == told["entry"]
        and all(row[name] == told[name] for name in FIGURES)
        and told.get("kept_sha256", kept) == kept  # rows of before have none
    )


def _details(lines: Sequence[LogRow], action: str) -> list[dict[str, Any]]:
    return [json.loads(line.detail) for line in lines if line.action == action]
