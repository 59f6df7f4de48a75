"""The shared budget of a study: one slot a trial, held by a lease, so that N trials are N over all workers.

Every function works in the transaction of the connection it is given, and is safe to be made again after a commit that
may or may not have reached the database.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from harness import database
from harness.errors import HarnessError

METADATA = sa.MetaData()
SLOTS = sa.Table(
    "harness_slots",
    METADATA,
    sa.Column("study", sa.String(200), primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True),
    sa.Column("state", sa.String(10), nullable=False),  # free, leased, done, given_up
    sa.Column("token", sa.Integer, nullable=False),  # counts the claims: an old holder's writes don't match
    sa.Column("failures", sa.Integer, nullable=False),  # candidates that failed here
    sa.Column("deaths", sa.Integer, nullable=False),  # workers that died on the present candidate
    sa.Column("owner", sa.String(200)),
    sa.Column("trial", sa.Integer),  # Optuna's id of the trial that uses the slot, or used it last
    sa.Column("begun", sa.Double),  # seconds of the database's own clock, like those below
    sa.Column("lease_s", sa.Double),  # the holder's own
    sa.Column("until", sa.Double),  # the lease runs out
    sa.Column("warned", sa.Boolean, nullable=False),  # it had run out, and this is the grace after it
    sa.Column("ended", sa.Double),
)
TRIES = 3
GRACE = 0.5
"""Share of a lease that a silent holder gets after the lease has run out, from when somebody sees it: a database that
was away takes no healthy worker's trial."""

# Statements are made once, which takes longer than to carry them out. Their names: of, at, by: study, number, token.
KEY = (SLOTS.c.study == sa.bindparam("of")) & (SLOTS.c.number == sa.bindparam("at"))
FENCE = (SLOTS.c.token == sa.bindparam("by")) & (SLOTS.c.state == "leased")
LOCKED = sa.select(SLOTS).where(KEY).with_for_update()


@dataclass(frozen=True)
class Slot:
    """A claimed part of the budget.

    lost: id of the trial that an earlier holder left, if any. again: its candidate is to be run again.
    given_up: this slot has had its tries; it is claimed no more.
    """

    study: str
    number: int
    token: int
    lost: int | None = None
    again: bool = False
    given_up: bool = False


def open_slots(engine: sa.Engine, study: str, trials: int) -> None:
    """Give the study `trials` slots in all; more are added, none are taken away.

    Raises:
        HarnessError: the tables were made by an earlier version.
    """
    database.create_tables(engine, METADATA)
    mine = SLOTS.c.study == study
    blank = {"study": study, "state": "free", "token": 0, "failures": 0, "deaths": 0, "warned": False}
    lacks = set(SLOTS.c.keys()) - {column["name"] for column in sa.inspect(engine).get_columns("harness_slots")}
    if lacks:
        raise HarnessError(
            f"storage.url={database.shown(engine.url)}: its studies were made by an earlier version of the harness",
            "take another database, such as storage.url=sqlite:///runs/new.db; that version still reads this one",
        )
    while True:
        with engine.begin() as connection:
            have = set(connection.scalars(sa.select(SLOTS.c.number).where(mine)))
        lacking = [blank | {"number": number} for number in sorted(set(range(trials)) - have)]
        if not lacking:
            return
        try:
            with engine.begin() as connection:
                connection.execute(sa.insert(SLOTS), lacking)
        except IntegrityError:
            continue  # another worker, joining at the same moment, has just added some of these


def clock(connection: sa.Connection) -> float:
    """Return the database's time, in seconds since 1970."""
    return float(connection.scalar(sa.select(database.now(connection))))


def claim(
    connection: sa.Connection, study: str, owner: str, lease_s: float, trials: int, dead: bool = False
) -> Slot | None:
    """Take the next slot that is free or whose holder is dead; None when there is none now.

    A holder is dead when it was silent for its lease and, after somebody saw that, for the grace.
    dead: leave the free ones.
    """
    first = _open(connection.dialect.name, dead)
    while row := connection.execute(first, {"of": study, "below": trials}).mappings().first():
        if row["state"] == "free" or row["warned"]:
            return _taken(connection, row, owner, lease_s)
        _set(connection, study, row["number"], {"warned": True}, {"until": GRACE * row["lease_s"]})
    return None


@functools.cache
def _open(dialect: str, dead: bool) -> sa.Select:
    silent = (SLOTS.c.state == "leased") & (SLOTS.c.until < database.now_in(dialect))
    open_ = silent if dead else silent | (SLOTS.c.state == "free")
    ours = (SLOTS.c.study == sa.bindparam("of")) & (SLOTS.c.number < sa.bindparam("below"))
    # tried least first: a trial that kills its worker must not hold up the others
    first = sa.select(SLOTS).where(ours & open_).order_by(SLOTS.c.token, SLOTS.c.number).limit(1)
    return first.with_for_update(skip_locked=True)


def _taken(connection: sa.Connection, row: Any, owner: str, lease_s: float) -> Slot:
    """Lease a slot to a new holder, or give it up; three dead workers are one failed candidate."""
    deaths = row["deaths"] + (row["state"] == "leased")
    failures = row["failures"] + (deaths >= TRIES)
    given_up = failures >= TRIES
    changes = {
        "state": "given_up" if given_up else "leased", "owner": owner, "token": row["token"] + 1,
        "failures": failures, "deaths": deaths % TRIES, "trial": None, "warned": False, "lease_s": lease_s,
    }  # fmt: skip
    _set(connection, row["study"], row["number"], changes, {"begun": 0.0, "until": lease_s})
    return Slot(row["study"], row["number"], row["token"] + 1, row["trial"], deaths < TRIES, given_up)


def held(connection: sa.Connection, study: str, owner: str) -> tuple[Slot, int] | None:
    """Return the slot that this owner holds, and its trial, if a claim of its has taken effect unnoticed."""
    mine = (SLOTS.c.study == study) & (SLOTS.c.state == "leased") & (SLOTS.c.owner == owner)
    row = connection.execute(sa.select(SLOTS).where(mine & SLOTS.c.trial.is_not(None))).mappings().first()
    return (Slot(study, row["number"], row["token"]), row["trial"]) if row else None


def attach(connection: sa.Connection, slot: Slot, trial: int) -> bool:
    """Note which trial uses the slot."""
    return _change(connection, slot, {"trial": trial})


def renew(connection: sa.Connection, slot: Slot, lease_s: float) -> bool:
    """Prolong the lease; False if it is no longer ours."""
    return _change(connection, slot, {"warned": False}, {"until": lease_s})


def settle(connection: sa.Connection, slot: Slot) -> bool | None:
    """Count the slot's trial as finished; None if that was done before, False if the lease is no longer ours."""
    if _change(connection, slot, {"state": "done"}, {"ended": 0.0}):
        return True
    row = locked(connection, slot.study, slot.number)
    return None if (row["state"], row["token"]) == ("done", slot.token) else False


def release(connection: sa.Connection, slot: Slot, failed: bool) -> bool:
    """Give the slot back for another try; after three failures it is given up.

    One that hasn't failed keeps its trial, so that the next holder goes on with it.
    """
    if not failed:
        return _change(connection, slot, {"state": "free"})
    failures = locked(connection, slot.study, slot.number)["failures"] + 1
    state = "given_up" if failures >= TRIES else "free"
    return _change(connection, slot, {"state": state, "failures": failures, "deaths": 0, "trial": None})


def locked(connection: sa.Connection, study: str, number: int) -> Any:
    """Read one slot and keep others from changing it until the transaction ends."""
    return connection.execute(LOCKED, {"of": study, "at": number}).mappings().one()


def overrule(connection: sa.Connection, slot: Slot, trial: int) -> None:
    """Count a result for the slot whoever holds it: its own holder had computed it and died, or lost the lease."""
    done = {"state": "done", "trial": trial, "token": slot.token}
    _set(connection, slot.study, slot.number, done, {"ended": 0.0})


def expire(connection: sa.Connection, study: str, worker: str) -> list[int]:
    """End the leases of a worker that is known to be dead; return the ids of its trials."""
    mine = (SLOTS.c.study == study) & (SLOTS.c.state == "leased") & SLOTS.c.owner.startswith(worker, autoescape=True)
    trials = list(connection.scalars(sa.select(SLOTS.c.trial).where(mine & SLOTS.c.trial.is_not(None))))
    connection.execute(sa.update(SLOTS).where(mine).values(until=0.0, warned=True))
    return trials


def leased(connection: sa.Connection, study: str) -> Sequence[Any]:
    """List the slots that are held; `age_s` since the claim and `left_s` of the lease are by the database's clock."""
    now = database.now(connection)
    ages = (now - SLOTS.c.begun).label("age_s"), (SLOTS.c.until - now).label("left_s")
    ours = (SLOTS.c.study == study) & (SLOTS.c.state == "leased")
    return connection.execute(sa.select(SLOTS, *ages).where(ours).order_by(SLOTS.c.number)).mappings().all()


def endings(connection: sa.Connection, study: str) -> list[float]:
    """List how many seconds ago, by the database's clock, each finished trial ended, the last first."""
    ago = (database.now(connection) - SLOTS.c.ended).label("ago_s")
    ours = (SLOTS.c.study == study) & (SLOTS.c.state == "done")
    return [float(s) for s in connection.scalars(sa.select(ago).where(ours).order_by(ago))]


def counts(engine: sa.Engine, study: str, trials: int) -> dict[str, int]:
    """Count the slots by state."""
    ours = (SLOTS.c.study == study) & (SLOTS.c.number < trials)
    query = sa.select(SLOTS.c.state, sa.func.count()).where(ours).group_by(SLOTS.c.state)
    with database.reading(engine).begin() as connection:
        found = {state: number for state, number in connection.execute(query)}
    return {state: found.get(state, 0) for state in ("free", "leased", "done", "given_up")}


Moments = dict[str, float]
"""Columns that are set to so many seconds from now."""


def _change(connection: sa.Connection, slot: Slot, changes: dict[str, Any], moments: Moments | None = None) -> bool:
    """Change a slot; False if it is no longer its holder's."""
    return _set(connection, slot.study, slot.number, changes, moments or {}, slot.token)


def _set(
    connection: sa.Connection, study: str, number: int, changes: dict[str, Any], moments: Moments, by: int | None = None
) -> bool:
    """Change a slot, whoever holds it. by: only while it is leased under this token."""
    statement = _update(connection.dialect.name, tuple(changes), tuple(moments), by is not None)
    token = {} if by is None else {"by": by}
    given = changes | {"of": study, "at": number} | token | {f"{name}_in": s for name, s in moments.items()}
    return connection.execute(statement, given).rowcount == 1


@functools.cache
def _update(dialect: str, columns: tuple[str, ...], moments: tuple[str, ...], fenced: bool) -> sa.Update:
    values = {name: sa.bindparam(name) for name in columns}
    later = {name: database.now_in(dialect) + sa.bindparam(f"{name}_in", type_=sa.Double) for name in moments}
    return sa.update(SLOTS).where(KEY & FENCE if fenced else KEY).values(values | later)
