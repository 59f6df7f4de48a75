"""Engines that are safe for several writers: opened and tried, with locks that hold and limits on silence."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from harness.database import rights
from harness.database.failures import unreachable
from harness.database.mounts import check_locks_hold
from harness.database.tls import tls, without_tls
from harness.database.url import address, shown
from harness.errors import HarnessError

WAL_FIXED = ((3, 51, 3), (3, 50, 7), (3, 44, 6))
BUSY_S = 60  # how long a SQLite writer waits for another
REACH_S = 10  # how long a server may take to answer at first
READS = "harness_reads"
# a server that is gone without a word is noticed by TCP itself (without this, in some hours or never)
# Source: https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-KEEPALIVES
SILENCE = {
    "postgresql": {
        "keepalives": 1, "keepalives_idle": 10, "keepalives_interval": 5, "keepalives_count": 3,
        "tcp_user_timeout": 30_000,
    },
    # more than a wait for a lock, which is 50 s there; and the server drops a client that is silent for two minutes
    "mysql": {"read_timeout": 60, "write_timeout": 60, "init_command": "SET SESSION wait_timeout = 120"},
}  # fmt: skip
HOLD_S = 60  # how long PostgreSQL lets a client that has fallen silent hold its locks, and another wait for one


def options(url: str | sa.URL, setting: str = "storage.url") -> dict[str, Any]:
    """Return the engine options for a url: a connection is tried before use, and a silent host gives up in time.

    What the url itself sets, as in `?connect_timeout=3`, wins.
    """
    target = address(url, setting)
    backend = target.get_backend_name()
    ours = {"timeout": BUSY_S} if backend == "sqlite" else {"connect_timeout": REACH_S, **SILENCE[backend]}
    arguments = {"connect_args": {k: v for k, v in ours.items() if k not in target.query} | tls(target, setting)}
    if backend == "sqlite":
        return arguments
    # by MySQL's default, who has waited for a lock doesn't see what its holder has committed, if it had looked before:
    # two workers once counted the same number of trials. https://mariadb.com/kb/en/set-transaction/
    level = {"isolation_level": "READ COMMITTED"} if backend == "mysql" else {}
    return {"pool_pre_ping": True, "pool_size": 2, "max_overflow": 2, **level, **arguments}


def connect(url: str, setting: str = "storage.url") -> sa.Engine:
    """Open a database and try it; the folder of a SQLite file is created.

    Raises:
        HarnessError: it can't be reached, or is no database, or a SQLite file on a network's file system.
    """
    target = address(url, setting)
    if target.get_backend_name() == "sqlite" and target.database:
        check_file(target, setting)
        try:
            Path(target.database).parent.mkdir(parents=True, exist_ok=True)
            rights.make(Path(target.database))
        except OSError as e:
            raise unreachable(target, e, setting) from None
    return tried(target, setting, options(target, setting), careful)


def check_file(target: sa.URL, setting: str) -> None:
    """Refuse a SQLite file that is a folder, or whose locks don't hold.

    Raises:
        HarnessError: so it is.
    """
    if Path(str(target.database)).is_dir():
        what = f"{setting}={shown(target, setting)}: is a folder; allowed: a file"
        raise HarnessError(what, f"name a file in it: {setting}=sqlite:///{target.database}/harness.db")
    check_locks_hold(target, setting)


def tried(target: sa.URL, setting: str, how: dict[str, Any], prepare: Callable[[sa.Engine], None]) -> sa.Engine:
    """Make an engine and connect once.

    Raises:
        HarnessError: it can't be.
    """
    try:
        engine = sa.create_engine(without_tls(target), **how)
        prepare(engine)
        with engine.connect():
            return engine
    except HarnessError:
        raise
    except Exception as e:  # a strange option in the url reaches the driver, which says so in whatever way
        raise unreachable(target, e, setting) from None


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
    """Make an engine safe for several writers.

    SQLite: transactions take the write lock at once, and WAL is used where it is sound. A transaction that starts as a
    reader and becomes a writer fails at once beside another writer, whatever the busy timeout. WAL can corrupt a
    database of several processes in versions before the fix.
    PostgreSQL: a worker that vanishes within a transaction doesn't keep its locks for the hours that TCP gives it.
    Source: https://www.sqlite.org/isolation.html, https://www.sqlite.org/wal.html#walresetbug,
        https://www.postgresql.org/docs/current/runtime-config-client.html
    """
    if engine.dialect.name == "sqlite":
        _careful_sqlite(engine)
    if engine.dialect.name == "postgresql":
        _careful_postgresql(engine)
    engine.dispose()  # connections that were opened before don't know of this


def _careful_postgresql(engine: sa.Engine) -> None:
    @sa.event.listens_for(engine, "connect")
    def _bounded(connection: Any, _record: Any) -> None:
        for setting in ("lock_timeout", "idle_in_transaction_session_timeout"):
            connection.execute(f"SET {setting} = '{HOLD_S}s'")
        connection.commit()


def _careful_sqlite(engine: sa.Engine) -> None:
    @sa.event.listens_for(engine, "connect")
    def _plain(connection: Any, _record: Any) -> None:
        connection.isolation_level = None  # the driver must not begin transactions of its own
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute(f"PRAGMA journal_mode = {'WAL' if wal_is_sound() else 'DELETE'}")

    @sa.event.listens_for(engine, "begin")
    def _begin(connection: sa.Connection) -> None:
        connection.exec_driver_sql("BEGIN" if connection.get_execution_options().get(READS) else "BEGIN IMMEDIATE")


def wal_is_sound(version: tuple[int, ...] = sqlite3.sqlite_version_info) -> bool:
    """Tell whether this SQLite has the fix of its WAL-reset bug."""
    return version >= WAL_FIXED[0] or any(fix[:2] == version[:2] and version >= fix for fix in WAL_FIXED[1:])
