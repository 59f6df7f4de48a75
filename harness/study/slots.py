"""The shared budget of a study: one slot a trial, held by a lease, so that N trials are N over all workers.

Every function works in the transaction of the connection it is given, and is safe to be made again after a commit that
may or may not have reached the database.
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
LEASES = Leases(SLOTS, key=("study", "number"), token="token", until="until", held="leased")


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

    @property
    def key(self) -> dict[str, Any]:
        """Which row it is."""
        return {"study": self.study, "number": self.number}


def open_slots(engine: sa.Engine, study: str, trials: int) -> None:
    """Give the study `trials` slots in all; more are added, none are taken away.

    Raises:
        HarnessError: the tables were made by an earlier version.
    """
    database.create_tables(engine, METADATA)
    mine = SLOTS.c.study == study
    blank = {"study": study, "state": "free", "token": 0, "failures": 0, "deaths": 0, "warned": False}
    check(engine, study)
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


def check(engine: sa.Engine, study: str) -> None:
    """Make sure that there are slots which this version reads.

    Raises:
        HarnessError: the table was made by an earlier version, or not yet: who made the study was stopped at it.
    """
    inspector = sa.inspect(engine)
    if not inspector.has_table(SLOTS.name):
        raise HarnessError(
            f"study={study}: whoever made it was stopped before its first trial", "run the same `python tune.py` again"
        )
    if set(SLOTS.c.keys()) - {column["name"] for column in inspector.get_columns(SLOTS.name)}:
        raise HarnessError(
            f"storage.url={database.shown(engine.url)}: its studies were made by an earlier version of the harness",
            "take another database, such as storage.url=sqlite:///runs/new.db; that version still reads this one",
        )


def budget(engine: sa.Engine, study: str) -> int:
    """Return how many slots the study has been given; 0 before the first."""
    if not sa.inspect(engine).has_table(SLOTS.name):
        return 0
    with database.reading(engine).begin() as connection:
        return int(connection.scalar(sa.select(sa.func.count()).where(SLOTS.c.study == study)) or 0)


def clock(connection: sa.Connection) -> float:
    """Return the database's time, in seconds since 1970."""
    return float(connection.scalar(sa.select(database.now(connection))))


def claim(connection: sa.Connection, study: str, owner: str, lease_s: float, trials: int) -> Slot | None:
    """Take the next slot that is free or whose holder is dead; None when there is none now.

    The slot is given up instead where its tries are used up: three dead workers are one failed candidate.
    """
    open_ = lease.silent(connection, LEASES) | (SLOTS.c.state == "free")
    ours = (SLOTS.c.study == study) & (SLOTS.c.number < trials)
    # tried least first: a trial that kills its worker must not hold up the others
    query = sa.select(SLOTS).where(ours & open_).order_by(SLOTS.c.token, SLOTS.c.number).limit(1)
    row = lease.first(connection, LEASES, query.with_for_update(skip_locked=True))
    if row is None:
        return None
    deaths = row["deaths"] + (row["state"] == "leased")
    failures = row["failures"] + (deaths >= TRIES)
    given_up = failures >= TRIES
    token = lease.take(
        connection, LEASES, row, owner, lease_s, state="given_up" if given_up else "leased", failures=failures,
        deaths=deaths % TRIES, trial=None, begun=database.now(connection),
    )  # fmt: skip
    return Slot(study, row["number"], token, row["trial"], deaths < TRIES, given_up)


def held(connection: sa.Connection, study: str, owner: str) -> tuple[Slot, int] | None:
    """Return the slot that this owner holds, and its trial, if a claim of its has taken effect unnoticed."""
    row = lease.held(connection, LEASES, owner, SLOTS.c.study == study, SLOTS.c.trial.is_not(None))
    return (Slot(study, row["number"], row["token"]), row["trial"]) if row else None


def attach(connection: sa.Connection, slot: Slot, trial: int) -> bool:
    """Note which trial uses the slot."""
    return _change(connection, slot, trial=trial)


def renew(connection: sa.Connection, slot: Slot, lease_s: float) -> bool:
    """Prolong the lease; False if it is no longer ours."""
    return lease.renew(connection, LEASES, slot.key, slot.token, lease_s)


def settle(connection: sa.Connection, slot: Slot) -> bool | None:
    """Count the slot's trial as finished; None if that was done before, False if the lease is no longer ours."""
    if _change(connection, slot, state="done", ended=database.now(connection)):
        return True
    return None if lease.ended(connection, LEASES, slot.key, slot.token, "done") else False


def release(connection: sa.Connection, slot: Slot, failed: bool) -> bool:
    """Give the slot back for another try; after three failures it is given up.

    One that hasn't failed keeps its trial, so that the next holder goes on with it.
    """
    if not failed:
        return _change(connection, slot, state="free")
    failures = locked(connection, slot.study, slot.number)["failures"] + 1
    state = "given_up" if failures >= TRIES else "free"
    return _change(connection, slot, state=state, failures=failures, deaths=0, trial=None)


def locked(connection: sa.Connection, study: str, number: int) -> Any:
    """Read one slot and keep others from changing it until the transaction ends."""
    return lease.locked(connection, LEASES, {"study": study, "number": number})


def overrule(connection: sa.Connection, slot: Slot, trial: int) -> None:
    """Count a result for the slot whoever holds it: its own holder had computed it and died, or lost the lease."""
    this = (SLOTS.c.study == slot.study) & (SLOTS.c.number == slot.number)
    done = {"state": "done", "trial": trial, "token": slot.token, "ended": database.now(connection)}
    connection.execute(sa.update(SLOTS).where(this).values(done))


def expire(connection: sa.Connection, study: str, worker: str) -> list[int]:
    """End the leases of a worker that is known to be dead; return the ids of its trials."""
    its = (SLOTS.c.study == study) & SLOTS.c.owner.startswith(worker, autoescape=True)
    running = sa.select(SLOTS.c.trial).where(its & (SLOTS.c.state == "leased") & SLOTS.c.trial.is_not(None))
    trials = list(connection.scalars(running))
    lease.expire(connection, LEASES, its)
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


def _change(connection: sa.Connection, slot: Slot, **values: Any) -> bool:
    """Change a slot; False if it is no longer its holder's."""
    return lease.change(connection, LEASES, slot.key, slot.token, values)
