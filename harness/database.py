"""Open a SQL database so that several workers can write to it."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from harness.errors import HarnessError

DRIVERS = {
    "sqlite": "sqlite",
    "postgresql": "postgresql+psycopg",
    "postgres": "postgresql+psycopg",
    "mysql": "mysql+pymysql",
    "mariadb": "mysql+pymysql",
}
WAL_FIXED = ((3, 51, 3), (3, 50, 7), (3, 44, 6))
BUSY_S = 60


def address(url: str) -> sa.URL:
    """Parse a database url and choose our driver for it.

    Raises:
        HarnessError: it isn't a url, or of a kind of database we don't speak to.
    """
    try:
        parsed = sa.make_url(url)
    except ArgumentError as e:
        raise HarnessError(
            "storage.url: not a database url", "write e.g. sqlite:///runs/harness.db or postgresql://user:password@host/db"
        ) from e
    kind = parsed.get_backend_name()
    if kind not in DRIVERS:
        raise HarnessError(
            f"storage.url: unknown kind of database '{kind}'; allowed: sqlite, postgresql, mysql, mariadb",
            "change what stands before '://'",
        )
    if kind == "sqlite" and parsed.database:
        Path(parsed.database).parent.mkdir(parents=True, exist_ok=True)
    return parsed.set(drivername=DRIVERS[kind])


def shown(url: str) -> str:
    """Return the url without its password, for people."""
    return address(url).render_as_string(hide_password=True)


def options(url: str) -> dict[str, Any]:
    """Return the engine options for a url: a connection is tried before use, and a silent host gives up in time."""
    kind = address(url).get_backend_name()
    if kind == "sqlite":
        return {"connect_args": {"timeout": BUSY_S}}
    return {"pool_pre_ping": True, "pool_size": 2, "max_overflow": 2, "connect_args": {"connect_timeout": 10}}


def connect(url: str) -> sa.Engine:
    """Open a database and try it.

    Raises:
        HarnessError: it can't be reached.
    """
    engine = sa.create_engine(address(url), **options(url))
    careful(engine)
    try:
        with engine.connect():
            return engine
    except SQLAlchemyError as e:
        raise unreachable(url, e) from e


def unreachable(url: str, e: Exception) -> HarnessError:
    """Say that a database can't be reached, without its password."""
    secret = address(url).password
    reason = str(getattr(e, "orig", None) or e).strip().splitlines()[0]
    reason = reason.replace(str(secret), "***") if secret else reason
    return HarnessError(
        f"storage.url={shown(url)}: can't be reached: {reason}",
        "check host, port, user and password, and that the server runs; or leave storage.url out to use SQLite",
    )


def careful(engine: sa.Engine) -> None:
    """Make SQLite safe for several writers: transactions that take the write lock at once, WAL where it is sound.

    A transaction that starts as a reader and becomes a writer fails at once beside another writer, whatever the busy
    timeout. WAL can corrupt a database of several processes in versions before the fix.
    Source: https://www.sqlite.org/isolation.html, https://www.sqlite.org/wal.html#walreset
    """
    if engine.dialect.name != "sqlite":
        return

    @sa.event.listens_for(engine, "connect")
    def _plain(connection: Any, _record: Any) -> None:
        connection.isolation_level = None  # the driver must not begin transactions of its own
        connection.execute(f"PRAGMA busy_timeout = {BUSY_S * 1000}")
        connection.execute(f"PRAGMA journal_mode = {'WAL' if wal_is_sound() else 'DELETE'}")

    @sa.event.listens_for(engine, "begin")
    def _immediate(connection: sa.Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    engine.dispose()


def wal_is_sound(version: tuple[int, ...] = sqlite3.sqlite_version_info) -> bool:
    """Tell whether this SQLite has the fix of its WAL-reset bug."""
    return version >= WAL_FIXED[0] or any(fix[:2] == version[:2] and version >= fix for fix in WAL_FIXED[1:])


