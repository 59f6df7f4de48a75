"""Databases that are looked at and not changed: no file is made, none changes, and nothing is left beside one.

A SQLite file in WAL mode gets two files beside it from whoever opens it, a reader too; where it has none, nobody writes
to it, and it is read as it lies. Where a dead writer has left a transaction to be undone, which only a writer may do,
a copy is read.
Source: https://www.sqlite.org/wal.html#readonly, https://www.sqlite.org/uri.html (mode, immutable)
"""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import quote

import sqlalchemy as sa

from harness.database.engine import BUSY_S, READS, careful, check_file, options, tried
from harness.database.url import address, shown
from harness.errors import HarnessError

WAL_HEADER = slice(18, 20)
"""The bytes of a SQLite file that say how it is written: 2 and 2 with a write-ahead log."""
BESIDE = ("", "-wal", "-journal")
"""What a database's file and those beside it end in."""
STATEMENTS = {
    "postgresql": "SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY",
    "mysql": "SET SESSION TRANSACTION READ ONLY",
}


def reader(url: str | sa.URL, setting: str = "storage.url") -> sa.Engine:
    """Connect to a database that is only read, and try it.

    Raises:
        HarnessError: it isn't there, can't be reached, or is no database.
    """
    target = address(url, setting)
    if target.get_backend_name() == "sqlite":
        check_there(target, setting)
    return tried(target, setting, reading_options(target, setting), only_reads)


def reading_options(url: str | sa.URL, setting: str = "storage.url") -> dict[str, Any]:
    """Return the engine options of a database that is only read."""
    target = address(url, setting)
    reads = {**options(target, setting), "execution_options": {READS: True}}
    if target.get_backend_name() != "sqlite":
        return reads
    # each connection looks anew whether somebody writes
    return reads | {"creator": _opening(Path(str(target.database))), "poolclass": sa.NullPool}


def in_memory(url: str | sa.URL | None = None) -> sa.Engine:
    """Return a copy of a SQLite file in memory, to change at will; an empty database without one."""
    held = sqlite3.connect(":memory:", check_same_thread=False)
    if url is not None:
        with closing(_opening(Path(str(address(url).database)))()) as source:
            source.backup(held)
    engine = sa.create_engine("sqlite://", creator=lambda: held, poolclass=sa.StaticPool)
    careful(engine)
    return engine


def is_there(url: str | sa.URL, setting: str = "storage.url") -> bool:
    """Tell whether a database's file is there; a server's database always is."""
    target = address(url, setting)
    return target.get_backend_name() != "sqlite" or Path(str(target.database or "")).exists()


def check_there(target: sa.URL, setting: str) -> None:
    """Refuse a SQLite file that isn't there, or can't be one.

    Raises:
        HarnessError: so it is.
    """
    if target.database in (None, "", ":memory:"):
        what = f"{setting}=sqlite://: in memory, where there is nothing to read"
        raise HarnessError(what, f"name a file, as in {setting}=sqlite:///runs/harness.db")
    if not is_there(target, setting):
        what = f"{setting}={shown(target, setting)}: no such file, seen from {Path.cwd()}"
        raise HarnessError(what, "check the path; a command that only reads makes no database")
    check_file(target, setting)


def only_reads(engine: sa.Engine) -> None:
    """Have a server refuse whatever would change something."""
    if engine.dialect.name == "sqlite":

        @sa.event.listens_for(engine, "connect")
        def _plain(connection: sqlite3.Connection, _record: Any) -> None:
            connection.isolation_level = None  # the driver must not begin transactions of its own

        @sa.event.listens_for(engine, "begin")
        def _begin(connection: sa.Connection) -> None:
            connection.exec_driver_sql("BEGIN")

        engine.dispose()  # connections that were opened before don't know of this
        return
    careful(engine)

    @sa.event.listens_for(engine, "connect")
    def _refusing(connection: Any, _record: Any) -> None:
        with closing(connection.cursor()) as cursor:
            cursor.execute(STATEMENTS[engine.dialect.name])
        connection.commit()

    engine.dispose()


def _opening(path: Path) -> Callable[[], sqlite3.Connection]:
    def opened() -> sqlite3.Connection:
        still = _written_with_log(path) and not Path(f"{path}-wal").exists()
        try:
            return _read_only(path, "&immutable=1" if still else "")
        except sqlite3.OperationalError as e:
            if not any(Path(f"{path}{end}").exists() for end in BESIDE[1:]):
                raise
            found = _copied(path, e)
        return found

    return opened


def _written_with_log(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(20)[WAL_HEADER] == b"\2\2"


def _read_only(path: Path, more: str) -> sqlite3.Connection:
    name = f"file:{quote(str(path.absolute()))}?mode=ro{more}"
    connection = sqlite3.connect(name, uri=True, timeout=BUSY_S, check_same_thread=False)
    try:
        connection.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone()  # sees what a dead writer has left
    except BaseException:
        connection.close()
        raise
    return connection


def _copied(path: Path, why: sqlite3.OperationalError) -> sqlite3.Connection:
    """Return a copy in memory, with what a dead writer had begun undone."""
    memory = sqlite3.connect(":memory:", check_same_thread=False)
    with TemporaryDirectory(prefix="harness-") as folder:
        copy = Path(folder) / path.name
        try:
            for end in BESIDE:
                if Path(f"{path}{end}").exists():
                    shutil.copy(f"{path}{end}", f"{copy}{end}")
        except OSError as e:
            raise why from e
        with closing(sqlite3.connect(copy)) as whole:
            whole.backup(memory)
    return memory
