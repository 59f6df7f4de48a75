"""Who times a network again: one worker at a time, minutes apart, and within a share of what the study has worked.

Like `slots`: every function works in the transaction of the connection it is given, and is safe to be made again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from harness import database
from harness.database import lease
from harness.database.lease import Leases
from harness.study.slots import SLOTS

METADATA = sa.MetaData()
TIMINGS = sa.Table(
    "harness_timings",
    METADATA,
    sa.Column("study", sa.String(200), primary_key=True),
    sa.Column("timing", sa.String(40), primary_key=True),  # `Cost.timing`
    sa.Column("state", sa.String(10), nullable=False),  # free, leased
    sa.Column("token", sa.Integer, nullable=False),  # counts the claims
    sa.Column("owner", sa.String(200)),
    sa.Column("lease_s", sa.Double),
    sa.Column("until", sa.Double),  # the lease runs out, by the database's clock
    sa.Column("warned", sa.Boolean, nullable=False),
    sa.Column("timed", sa.Double, nullable=False),  # when its last measurement ended, at the latest
    sa.Column("spent_s", sa.Double, nullable=False),  # on timing it again; with what its holder is taken to need
)
LEASES = Leases(TIMINGS, key=("study", "timing"), token="token", until="until", held="leased")
LEASE_S = 300.0
"""Of a measurement, which takes seconds, and may wait for others on its host; nobody prolongs it."""
APART_S = 120.0
"""Between measurements of one network: a neighbour of minutes must not be in two of them."""
SHARE = 0.02
"""Of the time that the study's finished trials took, for timing some of them again."""


@dataclass(frozen=True)
class Claim:
    """A network that its holder times again. reserved_s: what that is taken to need."""

    study: str
    timing: str
    token: int
    reserved_s: float

    @property
    def key(self) -> dict[str, Any]:
        """Which row it is."""
        return {"study": self.study, "timing": self.timing}


def create(engine: sa.Engine) -> None:
    """Create the table, unless it is there."""
    database.create_tables(engine, METADATA)


def note(engine: sa.Engine, study: str, names: Sequence[str]) -> None:
    """Have a row for each timing; one that is new was measured now, at the latest."""
    mine = (TIMINGS.c.study == study) & TIMINGS.c.timing.in_(names)
    while True:
        with database.reading(engine).begin() as connection:
            have = set(connection.scalars(sa.select(TIMINGS.c.timing).where(mine)))
        lacking = [name for name in names if name not in have]
        if not lacking:
            return
        blank = {"study": study, "state": "free", "token": 0, "warned": False, "spent_s": 0.0}
        try:
            with engine.begin() as connection:
                now = connection.scalar(sa.select(database.now(connection)))
                connection.execute(sa.insert(TIMINGS), [blank | {"timing": name, "timed": now} for name in lacking])
        except IntegrityError:
            continue  # another worker has just added some of these


def left_s(connection: sa.Connection, study: str) -> float:
    """Return how many seconds the study may spend now on timing trials again."""
    done = (SLOTS.c.study == study) & (SLOTS.c.state == "done")
    worked = connection.scalar(sa.select(sa.func.sum(SLOTS.c.ended - SLOTS.c.begun)).where(done))
    spent = connection.scalar(sa.select(sa.func.sum(TIMINGS.c.spent_s)).where(TIMINGS.c.study == study))
    return SHARE * (worked or 0.0) - (spent or 0.0)


def due(connection: sa.Connection, study: str, names: Sequence[str]) -> list[str]:
    """Return which timings may be claimed, in the order given."""
    found = set(connection.scalars(sa.select(TIMINGS.c.timing).where(_open(connection, study, names))))
    return [name for name in names if name in found]


def claim(connection: sa.Connection, study: str, names: Sequence[str], owner: str, needs_s: float) -> Claim | None:
    """Take the first of the timings that nobody holds and that wasn't measured minutes ago; None where there is none.

    None, too, where the study can't afford it. needs_s: what measuring is taken to need.
    """
    if not names or left_s(connection, study) < needs_s:
        return None
    order = sa.case({name: place for place, name in enumerate(names)}, value=TIMINGS.c.timing)
    query = sa.select(TIMINGS).where(_open(connection, study, names)).order_by(order).limit(1)
    row = lease.first(connection, LEASES, query.with_for_update(skip_locked=True))
    if row is None:
        return None
    token = lease.take(connection, LEASES, row, owner, LEASE_S, spent_s=row["spent_s"] + needs_s)
    return Claim(study, row["timing"], token, needs_s)


def held(connection: sa.Connection, study: str, owner: str, needs_s: float) -> Claim | None:
    """Return what this owner holds, if a claim of its has taken effect unnoticed."""
    row = lease.held(connection, LEASES, owner, TIMINGS.c.study == study)
    return Claim(study, row["timing"], row["token"], needs_s) if row else None


def settle(connection: sa.Connection, claim: Claim, spent_s: float) -> bool:
    """Give a timing back after its measurement, well or badly; False if it is no longer this holder's."""
    spent = TIMINGS.c.spent_s + (spent_s - claim.reserved_s)
    values = {"state": "free", "timed": database.now(connection), "spent_s": spent}
    if lease.change(connection, LEASES, claim.key, claim.token, values):
        return True
    return lease.ended(connection, LEASES, claim.key, claim.token, "free")


def let_go(connection: sa.Connection, study: str, owner: str) -> None:
    """Give back what an owner holds, unmeasured; what it was taken to need stays spent."""
    its = (TIMINGS.c.study == study) & (TIMINGS.c.owner == owner) & (TIMINGS.c.state == "leased")
    connection.execute(sa.update(TIMINGS).where(its).values(state="free"))


def expire(connection: sa.Connection, study: str, worker: str) -> None:
    """End the leases of a worker that is known to be dead. worker: how its owners' names begin."""
    its = (TIMINGS.c.study == study) & TIMINGS.c.owner.startswith(worker, autoescape=True)
    lease.expire(connection, LEASES, its)


def _open(connection: sa.Connection, study: str, names: Sequence[str]) -> sa.ColumnElement[bool]:
    """Say which of the timings may be claimed."""
    rested = (TIMINGS.c.state == "free") & (TIMINGS.c.timed < database.now(connection) - APART_S)
    ours = (TIMINGS.c.study == study) & TIMINGS.c.timing.in_(names)
    return ours & (rested | lease.silent(connection, LEASES))
