"""Entries as their team may see them: of the public part what the Ladder tells, of the private one nothing yet."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Engine

from harness.board import store
from harness.board.competitions import Hosted
from harness.board.tables import Entry, Judgement, Session, Team
from harness.rules.formulas import Figures, formula_of, points

STORED = (
    "id", "team_id", "competition_id", "name", "kind", "content", "state", "stage", "reason", "message", "tries",
    "created", "charged", "picked", "placed", "sizes",
)  # fmt: skip
MEASURED = (
    "latency_ms", "latency_low_ms", "latency_high_ms", "ratio", "ratio_low", "ratio_high", "macs", "size_bytes",
    "agreement", "checks", "sandbox", "seconds",
)  # fmt: skip

OF_TIME = ("ratio", "ratio_low", "ratio_high", "latency_ms", "latency_low_ms", "latency_high_ms")
"""What each session has of its own."""
LABELLED = ("perturbed",)
"""Checks whose figures tell of the labels, finer than the Ladder does: shown after the close."""


@dataclass(frozen=True)
class Timing:
    """One session in which an entry was timed: the first is its verdict's.

    at: when it began, or the verdict was given; seconds since 1970. cpu, engine: that it was timed on. clock: what was
    last found of that machine, by `measure.assessment`, as far as anything was: fit, clean, spread. reason: why it
    doesn't count; None where it does, and only then there are figures: of this session alone.
    """

    at: float
    cpu: str | None
    engine: str | None
    clock: dict[str, Any] | None
    reason: str | None
    ratio: float | None
    ratio_low: float | None
    ratio_high: float | None
    latency_ms: float | None
    latency_low_ms: float | None
    latency_high_ms: float | None


@dataclass(frozen=True)
class EntryView:
    """An entry, with the latest verdict on it where there is one.

    team: its name. created: when it came in, seconds since 1970. ahead: how many are before it in the queue; None
    unless it waits. f1, points: of the public part, None where the Ladder tells nothing; of the validation images for a
    debug entry. f1_private, points_private: None until the competition is closed. judged: ISO 8601. timed: in how many
    sessions its time was taken, of which the figures of time are pooled; None without a verdict. sessions: each of
    them, and those that came to nothing, the oldest first.
    """

    id: int
    team_id: int
    competition_id: int
    name: str
    kind: str
    content: str
    state: str
    stage: str | None
    reason: str | None
    message: str | None
    tries: int
    created: float
    charged: bool
    picked: bool
    placed: bool
    sizes: dict[str, int]
    team: str
    ahead: int | None
    f1: float | None
    points: float | None
    f1_private: float | None
    points_private: float | None
    judged: str | None
    latency_ms: float | None
    latency_low_ms: float | None
    latency_high_ms: float | None
    ratio: float | None
    ratio_low: float | None
    ratio_high: float | None
    macs: int | None
    size_bytes: int | None
    agreement: float | None
    checks: dict[str, dict[str, Any]] | None
    sandbox: str | None
    seconds: float | None
    timed: int | None
    sessions: list[Timing]

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return asdict(self)


def one(engine: Engine, hosted: Hosted, entry: int) -> EntryView | None:
    """Return an entry of a competition; None where there is none of this number."""
    found = _read(engine, hosted, Entry.id == entry, 1)
    return found[0] if found else None


def of(
    engine: Engine, hosted: Hosted, team: int | None = None, limit: int = 100, before: int | None = None
) -> list[EntryView]:
    """List a competition's entries, or those of one team, the newest first.

    before: only those with a smaller id, to go on where an earlier list ended.
    """
    mine = sa.true() if team is None else Entry.team_id == team
    return _read(engine, hosted, mine & (sa.true() if before is None else Entry.id < before), limit)


def _read(engine: Engine, hosted: Hosted, which: sa.ColumnElement[bool], limit: int) -> list[EntryView]:
    stored = [getattr(Entry, name) for name in STORED]
    measured = [getattr(Judgement, name) for name in MEASURED]
    query = sa.select(
        *stored, *measured, Entry.f1_shown, Judgement.f1, Judgement.f1_private, Judgement.created.label("judged"),
        Team.name.label("team"), _ahead().label("ahead"), Entry.verdict_id, Session.timed, Session.pooled,
        Judgement.machine, Judgement.samples["runtime"].as_string().label("runtime"),
    )  # fmt: skip
    query = query.join(Team, Team.id == Entry.team_id).outerjoin(Judgement, Judgement.id == Entry.verdict_id)
    query = query.outerjoin(Session, Session.id == Entry.session_id)
    query = query.where(Entry.competition_id == hosted.id, which).order_by(Entry.id.desc()).limit(limit)

    def act(connection: sa.Connection) -> list[EntryView]:
        rows = connection.execute(query).mappings().all()
        again = _again(connection, [row["verdict_id"] for row in rows if row["verdict_id"]])
        return [_view(hosted, row, again[row["verdict_id"]]) for row in rows]

    return store.look(engine, act)


def _again(connection: sa.Connection, verdicts: Sequence[int]) -> Mapping[int, list[Any]]:
    """Read the sessions that have ended in which these verdicts' times were taken again, by verdict."""
    figures = [getattr(Session, name) for name in OF_TIME]
    query = sa.select(Session.verdict_id, Session.begun, Session.reason, Session.machine, *figures)
    query = query.where(Session.verdict_id.in_(verdicts), Session.state != "RUNNING").order_by(Session.id)
    found: dict[int, list[Any]] = defaultdict(list)
    for row in connection.execute(query).mappings():
        found[row["verdict_id"]].append(row)
    return found


def _ahead() -> sa.ScalarSelect[int]:
    """Count those that a judge takes before this one: of those that wait, the ones tried less, then the older."""
    other = sa.alias(Entry.__table__)
    sooner = (other.c.tries < Entry.tries) | ((other.c.tries == Entry.tries) & (other.c.id < Entry.id))
    waits = (Entry.state == "WAITING") & (other.c.state == "WAITING")
    here = other.c.competition_id == Entry.competition_id
    counted = sa.select(sa.func.count()).select_from(other).where(here & waits & sooner).correlate(Entry)
    return counted.scalar_subquery()


def _view(hosted: Hosted, row: Any, again: Sequence[Any]) -> EntryView:
    sessions = _timings(row, again)
    row = dict(row) | (row["pooled"] or {})
    f1 = {"scored": row["f1_shown"], "debug": row["f1"]}.get(row["kind"])
    hidden = row["f1_private"] if row["kind"] == "scored" and hosted.closed else None
    return EntryView(
        **{name: row[name] for name in (*STORED, *MEASURED, "team", "judged")} | {"checks": _checks(hosted, row)},
        timed=None if row["judged"] is None else row["timed"] or 1,
        sessions=sessions,
        ahead=row["ahead"] if row["state"] == "WAITING" else None,
        f1=f1,
        points=_points(hosted, row, f1),
        f1_private=hidden,
        points_private=_points(hosted, row, hidden),
    )


def _timings(row: Any, again: Sequence[Any]) -> list[Timing]:
    """List a verdict's own session, and those of later."""
    if row["judged"] is None:
        return []
    first = {"begun": datetime.fromisoformat(row["judged"]).timestamp(), "reason": None}
    return [
        Timing(
            at=one["begun"], cpu=(one["machine"] or {}).get("cpu"), engine=row["runtime"],
            clock=(one["machine"] or {}).get("clock"), reason=one["reason"],
            **{name: one[name] for name in OF_TIME},
        )
        for one in ({**row, **first}, *again)
    ]  # fmt: skip


def _checks(hosted: Hosted, row: Any) -> dict[str, dict[str, Any]] | None:
    if row["checks"] is None or hosted.closed or row["kind"] == "debug":
        return row["checks"]
    return {name: {} if name in LABELLED else figures for name, figures in row["checks"].items()}


def _points(hosted: Hosted, row: Any, f1: float | None) -> float | None:
    """Score an F1 that may be seen by the present rules."""
    if f1 is None or formula_of(hosted.competition).score is None:
        return None
    return points(hosted.competition, Figures(f1, row["ratio"], row["macs"]))
