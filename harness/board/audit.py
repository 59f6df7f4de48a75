"""The organiser's audit: is the log whole, and does all that hangs on it say what it says?"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Engine

from harness.board import about, log, store
from harness.board.log import LogRow
from harness.board.tables import Announcement, Competition, Description, Entry, Judgement, Session

FIGURES = ("f1", "f1_public", "f1_private", "ratio", "ratio_low", "ratio_high", "latency_ms", "macs", "size_bytes")
"""What is compared of each verdict."""
OF_SESSIONS = ("ratio", "ratio_low", "ratio_high", "latency_ms", "latency_low_ms", "latency_high_ms")
"""What is compared of each session."""
KEPT = ("predicted", "f1_draws", "f1_public_draws", "f1_private_draws")
"""What the judge keeps of each test image, of which ranks hang: the log has its hash."""


@dataclass(frozen=True)
class Found:
    """rows: of the log. head: its last hash. wrong: a sentence for each thing that doesn't fit."""

    rows: int
    head: str
    wrong: list[str]


def audit(engine: Engine, head: str = "") -> Found:
    """Check the chain, then all that hangs on it against it. head: a hash that was noted earlier."""
    lines, entries, verdicts, sessions, descriptions, announcements = store.look(engine, _read)
    bad = log.verify(lines, head)
    wrong = [] if bad is None else [f"row {bad.row} of the log {bad.why}"]
    if bad is None:
        wrong = [
            *_entries(lines, entries),
            *_verdicts(lines, verdicts),
            *_sessions(lines, sessions, entries),
            *_descriptions(lines, descriptions),
            *_announcements(lines, announcements),
        ]
    return Found(len(lines), lines[-1].hash if lines else "", wrong)


def kept_sha256(row: Mapping[str, Any]) -> str:
    """Hash what a verdict keeps of each test image (64 hex digits)."""
    return log.digest([row[name] for name in KEPT])


def _read(connection: sa.Connection) -> tuple[list[LogRow], *tuple[Sequence[Any], ...]]:
    columns = (Entry.id, Entry.content, Entry.verdict_id, Entry.session_id)
    stored = sa.select(*columns).where(Entry.kind != "local").order_by(Entry.id)
    figures = [getattr(Judgement, name) for name in (*FIGURES, *KEPT)]
    judged = sa.select(Judgement.id, Judgement.entry_id, *figures).join(Judgement.entry).where(Entry.kind != "local")
    entries = connection.execute(stored).mappings().all()
    verdicts = connection.execute(judged.order_by(Judgement.id)).mappings().all()
    own = [getattr(Session, name) for name in OF_SESSIONS]
    counted = sa.select(Session.id, Session.verdict_id, Session.timed, Session.pooled, *own)
    counted = counted.where(Session.state == "COMPLETE").order_by(Session.id)
    sessions = connection.execute(counted).mappings().all()
    described = sa.select(Competition.handle, Description.text, Description.data_url).join(Competition)
    descriptions = connection.execute(described.order_by(Competition.id)).mappings().all()
    told = sa.select(Announcement.id, Competition.handle, Announcement.text).join(Competition).order_by(Announcement.id)
    return log.read(connection), entries, verdicts, sessions, descriptions, connection.execute(told).mappings().all()


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


def _sessions(lines: Sequence[LogRow], stored: Sequence[Any], entries: Sequence[Any]) -> list[str]:
    """Hold what was timed again, and which session each entry counts, against the log."""
    logged = {d["session"]: d for d in _details(lines, "retime")}
    found = {row["id"]: _told(row) for row in stored}
    latest = {told["verdict"]: number for number, told in sorted(logged.items())}
    others = [row["id"] for row in entries if row["session_id"] != latest.get(row["verdict_id"])]
    return [
        *(f"session {n}: was counted and is missing" for n in logged.keys() - found.keys()),
        *(f"session {n}: isn't in the log" for n in found.keys() - logged.keys()),
        *(f"session {n}: was changed" for n in sorted(found.keys() & logged.keys()) if found[n] != _of_log(logged[n])),
        *(f"entry {n}: counts another session than the latest" for n in others),
    ]


def _descriptions(lines: Sequence[LogRow], stored: Sequence[Any]) -> list[str]:
    """Hold each competition's description and data link against what was last said."""
    logged = {d["competition"]: (d["sha256"], d["data_url"]) for d in _details(lines, "describe")}
    found = {row["handle"]: (about.digest(row["text"]), row["data_url"]) for row in stored}
    differ = [name for name in (*logged, *found) if logged.get(name) != found.get(name)]
    return [f"description of {name}: isn't what the log says" for name in sorted({*differ})]


def _announcements(lines: Sequence[LogRow], stored: Sequence[Any]) -> list[str]:
    logged = {d["announcement"]: (d["competition"], d["text"]) for d in _details(lines, "announce")}
    found = {row["id"]: (row["handle"], row["text"]) for row in stored}
    return [
        *(f"announcement {n}: was made and is missing" for n in logged.keys() - found.keys()),
        *(f"announcement {n}: isn't in the log" for n in found.keys() - logged.keys()),
        *(f"announcement {n}: was changed" for n in found if logged.get(n, found[n]) != found[n]),
    ]


def _told(row: Any) -> list[Any]:
    return [row["verdict_id"], row["timed"], row["pooled"], {name: row[name] for name in OF_SESSIONS}]


def _of_log(told: dict[str, Any]) -> list[Any]:
    return [told["verdict"], told["timed"], told["pooled"], told["own"]]


def _same(row: Any, told: dict[str, Any]) -> bool:
    kept = kept_sha256(row)
    return (
        row["entry_id"] == told["entry"]
        and all(row[name] == told[name] for name in FIGURES)
        and told.get("kept_sha256", kept) == kept  # rows of before have none
    )


def _details(lines: Sequence[LogRow], action: str) -> list[dict[str, Any]]:
    return [json.loads(line.detail) for line in lines if line.action == action]
