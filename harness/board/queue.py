"""The queue of entries: each is accepted once, judged at least once, and counted exactly once.

The entries' table is the queue. WAITING -> RUNNING (a judge holds it by a lease) -> COMPLETE or FAIL; a judge that
gives it back, falls silent or fails by its own fault puts it to WAITING, three tries in all. Every function is one
transaction, and safe to be made again after a commit that may or may not have reached the database.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import count as counting
from typing import TYPE_CHECKING, Any, Literal

import sqlalchemy as sa
from sqlalchemy import Engine

from harness import database
from harness.board import audit, competitions, ladder, log, quota, store
from harness.board.competitions import ORGANISER, Hosted
from harness.board.quota import Kind
from harness.board.tables import FIGURES, Entry, Judgement, Team
from harness.database import lease
from harness.database.lease import Leases
from harness.errors import HarnessError
from harness.record.manifest import MODEL
from harness.record.verdict import BULKY
from harness.rules.formulas import Figures

if TYPE_CHECKING:
    from harness.record.verdict import Verdict

STATES = ("WAITING", "RUNNING", "COMPLETE", "FAIL")
TRIES = 3
POISON = f"the judge died on it, {TRIES} times; it doesn't count against your quota"
LEASES = Leases(Entry.__table__, key=("id",), token="fence", until="lease_until", held="RUNNING")
NO_LEASE = {"owner": None, "lease_s": None, "lease_until": None, "warned": False, "stage": None}


@dataclass(frozen=True)
class Claim:
    """An entry that is held by a judge."""

    entry: int
    fence: int
    competition: int
    team: int
    kind: str
    content: str
    name: str
    tries: int


def submit(
    engine: Engine,
    team: int,
    competition: int,
    content: str,
    sizes: Mapping[str, int],
    manifest: Mapping[str, Any],
    kind: Kind = "scored",
) -> tuple[int, bool]:
    """Put an entry into the queue; return its id, and whether it is new: a repeated call costs nothing.

    content: of its files, which are kept already. manifest: as plain values.

    Raises:
        Full: the team's quota of the day is used up.
        Shut: the competition isn't open.
        HarnessError: there is no such team.
    """
    same = (Entry.competition_id == competition, Entry.team_id == team, Entry.kind == kind, Entry.content == content)

    def act(connection: sa.Connection) -> tuple[int, bool]:
        name = lock_team(connection, team)  # first of all: nobody else of this team is counting now
        known = connection.scalar(sa.select(Entry.id).where(*same))
        if known is not None:
            return known, False
        hosted = competitions.by_id(connection, competition)
        quota.check_open(hosted)
        quota.check(connection, hosted, team, kind)
        values = {
            "competition_id": competition, "team_id": team, "kind": kind, "content": content,
            "name": str(manifest["name"])[:64], "model_sha256": manifest["files"][MODEL], "manifest": dict(manifest),
            "sizes": dict(sizes), "created": database.now(connection), "day": quota.day(hosted.now), "charged": True,
            "state": "WAITING", "tries": 0, "fence": 0, "warned": False, "picked": False, "placed": False,
        }  # fmt: skip
        entry = connection.execute(sa.insert(Entry).values(values)).inserted_primary_key[0]
        log.append(connection, f"team {name}", "submit", {"entry": entry, "content": content, "kind": kind})
        return entry, True

    return store.transact(engine, act)


def claim(engine: Engine, worker: str, lease_s: float, competition: int | None = None) -> Claim | None:
    """Take the entry that waits longest, of those that were tried least; None when none waits.

    worker: must be another one for each process, however often it starts. competition: None for every one.
    """
    within = sa.true() if competition is None else Entry.competition_id == competition
    waiting = (
        sa.select(Entry.__table__).where(Entry.state == "WAITING", within).order_by(Entry.tries, Entry.id).limit(1)
    )
    attempts = counting()

    def act(connection: sa.Connection) -> Claim | None:
        if next(attempts) and (mine := _held(connection, worker)):
            return mine  # the commit that seemed to fail took effect
        _reap(connection)
        row = connection.execute(waiting.with_for_update(skip_locked=True)).mappings().first()
        if row is None:
            return None
        tries = row["tries"] + 1
        fence = lease.take(connection, LEASES, row, worker, lease_s, tries=tries, stage=None)
        return _claimed({**row, "fence": fence, "tries": tries})

    _end_poisonous(engine)
    return store.transact(engine, act)


def beat(engine: Engine, claim: Claim, lease_s: float) -> bool:
    """Prolong the lease; False if the entry is no longer ours."""
    return store.transact(engine, lambda c: lease.renew(c, LEASES, {"id": claim.entry}, claim.fence, lease_s))


def stage(engine: Engine, claim: Claim, name: str) -> bool:
    """Show how far the judge is; False if the entry is no longer ours."""
    return store.transact(engine, lambda connection: _change(connection, claim, stage=name))


def finish(engine: Engine, claim: Claim, verdict: Verdict, patience_s: float | None = None) -> bool:
    """Count a verdict; False if the entry is no longer ours: another judge counts it."""

    def act(connection: sa.Connection) -> bool:
        lock_team(connection, claim.team, revoked=True)
        done = {"state": "COMPLETE", "reason": None, "message": None, **NO_LEASE}
        before = connection.scalar(sa.select(Entry.verdict_id).where(Entry.id == claim.entry))
        if not _change(connection, claim, **done):
            return _ended(connection, claim, "COMPLETE")
        hosted = competitions.by_id(connection, claim.competition)
        figures = {name: getattr(verdict, name) for name in FIGURES}
        row = {"entry_id": claim.entry, "terms": hosted.terms, **figures}
        number = connection.execute(sa.insert(Judgement).values(row)).inserted_primary_key[0]
        counts = {"verdict_id": number, "session_id": None}  # what was timed again was the verdict of before
        connection.execute(sa.update(Entry).where(Entry.id == claim.entry).values(counts))
        if claim.kind == "scored":
            _rank(connection, hosted, claim, verdict, before is not None)
        told = {name: figures[name] for name in figures if name not in BULKY}
        told |= {"entry": claim.entry, "verdict": number, "kept_sha256": audit.kept_sha256(figures)}
        log.append(connection, "judge", "finish", told)
        return True

    return store.transact(engine, act, patience_s)


def fail(
    engine: Engine,
    claim: Claim,
    reason: str,
    message: str,
    fault: Literal["entry", "judge"] = "entry",
    patience_s: float | None = None,
) -> bool:
    """End a judgement without a verdict; False if the entry is no longer ours.

    fault: an entry's own ends it for good. The judge's gives it another try, three in all, and never costs quota.
    """

    def act(connection: sa.Connection) -> bool:
        lock_team(connection, claim.team, revoked=True)
        if fault == "judge" and claim.tries < TRIES:
            return _change(connection, claim, state="WAITING", **NO_LEASE)
        why = {"state": "FAIL", "reason": reason[:32], "message": message, "charged": fault == "entry", "placed": False}
        if not _change(connection, claim, **why, **NO_LEASE):
            return _ended(connection, claim, "FAIL")
        _failed(connection, claim.entry, claim.competition, claim.team, reason)
        return True

    return store.transact(engine, act, patience_s)


def give_back(engine: Engine, claim: Claim) -> bool:
    """Let go of an entry that another judge shall take; it was no try. False if it is no longer ours."""
    values = {"state": "WAITING", "tries": claim.tries - 1, **NO_LEASE}
    return store.transact(engine, lambda connection: _change(connection, claim, **values))


def held(engine: Engine, worker: str) -> Claim | None:
    """Return what this worker holds by the database, though a claim's answer was lost; None for nothing."""
    return store.look(engine, lambda connection: _held(connection, worker))


def requeue(engine: Engine, entry: int) -> None:
    """Have an entry that has ended judged again; until then its verdict counts.

    Raises:
        HarnessError: there is no such entry, or it hasn't ended.
    """

    def act(connection: sa.Connection) -> None:
        ended = sa.update(Entry).where(Entry.id == entry, Entry.state.in_(("COMPLETE", "FAIL")), Entry.kind != "local")
        if not connection.execute(ended.values(state="WAITING", tries=0, reason=None, message=None)).rowcount:
            raise HarnessError(f"entry {entry}: none that has ended", "python -m harness submissions lists them")
        log.append(connection, ORGANISER, "requeue", {"entry": entry})

    store.transact(engine, act)


def counts(engine: Engine, competition: int) -> dict[str, int]:
    """Count a competition's entries by state."""
    query = sa.select(Entry.state, sa.func.count()).where(Entry.competition_id == competition).group_by(Entry.state)
    found = {state: n for state, n in store.look(engine, lambda connection: connection.execute(query).all())}
    return {state: found.get(state, 0) for state in STATES}


def _change(connection: sa.Connection, claim: Claim, **values: Any) -> bool:
    """Change an entry; False if it is no longer its judge's."""
    return lease.change(connection, LEASES, {"id": claim.entry}, claim.fence, values)


def _ended(connection: sa.Connection, claim: Claim, state: str) -> bool:
    """Tell whether it was this very claim that ended the entry: the commit that seemed to fail took effect."""
    return lease.ended(connection, LEASES, {"id": claim.entry}, claim.fence, state)


def _held(connection: sa.Connection, worker: str) -> Claim | None:
    row = lease.held(connection, LEASES, worker)
    return None if row is None else _claimed(row)


def _claimed(row: Mapping[str, Any]) -> Claim:
    return Claim(
        entry=row["id"], fence=row["fence"], competition=row["competition_id"], team=row["team_id"], kind=row["kind"],
        content=row["content"], name=row["name"], tries=row["tries"],
    )  # fmt: skip


def _reap(connection: sa.Connection) -> None:
    """Put the entries of dead judges back into the queue, but for the poisonous."""
    dead = lease.silent(connection, LEASES) & ~_poisonous(connection)
    query = sa.select(Entry.__table__).where(dead).limit(1).with_for_update(skip_locked=True)
    while row := lease.first(connection, LEASES, query):
        connection.execute(sa.update(Entry).where(Entry.id == row["id"]).values(state="WAITING", **NO_LEASE))


def _poisonous(connection: sa.Connection) -> sa.ColumnElement[bool]:
    """Say which entries three judges have died on, of whom the last is still said to hold it."""
    return lease.silent(connection, LEASES) & Entry.warned & (Entry.tries >= TRIES)


def _end_poisonous(engine: Engine) -> None:
    """End the poisonous entries, each in a transaction of its own."""
    query = sa.select(Entry.id, Entry.team_id, Entry.competition_id)
    for found in store.look(engine, lambda c: c.execute(query.where(_poisonous(c))).all()):
        store.transact(engine, lambda c, found=found: _poisoned(c, *found))


def _poisoned(connection: sa.Connection, entry: int, team: int, competition: int) -> None:
    """End a poisonous entry; where somebody has its team or itself locked, perhaps its late judge, another time."""
    locks = (
        sa.select(Team.id).where(Team.id == team),
        sa.select(Entry.id).where(Entry.id == entry, _poisonous(connection)),
    )
    if all(connection.scalar(lock.with_for_update(skip_locked=True)) is not None for lock in locks):
        poison = {"state": "FAIL", "reason": "poison", "message": POISON, "charged": False, "placed": False}
        connection.execute(sa.update(Entry).where(Entry.id == entry).values(poison | NO_LEASE))
        _failed(connection, entry, competition, team, "poison")


def _failed(connection: sa.Connection, entry: int, competition: int, team: int, reason: str) -> None:
    """Take a failed entry, whose team is locked, off the board, where an earlier verdict had put it there."""
    if connection.scalar(sa.select(Entry.verdict_id).where(Entry.id == entry)) is not None:
        ladder.again(connection, competitions.by_id(connection, competition), team)
    log.append(connection, "judge", "fail", {"entry": entry, "reason": reason})


def _rank(connection: sa.Connection, hosted: Hosted, claim: Claim, verdict: Verdict, judged_before: bool) -> None:
    if judged_before:
        ladder.again(connection, hosted, claim.team)
    else:
        found = Figures(verdict.f1_public, verdict.ratio, verdict.macs)
        ladder.place(connection, hosted, claim.team, claim.entry, found)


def lock_team(connection: sa.Connection, team: int, revoked: bool = False) -> str:
    """Keep others from counting and ranking this team's entries until the transaction ends; return its name.

    Before an entry's row is locked, and that before the log: so nobody waits in a circle. revoked: a team without a
    token will do.

    Raises:
        HarnessError: there is no such team.
    """
    query = sa.select(Team.name).where(Team.id == team, sa.true() if revoked else Team.revoked.is_(None))
    name = connection.scalar(query.with_for_update())
    if name is None:
        raise HarnessError(f"team {team}: there is none, or its token was revoked", "ask the organiser")
    return name
