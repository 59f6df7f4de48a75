"""One holder a row, by the database's clock; who comes late changes nothing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from harness import database
from harness.database import lease
from harness.database.lease import Leases

METADATA = sa.MetaData()
BEDS = sa.Table(
    "beds", METADATA, sa.Column("room", sa.String(9), primary_key=True), sa.Column("bed", sa.Integer, primary_key=True),
    sa.Column("state", sa.String(9)), sa.Column("guest", sa.String(9)), sa.Column("stays", sa.Integer),
    sa.Column("owner", sa.String(9)), sa.Column("lease_s", sa.Double), sa.Column("leaves", sa.Double),
    sa.Column("warned", sa.Boolean),
)  # fmt: skip
LEASES = Leases(BEDS, key=("room", "bed"), token="stays", until="leaves", held="taken")
KEY = {"room": "blue", "bed": 1}
FIXTURES = {"postgresql": "postgres_url", "mariadb": "mariadb_url"}


@pytest.fixture(params=["sqlite", *FIXTURES])
def connection(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[sa.Connection]:
    """A transaction on each kind of database, with a row that nobody holds and another that nobody asks for."""
    kind = request.param
    url = f"sqlite:///{tmp_path}/x.db" if kind == "sqlite" else request.getfixturevalue(FIXTURES[kind])
    engine = database.connect(url)
    database.create_tables(engine, METADATA)
    with engine.begin() as connection:
        free = {"room": "blue", "state": "free", "stays": 0, "warned": False}
        connection.execute(sa.insert(BEDS), [free | {"bed": 1}, free | {"bed": 2}])
        yield connection
    engine.dispose()


def claim(connection: sa.Connection, owner: str) -> int | None:
    """Take the first row for a minute, with a guest; return the token."""
    query = sa.select(BEDS).where(
        BEDS.c.bed == 1, (BEDS.c.state == "free") | lease.silent(connection, LEASES)
    ).with_for_update(skip_locked=True)  # fmt: skip
    row = lease.first(connection, LEASES, query)
    return row and lease.take(connection, LEASES, row, owner, 60, guest=owner)


def age(connection: sa.Connection, by_s: float) -> None:
    """Let so many seconds of every lease go by."""
    connection.execute(sa.update(BEDS).values(leaves=BEDS.c.leaves - by_s))


def seen(connection: sa.Connection) -> list[Any]:
    """Return what stands in the row, and in the one beside it."""
    columns = sa.select(BEDS.c.state, BEDS.c.guest, BEDS.c.stays).order_by(BEDS.c.bed)
    return [tuple(row) for row in connection.execute(columns)]


def test_a_row_has_one_holder_who_alone_may_change_it(connection: sa.Connection) -> None:
    """Until it is given back; the row beside it stays as it is."""
    assert claim(connection, "anna") == 1
    assert claim(connection, "ben") is None
    assert not lease.change(connection, LEASES, KEY, 0, {"guest": "ben"})
    assert lease.change(connection, LEASES, KEY, 1, {"guest": "a", "state": "free"})
    assert not lease.change(connection, LEASES, KEY, 1, {"guest": "b"})
    assert seen(connection) == [("free", "a", 1), ("free", None, 0)]
    assert claim(connection, "ben") == 2


def test_who_is_silent_for_lease_and_grace_is_dead(connection: sa.Connection) -> None:
    """And comes too late for all; a lease that was renewed in the grace is whole again."""
    claim(connection, "anna")
    for renewed in (True, False):
        age(connection, 61)
        assert claim(connection, "ben") is None
        assert not renewed or lease.renew(connection, LEASES, KEY, 1, 60)
        age(connection, 31)
        assert claim(connection, "ben") == (None if renewed else 2)
    assert not lease.renew(connection, LEASES, KEY, 1, 60)
    assert not lease.change(connection, LEASES, KEY, 1, {"guest": "late"})
    assert seen(connection)[0] == ("taken", "ben", 2)


def test_who_has_not_been_warned_is_not_dead(connection: sa.Connection) -> None:
    """However long the database was away: the grace begins when somebody looks."""
    claim(connection, "anna")
    age(connection, 10_000)
    assert claim(connection, "ben") is None
    assert lease.renew(connection, LEASES, KEY, 1, 60)


def test_who_is_known_to_be_dead_has_no_grace(connection: sa.Connection) -> None:
    """Of the leases that are meant."""
    claim(connection, "anna")
    lease.expire(connection, LEASES, BEDS.c.owner == "ben")
    assert claim(connection, "carl") is None
    lease.expire(connection, LEASES, BEDS.c.owner == "anna")
    assert claim(connection, "carl") == 2


def test_a_call_whose_answer_was_lost_is_known_again(connection: sa.Connection) -> None:
    """A claim by its owner, an end by its token; nobody else's is."""
    token = claim(connection, "anna")
    assert lease.held(connection, LEASES, "ben") is None
    assert lease.held(connection, LEASES, "anna", BEDS.c.bed == 2) is None
    assert lease.held(connection, LEASES, "anna")["stays"] == token
    assert not lease.ended(connection, LEASES, KEY, token, "left")
    assert lease.change(connection, LEASES, KEY, token, {"state": "left"})
    assert lease.ended(connection, LEASES, KEY, token, "left")
    assert not lease.ended(connection, LEASES, KEY, token - 1, "left")
    assert lease.held(connection, LEASES, "anna") is None


@pytest.mark.parametrize(
    ("safeguard", "without", "second"),
    [
        ("fence", lambda leases, token: sa.true(), ("taken", "late", 2)),
        ("GRACE", -0.01, ("taken", "ben", 2)),
        ("silent", lambda connection, leases: sa.false(), ("taken", "anna", 1)),
    ],
)
def test_each_safeguard_is_missed_where_it_is_taken_out(
    connection: sa.Connection, safeguard: str, without: Any, second: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The control: a late writer comes in, a healthy holder is robbed, a dead one keeps its row."""
    monkeypatch.setattr(lease, safeguard, without)
    claim(connection, "anna")
    age(connection, 61)
    taken = claim(connection, "ben") is not None
    assert taken == (safeguard == "GRACE")
    age(connection, 31)
    claim(connection, "ben")
    lease.change(connection, LEASES, KEY, 1, {"guest": "late"} if safeguard == "fence" else {"guest": "anna"})
    assert seen(connection)[0] == second
