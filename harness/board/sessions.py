"""Sessions in which judged entries are timed once more: each is held by a lease, and counts once, or not at all.

A verdict stays as it was given. A session that counts is a row of its own, with the figures that all measurements of
the verdict's time come to together; an entry names the latest one. So a judge that dies loses a session and nothing
else, a session that fails changes nothing, and the Ladder, which takes the time as it was first measured, never asks
the labels again because a clock was read again.

RUNNING -> COMPLETE, or FAIL with a reason: `lost` (its judge fell silent), `judge` (noise, or another fault of ours),
`other verdict` (the entry was judged anew meanwhile), `machine` (of another kind than the verdict's), or the rule that
the entry broke. Every function is one transaction, and safe to be made again after a commit that may or may not have
reached the database.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from itertools import count as counting
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy import Engine

from harness import database
from harness.board import log, store
from harness.board.queue import lock_team
from harness.board.rivals import Rival
from harness.board.tables import Competition, Entry, Judgement, Session
from harness.database import lease
from harness.database.lease import Leases
from harness.measure.latency import Latency
from harness.measure.machine import kind_of

if TYPE_CHECKING:
    from harness.record import verdict

GAP_S = 600.0
"""The least between two measurements of one entry: what disturbs a machine for minutes disturbs one of them alone."""
MOST = 8
"""Measurements of a verdict's time, its own included: eight leave an interval about a third as wide."""
TRIES = 3
"""Sessions that an entry may break, or its judges die in; then it is left alone."""
ATTEMPTS = 3 * MOST
"""All sessions of a verdict, however they end."""
LEASES = Leases(Session.__table__, key=("id",), token="fence", until="lease_until", held="RUNNING")
NO_LEASE = {"owner": None, "lease_s": None, "lease_until": None, "warned": False}
OURS = ("judge", "machine", "other verdict")
"""Reasons that say nothing of the entry."""
POOLED = ("ratio", "ratio_low", "ratio_high", "latency_ms", "latency_low_ms", "latency_high_ms")
"""Figures that all measurements together give, and one alone has, too."""


@dataclass(frozen=True)
class Claim:
    """A session that a judge holds, and the entry that it is of."""

    session: int
    fence: int
    verdict: int
    entry: int
    team: int
    content: str
    name: str
    runtime: str


def claim(
    engine: Engine, worker: str, host: str, lease_s: float, competition: int, rivals: Sequence[Rival]
) -> Claim | None:
    """Begin a session of the first of these that is due; None where none is, or judges have better things to do.

    One at a time on a host, because measurements there take turns, and none while an entry waits for its verdict.
    """
    attempts = counting()
    one = sa.select(Competition.id).where(Competition.id == competition)

    def act(connection: sa.Connection) -> Claim | None:
        if next(attempts) and (mine := _held(connection, worker)):
            return mine  # the commit that seemed to fail took effect
        if connection.scalar(one.with_for_update(skip_locked=True, key_share=True)) is None:
            return None  # another judge is here at this moment
        _reap(connection)
        if _busy(connection, host, competition):
            return None
        rival = next((r for r in rivals if _due(connection, r)), None)
        if rival is None:
            return None
        now = database.now(connection)
        row = {
            "verdict_id": rival.verdict, "state": "RUNNING", "begun": now, "host": host[:255], "owner": worker,
            "fence": 1, "lease_s": lease_s, "lease_until": now + lease_s, "warned": False,
        }  # fmt: skip
        session = connection.execute(sa.insert(Session).values(row)).inserted_primary_key[0]
        return _claimed(connection, session)

    return store.transact(engine, act)


def beat(engine: Engine, claim: Claim, lease_s: float) -> bool:
    """Prolong the lease; False if the session is no longer ours."""
    return store.transact(engine, lambda c: lease.renew(c, LEASES, {"id": claim.session}, claim.fence, lease_s))


def finish(engine: Engine, claim: Claim, found: verdict.Session, patience_s: float | None = None) -> bool:
    """Count a session, pooled with what was measured before; False if it is no longer ours, or can't count."""

    def act(connection: sa.Connection) -> bool:
        lock_team(connection, claim.team, revoked=True)
        wrong = _why_not(connection, claim, found)
        if wrong is not None:
            _failed(connection, claim, wrong)
            return False
        earlier = _earlier(connection, claim.verdict)
        latency = Latency.pooled([Latency.from_dict(raw) for raw in (*earlier, found.samples)])
        pooled, timed = _figures(latency), len(earlier) + 1
        row = asdict(found) | {"state": "COMPLETE", "timed": timed, "pooled": pooled}
        if not lease.change(connection, LEASES, {"id": claim.session}, claim.fence, row | NO_LEASE):
            return lease.ended(connection, LEASES, {"id": claim.session}, claim.fence, "COMPLETE")
        connection.execute(sa.update(Entry).where(Entry.id == claim.entry).values(session_id=claim.session))
        told = {"entry": claim.entry, "verdict": claim.verdict, "session": claim.session, "timed": timed}
        told |= {"own": {name: getattr(found, name) for name in POOLED}, "pooled": pooled}
        log.append(connection, "judge", "retime", told)
        return True

    return store.transact(engine, act, patience_s)


def fail(engine: Engine, claim: Claim, reason: str, patience_s: float | None = None) -> bool:
    """End a session that doesn't count; False if it is no longer ours. What counted before goes on counting."""
    return store.transact(engine, lambda connection: _failed(connection, claim, reason), patience_s)


def give_back(engine: Engine, claim: Claim) -> bool:
    """Let go of a session as if it had never begun. False if it is no longer ours."""
    mine = sa.delete(Session).where(Session.id == claim.session, lease.fence(LEASES, claim.fence))
    return store.transact(engine, lambda connection: connection.execute(mine).rowcount == 1)


def held(engine: Engine, worker: str) -> Claim | None:
    """Return what this worker holds by the database, though a claim's answer was lost; None for nothing."""
    return store.look(engine, lambda connection: _held(connection, worker))


def _failed(connection: sa.Connection, claim: Claim, reason: str) -> bool:
    values = {"state": "FAIL", "reason": reason[:32], **NO_LEASE}
    if not lease.change(connection, LEASES, {"id": claim.session}, claim.fence, values):
        return lease.ended(connection, LEASES, {"id": claim.session}, claim.fence, "FAIL")
    told = {"entry": claim.entry, "verdict": claim.verdict, "session": claim.session, "reason": reason[:32]}
    log.append(connection, "judge", "retime failed", told)
    return True


def _held(connection: sa.Connection, worker: str) -> Claim | None:
    row = lease.held(connection, LEASES, worker)
    return None if row is None else _claimed(connection, row["id"])


def _claimed(connection: sa.Connection, session: int) -> Claim:
    columns = (
        Session.id.label("session"), Session.fence, Judgement.id.label("verdict"), Entry.id.label("entry"), Entry.name,
        Entry.team_id.label("team"), Entry.content, Judgement.samples["runtime"].as_string().label("runtime"),
    )  # fmt: skip
    query = sa.select(*columns).join_from(Session, Judgement, Judgement.id == Session.verdict_id)
    query = query.join(Entry, Entry.id == Judgement.entry_id).where(Session.id == session)
    return Claim(**connection.execute(query).mappings().one())


def _reap(connection: sa.Connection) -> None:
    """End the sessions of dead judges, who may come back and not know."""
    query = sa.select(Session.__table__).where(lease.silent(connection, LEASES)).limit(1)
    while row := lease.first(connection, LEASES, query.with_for_update(skip_locked=True)):
        lost = {"state": "FAIL", "reason": "lost", "fence": row["fence"] + 1, **NO_LEASE}
        connection.execute(sa.update(Session).where(Session.id == row["id"]).values(lost))


def _busy(connection: sa.Connection, host: str, competition: int) -> bool:
    """Tell whether an entry waits, which goes first, or a session is under way on this host."""
    waits = sa.select(Entry.id).where(Entry.competition_id == competition, Entry.state == "WAITING").limit(1)
    runs = sa.select(Session.id).where(Session.state == "RUNNING", Session.host == host[:255]).limit(1)
    return any(connection.scalar(query) is not None for query in (waits, runs))


def _due(connection: sa.Connection, rival: Rival) -> bool:
    """Tell whether an entry may be timed now: its verdict counts, the last time is long ago, and more can be learnt."""
    standing = sa.select(Judgement.created, database.now(connection).label("now"))
    standing = standing.join(Entry, Entry.verdict_id == Judgement.id)
    row = connection.execute(standing.where(Judgement.id == rival.verdict, Entry.state == "COMPLETE")).first()
    if row is None:
        return False
    columns = (Session.state, Session.reason, Session.begun)
    sessions = connection.execute(sa.select(*columns).where(Session.verdict_id == rival.verdict)).all()
    begun = [datetime.fromisoformat(row.created).timestamp(), *(s.begun for s in sessions)]
    ended = [s.reason for s in sessions if s.state == "FAIL"]
    return (
        all(s.state != "RUNNING" for s in sessions)
        and float(row.now) - max(begun) >= GAP_S
        and 1 + len(sessions) - len(ended) < MOST
        and sum(reason not in OURS for reason in ended) < TRIES
        and len(sessions) < ATTEMPTS
    )


def _why_not(connection: sa.Connection, claim: Claim, found: verdict.Session) -> str | None:
    """Say why a session can't be pooled with its verdict's; None where it can."""
    query = sa.select(Judgement.machine).join(Entry, Entry.verdict_id == Judgement.id)
    counts = query.where(Judgement.id == claim.verdict, Entry.state != "FAIL")
    row = connection.execute(counts).first()
    if row is None:
        return "other verdict"
    kinds = {kind_of(machine, claim.runtime) for machine in (row.machine, found.machine)}
    return "machine" if len(kinds) > 1 else None


def _earlier(connection: sa.Connection, verdict: int) -> list[Mapping[str, Any]]:
    """Return the raw timings of a verdict and of its sessions that count, the oldest first."""
    first = connection.scalar(sa.select(Judgement.samples).where(Judgement.id == verdict))
    counts = (Session.verdict_id == verdict) & (Session.state == "COMPLETE")
    return [first, *connection.scalars(sa.select(Session.samples).where(counts).order_by(Session.id))]


def _figures(latency: Latency) -> dict[str, float]:
    return {
        "ratio": latency.ratio, "ratio_low": latency.ratio_low, "ratio_high": latency.ratio_high,
        "latency_ms": latency.ms, "latency_low_ms": latency.low_ms, "latency_high_ms": latency.high_ms,
    }  # fmt: skip
