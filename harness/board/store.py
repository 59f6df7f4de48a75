"""The one door to the board's database: opened, brought up to date, and used in whole transactions."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import sqlalchemy as sa
from sqlalchemy import Engine

from harness import database
from harness.board.tables import FIRST, LOCAL, Base, Log, Team
from harness.errors import HarnessError

WHERE = "board.url"
MIGRATIONS = Path(__file__).with_name("migrations")
HEAD = "0006"
"""The newest of the migrations."""
FIRST_TABLES = {"entries", "verdicts"}
"""What a database has that was made before there were migrations."""
VERSIONS = "harness_board_version"
"""Alembic's table; not its usual name, which Optuna's studies take in the same database."""
LOCK, LOCK_S = 4_810_911, 60
PATIENCE_S = 30.0
"""How long a call waits for a database that is away."""

T = TypeVar("T")


def open(url: str) -> Engine:
    """Connect to a database and bring its tables up to date, though other processes may be at it.

    Raises:
        HarnessError: the url can't be read, the database can't be reached (a password in it is never shown), or it was
            written by a later version.
    """
    engine = database.connect(url, WHERE)
    with database.reached(engine, WHERE):
        if look(engine, _version, 0) != HEAD:
            _upgrade(engine)
    return engine


def reader(url: str) -> Engine:
    """Connect to a board that is only looked at: neither its database nor a file beside it changes, or is made.

    A SQLite file of an earlier version is read from a copy in memory, and one that isn't there as an empty board.

    Raises:
        HarnessError: as `open`; or a server's database is of an earlier version.
    """
    if not database.is_there(url, WHERE):
        return _up_to_date(database.in_memory())
    engine = database.reader(url, WHERE)
    with database.reached(engine, WHERE):
        found, names = look(engine, lambda c: (_version(c), set(sa.inspect(c).get_table_names())), 0)
    if found == HEAD:
        return engine
    if found is None and not names >= FIRST_TABLES:
        return _up_to_date(database.in_memory())
    if engine.dialect.name == "sqlite":
        return _up_to_date(database.in_memory(url))
    raise HarnessError(
        f"{WHERE}={database.shown(url, WHERE)}: was written by an earlier version of the harness (schema "
        f"{found or 'of before 0001'}; this one reads {HEAD})",
        "make a backup with that version; then `python -m harness serve` or `work` brings it up to date",
    )


def _up_to_date(engine: Engine) -> Engine:
    _upgrade(engine)
    return engine


def transact(engine: Engine, act: Callable[[sa.Connection], T], patience_s: float | None = None) -> T:
    """Run `act` in a transaction, anew while the database is away; it must bear that an earlier one took effect.

    patience_s: `PATIENCE_S` by default.

    Raises:
        Away: it is away for longer.
    """

    def once() -> T:
        with engine.begin() as connection:
            return act(connection)

    return database.patiently(once, PATIENCE_S if patience_s is None else patience_s, engine.url, WHERE)


def look(engine: Engine, act: Callable[[sa.Connection], T], patience_s: float | None = None) -> T:
    """Run `act`, which only reads, on one state of the database; it waits for no writer."""
    reader = database.reading(engine)
    if engine.dialect.name == "postgresql":
        reader = reader.execution_options(isolation_level="REPEATABLE READ")
    return transact(reader, act, patience_s)


def _version(connection: sa.Connection) -> str | None:
    """Return the migration that the database is at; None before the first, and where it was made without."""
    if not sa.inspect(connection).has_table(VERSIONS):
        return None
    found = connection.scalar(sa.select(sa.table(VERSIONS, sa.column("version_num")).c.version_num))
    if found is not None and found > HEAD:
        raise HarnessError(
            f"{WHERE}={database.shown(connection.engine.url, WHERE)}: was written by a later version of the harness "
            f"(schema {found}; this one knows {HEAD})",
            "update the harness, or take another database",
        )
    return found


def _upgrade(engine: Engine) -> None:
    from alembic import command  # 0.2 s that a database which is up to date doesn't cost
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.attributes["version_table"] = VERSIONS
    with engine.connect() as connection, _alone(connection):
        found = _version(connection)
        if found == HEAD:
            return  # another process was first
        config.attributes["connection"] = connection
        names = set(sa.inspect(connection).get_table_names())
        if found is None and not names >= FIRST_TABLES:
            _refuse_others(connection, names)
            _create(connection)  # at once: the migrations come to the same, but on MariaDB in some seconds
            command.stamp(config, "head")
            return
        if found is None:
            command.stamp(config, "0001")  # made before there were migrations
        command.upgrade(config, "head")


def _refuse_others(connection: sa.Connection, names: set[str]) -> None:
    """Refuse a database where another program has tables of the names that ours have.

    Raises:
        HarnessError: it has some; those of ours may be there, of somebody who was stopped while he made them.
    """
    inspector, ours = sa.inspect(connection), Base.metadata.tables
    same = {
        name for name in names & ours.keys() if ours[name].c.keys() == [c["name"] for c in inspector.get_columns(name)]
    }
    if others := sorted((names & ours.keys()) - same):
        url = database.shown(connection.engine.url, WHERE)
        raise HarnessError(
            f"{WHERE}={url}: another program's tables stand there: {', '.join(others)}",
            "take another database, such as board.url=sqlite:///runs/board.db; it is made where there is none",
        )


def _create(connection: sa.Connection) -> None:
    """Create the newest tables, with the two rows that they begin with."""
    Base.metadata.create_all(connection)
    local = {"name": LOCAL, "handle": LOCAL, "url": "", "baseline": False, "created": database.now(connection)}
    connection.execute(sa.insert(Team).values(local))
    connection.execute(sa.insert(Log).values(FIRST))


@contextmanager
def _alone(connection: sa.Connection) -> Iterator[None]:
    """Begin a transaction that no other process is in; it commits at the end."""
    kind = connection.dialect.name
    raw = connection.connection.dbapi_connection
    if kind == "mysql" and not connection.scalar(sa.select(sa.func.get_lock(str(LOCK), LOCK_S))):
        raise HarnessError(f"{WHERE}: another process has been changing the tables for {LOCK_S} s", "try again")
    connection.rollback()
    if kind == "sqlite":  # a table that others refer to is made anew; works outside a transaction alone
        raw.execute("PRAGMA foreign_keys = OFF")
    try:
        with connection.begin():  # which takes SQLite's write lock
            if kind == "postgresql":
                connection.execute(sa.select(sa.func.pg_advisory_xact_lock(LOCK)))
            yield
    finally:
        if kind == "sqlite":
            raw.execute("PRAGMA foreign_keys = ON")
        if kind == "mysql":
            connection.scalar(sa.select(sa.func.release_lock(str(LOCK))))
