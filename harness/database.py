"""The one door to a SQL database that several workers write to.

`where` in the functions below is the setting that the url came from, for messages. A password, wherever the url has
it, is in no message, no repr and no cause of an error.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import ArgumentError, DBAPIError, InterfaceError, OperationalError, SQLAlchemyError

from harness.errors import HarnessError, pick

DRIVERS = {
    "sqlite": "sqlite",
    "postgresql": "postgresql+psycopg",
    "postgres": "postgresql+psycopg",
    "mysql": "mysql+pymysql",
    "mariadb": "mysql+pymysql",
}
WAL_FIXED = ((3, 51, 3), (3, 50, 7), (3, 44, 6))
BUSY_S = 60  # how long a SQLite writer waits for another
REACH_S = 10  # how long a server may take to answer at first
READS = "harness_reads"


def address(url: str | sa.URL, where: str = "storage.url") -> sa.URL:
    """Parse a database url and choose our driver for it.

    Raises:
        HarnessError: it isn't a url, or of a kind of database we don't speak to.
    """
    try:
        parsed = sa.make_url(url)
        secret = [parsed.query[k] for k in ("password", "passwd") if k in parsed.query]
    except (ArgumentError, ValueError):  # the url isn't shown: who knows where in it the password stands
        parsed = None
    if parsed is None or _split_wrongly(parsed) or any(c < " " for c in str(parsed.database or "")):
        raise HarnessError(
            f"{where}: not a database url",
            "write e.g. sqlite:///runs/harness.db or postgresql://user:password@host/db; "
            "in a password %40 stands for @, %3A for : and %2F for /",
        )
    if secret:  # one place for it, the one that SQLAlchemy hides
        last = secret[0] if isinstance(secret[0], str) else secret[0][-1]
        parsed = parsed.difference_update_query(["password", "passwd"]).set(password=last)
    return parsed.set(drivername=pick(DRIVERS, parsed.get_backend_name(), where))


def _split_wrongly(parsed: sa.URL) -> bool:
    """Tell whether a part of the password may stand elsewhere: it holds an @ that isn't written as %40."""
    path = "" if parsed.get_backend_name() == "sqlite" else parsed.database or ""
    return "@" in (parsed.host or "") or "@" in path


def shown(url: str | sa.URL, where: str = "storage.url") -> str:
    """Return the url without its password, for people."""
    return address(url, where).set(query={}).render_as_string(hide_password=True)


def options(url: str | sa.URL, where: str = "storage.url") -> dict[str, Any]:
    """Return the engine options for a url: a connection is tried before use, and a silent host gives up in time."""
    if address(url, where).get_backend_name() == "sqlite":
        return {"connect_args": {"timeout": BUSY_S}}
    return {"pool_pre_ping": True, "pool_size": 2, "max_overflow": 2, "connect_args": {"connect_timeout": REACH_S}}


def connect(url: str, where: str = "storage.url") -> sa.Engine:
    """Open a database and try it; the folder of a SQLite file is created.

    Raises:
        HarnessError: it can't be reached, or is no database.
    """
    target = address(url, where)
    try:
        if target.get_backend_name() == "sqlite" and target.database:
            Path(target.database).parent.mkdir(parents=True, exist_ok=True)
        engine = sa.create_engine(target, **options(target, where))
        careful(engine)
        with engine.connect():
            return engine
    # a strange option in the url reaches the driver, which says so in its own way
    except (SQLAlchemyError, OSError, TypeError, ValueError) as e:
        raise unreachable(target, e, where) from None


def unreachable(url: str | sa.URL, e: Exception, where: str = "storage.url") -> HarnessError:
    """Say that a database can't be used; raise it `from None`, as the error it comes from may hold the password."""
    target = address(url, where)
    reason = (str(getattr(e, "orig", None) or e).strip().splitlines() or [type(e).__name__])[0]
    for secret in (target.password, target.query.get("sslpassword")):
        reason = reason.replace(str(secret), "***") if secret else reason
    lite = target.get_backend_name() == "sqlite"
    server = f"check host, port, user and password, and that it runs; or leave {where} out to use SQLite"
    fix = "check the path, and that it may be written" if lite else server
    return HarnessError(f"{where}={shown(target, where)}: can't be used: {reason}", fix)


@contextmanager
def reached(engine: sa.Engine, where: str = "storage.url") -> Iterator[None]:
    """Turn the loss of a database in mid-work into an error for the user; a fault of ours stays what it is."""
    try:
        yield
    except DBAPIError as e:
        not_a_database = type(e.orig) is sqlite3.DatabaseError
        if not (isinstance(e, (OperationalError, InterfaceError)) or not_a_database):
            raise
        raise unreachable(engine.url, e, where) from None


def reading(engine: sa.Engine) -> sa.Engine:
    """Return the engine for transactions that only read: on SQLite they wait for no writer."""
    return engine.execution_options(**{READS: True})


def create_tables(engine: sa.Engine, metadata: sa.MetaData) -> None:
    """Create the tables that are lacking, though another process may be creating them at this moment."""
    for _ in metadata.tables:
        try:
            return metadata.create_all(engine)
        except DBAPIError:  # lost a race, which happens once a table at most; a real fault comes again
            continue
    metadata.create_all(engine)


def careful(engine: sa.Engine) -> None:
    """Make SQLite safe for several writers: transactions that take the write lock at once, WAL where it is sound.

    A transaction that starts as a reader and becomes a writer fails at once beside another writer, whatever the busy
    timeout. WAL can corrupt a database of several processes in versions before the fix.
    Source: https://www.sqlite.org/isolation.html, https://www.sqlite.org/wal.html#walresetbug
    """
    if engine.dialect.name != "sqlite":
        return

    @sa.event.listens_for(engine, "connect")
    def _plain(connection: Any, _record: Any) -> None:
        connection.isolation_level = None  # the driver must not begin transactions of its own
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute(f"PRAGMA journal_mode = {'WAL' if wal_is_sound() else 'DELETE'}")

    @sa.event.listens_for(engine, "begin")
    def _begin(connection: sa.Connection) -> None:
        connection.exec_driver_sql("BEGIN" if connection.get_execution_options().get(READS) else "BEGIN IMMEDIATE")

    engine.dispose()  # connections that were opened before don't know of this


def wal_is_sound(version: tuple[int, ...] = sqlite3.sqlite_version_info) -> bool:
    """Tell whether this SQLite has the fix of its WAL-reset bug."""
    return version >= WAL_FIXED[0] or any(fix[:2] == version[:2] and version >= fix for fix in WAL_FIXED[1:])
