"""The queue and the board as a server asks for them again and again: few, indexed reads."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Engine

from harness import database
from harness.board import store
from harness.board.competitions import Hosted
from harness.board.tables import Entry, Judgement, Log

LATE = 20
"""Verdicts from which the pace is taken."""


def version(engine: Engine, hosted: Hosted) -> str:
    """Return what changes whenever a board may have: all that moves one is logged; what only waits doesn't.

    So the number of a team's entries may be that of the latest verdict.
    """
    moved = sa.select(Log.id).where(Log.action != "submit").order_by(Log.id.desc()).limit(1)
    last = store.look(engine, lambda c: c.scalar(moved))
    return f"{last}-{hosted.terms[:12]}-{'closed' if hosted.closed else 'open'}"


def known(engine: Engine, team: int, competition: int, content: str, kind: str) -> int | None:
    """Return the number of an entry of a team with this content; None where there is none."""
    same = (Entry.competition_id == competition, Entry.team_id == team, Entry.kind == kind, Entry.content == content)
    return store.look(engine, lambda c: c.scalar(sa.select(Entry.id).where(*same)))


def queued(engine: Engine, hosted: Hosted, limit: int = 100) -> Sequence[Any]:
    """List what is being judged, then what waits, in the order in which judges take it."""
    here, columns = Entry.competition_id == hosted.id, (Entry.id, Entry.kind, Entry.state, Entry.stage, Entry.created)
    running = sa.select(*columns).where(here, Entry.state == "RUNNING").order_by(Entry.id)
    waiting = sa.select(*columns).where(here, Entry.state == "WAITING").order_by(Entry.tries, Entry.id)

    def act(connection: sa.Connection) -> Sequence[Any]:
        return [row for query in (running, waiting) for row in connection.execute(query.limit(limit)).all()]

    return store.look(engine, act)


def pace(engine: Engine, hosted: Hosted) -> tuple[float | None, int]:
    """Return how many seconds an entry takes of late (None before the first), and how many judges are at work."""
    latest = sa.select(Judgement.seconds).join(Entry, Entry.verdict_id == Judgement.id)
    latest = latest.where(Entry.competition_id == hosted.id).order_by(Judgement.id.desc()).limit(LATE)

    def act(connection: sa.Connection) -> tuple[float | None, int]:
        seconds = connection.scalars(latest).all()
        at_work = sa.select(sa.func.count(sa.distinct(Entry.owner))).where(
            Entry.competition_id == hosted.id, Entry.state == "RUNNING", Entry.lease_until > database.now(connection)
        )
        return (median(seconds) if seconds else None), connection.scalar(at_work) or 0

    return store.look(engine, act)
