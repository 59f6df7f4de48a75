"""Leases on a table's rows: each has one holder, by the database's clock, and what a late one writes doesn't match.

A claim counts the row's token up, and its holder may change the row for as long as that token stands. It renews the
lease; who is silent for all of it is warned, and dead when the grace is over, too: the row is the next one's.
Every function works in the transaction of the connection it is given.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from harness.database.clock import now

GRACE = 0.5
"""Share of a lease that a silent holder gets after the lease has run out, from when somebody sees it: a database that
was away takes nothing from who is healthy."""
Key = Mapping[str, Any]
"""The values of the key's columns; a row that was read will do."""


@dataclass(frozen=True)
class Leases:
    """A table whose rows are held by leases; beside the columns named here it has state, owner, lease_s and warned.

    key: columns that say which row. token: counts the claims. until: when the lease runs out, by the database's clock.
    held: the state of a row that has a holder.
    """

    table: sa.FromClause
    key: tuple[str, ...]
    token: str
    until: str
    held: str


def silent(connection: sa.Connection, leases: Leases) -> sa.ColumnElement[bool]:
    """Say which rows' leases have run out."""
    return (leases.table.c.state == leases.held) & (leases.table.c[leases.until] < now(connection))


def first(connection: sa.Connection, leases: Leases, query: sa.Select) -> Any:
    """Return the first row of a query that nobody holds, or one who is dead; None where there is none.

    query: locks what it finds, and is asked again after each silent holder, who is warned.
    """
    while row := connection.execute(query).mappings().first():
        if row["state"] != leases.held or row["warned"]:
            return row
        grace = now(connection) + GRACE * row["lease_s"]
        connection.execute(_update(leases, row).values({"warned": True, leases.until: grace}))
    return None


def take(
    connection: sa.Connection, leases: Leases, row: Mapping[str, Any], owner: str, lease_s: float, **more: Any
) -> int:
    """Give a row, which is locked, to a new holder; return its token. more: what else changes."""
    lent = {
        "state": leases.held, "owner": owner, leases.token: row[leases.token] + 1, "warned": False,
        "lease_s": lease_s, leases.until: now(connection) + lease_s,
    }  # fmt: skip
    connection.execute(_update(leases, row).values(lent | more))
    return lent[leases.token]


def held(connection: sa.Connection, leases: Leases, owner: str, *within: sa.ColumnElement[bool]) -> Any:
    """Return the row that an owner holds, as after a claim whose answer was lost; None for none."""
    mine = (leases.table.c.state == leases.held) & (leases.table.c.owner == owner)
    return connection.execute(sa.select(leases.table).where(mine, *within)).mappings().first()


def renew(connection: sa.Connection, leases: Leases, key: Key, token: int, lease_s: float) -> bool:
    """Prolong a lease; False if it is no longer this holder's."""
    return change(connection, leases, key, token, {"warned": False, leases.until: now(connection) + lease_s})


def change(connection: sa.Connection, leases: Leases, key: Key, token: int, values: Mapping[str, Any]) -> bool:
    """Change a row as its holder; False if it is no longer this holder's."""
    return connection.execute(_update(leases, key).where(fence(leases, token)).values(values)).rowcount == 1


def fence(leases: Leases, token: int) -> sa.ColumnElement[bool]:
    """Say what a holder may write to: the token keeps out one whose lease was given to another."""
    return (leases.table.c[leases.token] == token) & (leases.table.c.state == leases.held)


def ended(connection: sa.Connection, leases: Leases, key: Key, token: int, state: str) -> bool:
    """Tell whether this very holder brought the row to a state: the commit that seemed to fail took effect."""
    row = locked(connection, leases, key)
    return (row["state"], row[leases.token]) == (state, token)


def locked(connection: sa.Connection, leases: Leases, key: Key) -> Any:
    """Read a row and keep others from changing it until the transaction ends."""
    return connection.execute(sa.select(leases.table).where(_at(leases, key)).with_for_update()).mappings().one()


def expire(connection: sa.Connection, leases: Leases, *within: sa.ColumnElement[bool]) -> None:
    """End the leases, with their grace, of holders who are known to be dead."""
    theirs = sa.update(leases.table).where(leases.table.c.state == leases.held, *within)
    connection.execute(theirs.values({leases.until: 0.0, "warned": True}))


def _update(leases: Leases, key: Key) -> sa.Update:
    return sa.update(leases.table).where(_at(leases, key))


def _at(leases: Leases, key: Key) -> sa.ColumnElement[bool]:
    return sa.and_(*(leases.table.c[name] == key[name] for name in leases.key))
