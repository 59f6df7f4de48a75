"""The shared budget of a study: one slot a trial, held by a lease, so that N trials are N over all workers."""

from __future__ import annotations

from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from harness.database import create_tables, reading

METADATA = sa.MetaData()
SLOTS = sa.Table(
    "harness_slots",
    METADATA,
    sa.Column("study", sa.String(200), primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True),
    sa.Column("state", sa.String(10), nullable=False),  # free, leased, done, given_up
    sa.Column("token", sa.Integer, nullable=False),  # counts the claims: an old holder's writes don't match
    sa.Column("failures", sa.Integer, nullable=False),
    sa.Column("owner", sa.String(200)),
    sa.Column("trial", sa.Integer),
    sa.Column("until", sa.Double),  # seconds of the database's own clock
)
# One clock for all machines: the database's, never a worker's.
NOW = {
    "sqlite": "(julianday('now') - 2440587.5) * 86400.0",
    "postgresql": "extract(epoch from clock_timestamp())",
    "mysql": "unix_timestamp(sysdate(6))",
}
TRIES = 3


@dataclass(frozen=True)
class Slot:
    """A claimed part of the budget. lost: the trial that a dead worker left behind, if any."""

    study: str
    number: int
    token: int
    lost: int | None


def open_slots(engine: sa.Engine, study: str, trials: int) -> None:
    """Give the study `trials` slots in all; more are added, none are taken away."""
    create_tables(engine, METADATA)
    mine = SLOTS.c.study == study
    blank = {"study": study, "state": "free", "token": 0, "failures": 0}
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


def claim(engine: sa.Engine, study: str, owner: str, lease_s: float, trials: int) -> Slot | None:
    """Take the next slot that is free or whose holder's lease has run out; None when there is none."""
    now = sa.literal_column(NOW[engine.dialect.name])
    ours = (SLOTS.c.study == study) & (SLOTS.c.number < trials)
    open_ = (SLOTS.c.state == "free") | ((SLOTS.c.state == "leased") & (SLOTS.c.until < now))
    # tried least first: a trial that kills its worker must not hold up the others
    first = sa.select(SLOTS).where(ours & open_).order_by(SLOTS.c.token, SLOTS.c.number).limit(1)
    with engine.begin() as connection:
        row = connection.execute(first.with_for_update(skip_locked=True)).mappings().first()
        if row is None:
            return None
        lost = row["trial"] if row["state"] == "leased" else None
        failures = row["failures"] + (row["state"] == "leased")
        state = "given_up" if failures >= TRIES else "leased"
        changes = {"state": state, "owner": owner, "token": row["token"] + 1, "failures": failures}
        if state == "leased":
            changes["trial"] = None  # one that is given up keeps its trial, for `abandoned`
        connection.execute(
            sa.update(SLOTS).where(_key(study, row["number"])).values(changes | {"until": now + lease_s})
        )
    slot = Slot(study, row["number"], row["token"] + 1, lost)
    return slot if state == "leased" else claim(engine, study, owner, lease_s, trials)


def attach(engine: sa.Engine, slot: Slot, trial: int) -> bool:
    """Note which trial uses the slot."""
    return _change(engine, slot, trial=trial)


def renew(engine: sa.Engine, slot: Slot, lease_s: float) -> bool:
    """Prolong the lease; False if it is no longer ours."""
    return _change(engine, slot, until=sa.literal_column(NOW[engine.dialect.name]) + lease_s)


def settle(engine: sa.Engine, slot: Slot) -> bool:
    """Count the slot's trial as finished; False if the lease is no longer ours."""
    return _change(engine, slot, state="done")


def release(engine: sa.Engine, slot: Slot, failed: bool) -> bool:
    """Give the slot back for another try; after three failures it is given up."""
    count = SLOTS.c.failures + int(failed)
    state = sa.case((count >= TRIES, "given_up"), else_="free")
    return _change(engine, slot, state=state, failures=count, trial=None)


def abandoned(engine: sa.Engine, study: str) -> list[int]:
    """List the trials that the last of three dead workers left behind."""
    given_up = (SLOTS.c.study == study) & (SLOTS.c.state == "given_up") & SLOTS.c.trial.is_not(None)
    with engine.begin() as connection:
        return list(connection.scalars(sa.select(SLOTS.c.trial).where(given_up)))


def counts(engine: sa.Engine, study: str, trials: int) -> dict[str, int]:
    """Count the slots by state."""
    ours = (SLOTS.c.study == study) & (SLOTS.c.number < trials)
    query = sa.select(SLOTS.c.state, sa.func.count()).where(ours).group_by(SLOTS.c.state)
    with reading(engine).begin() as connection:
        found = {state: number for state, number in connection.execute(query)}
    return {state: found.get(state, 0) for state in ("free", "leased", "done", "given_up")}


def _key(study: str, number: int) -> sa.ColumnElement[bool]:
    return (SLOTS.c.study == study) & (SLOTS.c.number == number)


def _change(engine: sa.Engine, slot: Slot, **changes: object) -> bool:
    mine = _key(slot.study, slot.number) & (SLOTS.c.token == slot.token) & (SLOTS.c.state == "leased")
    with engine.begin() as connection:
        return connection.execute(sa.update(SLOTS).where(mine).values(changes)).rowcount == 1
