"""The one door to a SQL database that several workers write to.

`where` in the functions below is the setting that the url came from, for messages. A password, wherever the url has
it, is in no message, no repr and no cause of an error.
"""

from __future__ import annotations

import os
import random
import re
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.exc import ArgumentError, DBAPIError, InterfaceError, OperationalError, SQLAlchemyError

from harness.errors import HarnessError, pick
from harness.interrupts import uninterrupted

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

T = TypeVar("T")
FIRST_PAUSE_S, LAST_PAUSE_S, LAST_PAUSE_OF_RIVALS_S = 0.05, 5.0, 0.4
TELL_S = 2  # a shorter wait is no news
# a server that is gone without a word is noticed by TCP itself (without this, in some hours or never)
# Source: https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-KEEPALIVES
SILENCE = {
    "postgresql": {
        "keepalives": 1,
        "keepalives_idle": 10,
        "keepalives_interval": 5,
        "keepalives_count": 3,
        "tcp_user_timeout": 30_000,
    },
    # more than a wait for a lock, which is 50 s there; and the server drops a client that is silent for two minutes
    "mysql": {"read_timeout": 60, "write_timeout": 60, "init_command": "SET SESSION wait_timeout = 120"},
}
HOLD_S = 60  # how long PostgreSQL lets a client that has fallen silent hold its locks, and another wait for one

# Source: https://www.postgresql.org/docs/current/errcodes-appendix.html
#   and https://dev.mysql.com/doc/mysql-errors/8.4/en/, https://mariadb.com/kb/en/mariadb-error-code-reference/
#   and https://www.sqlite.org/rescode.html
RIVALS = {"40001", "40P01", "55P03", 1020, 1205, 1213}  # two transactions that got in each other's way
AWAY = ("08", "53", "57P0", "58030")  # what such a PostgreSQL state begins with
AWAY_MYSQL = {1021, 1040, 1053, 1114, 1203, 1927, 2002, 2003, 2006, 2013}
AWAY_SQLITE = {
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_PROTOCOL,
}
# libpq tells no state where a connection isn't made, only the server's words
TURNED_AWAY = re.compile(
    r"authentication failed|no password supplied|does not exist|pg_hba\.conf|not permitted to log in"
)

MOUNTS = Path("/proc/self/mountinfo")
# One clock for all machines: the database's, never a worker's.
NOW = {
    "sqlite": "(julianday('now') - 2440587.5) * 86400.0",
    "postgresql": "extract(epoch from clock_timestamp())",
    "mysql": "unix_timestamp(sysdate(6))",
}
# SQLite's locks can be relied on in none of them: https://www.sqlite.org/faq.html#q5
NETWORK = {
    *("nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "afs", "ncpfs", "lustre", "gpfs", "beegfs", "glusterfs", "ceph"),
    *("orangefs", "pvfs2", "fuse.glusterfs", "fuse.ceph", "fuse.ceph-fuse", "fuse.sshfs"),
    *("fuse.s3fs", "fuse.gcsfuse", "fuse.rclone"),
}


class Away(HarnessError):
    """A database was away for longer than somebody's patience."""


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
    """Return the engine options for a url: a connection is tried before use, and a silent host gives up in time.

    What the url itself sets, as in `?connect_timeout=3`, wins.
    """
    target = address(url, where)
    backend = target.get_backend_name()
    ours = {"timeout": BUSY_S} if backend == "sqlite" else {"connect_timeout": REACH_S, **SILENCE[backend]}
    arguments = {"connect_args": {k: v for k, v in ours.items() if k not in target.query}}
    if backend == "sqlite":
        return arguments
    # by MySQL's default, who has waited for a lock doesn't see what its holder has committed, if it had looked before:
    # two workers once counted the same number of trials. https://mariadb.com/kb/en/set-transaction/
    level = {"isolation_level": "READ COMMITTED"} if backend == "mysql" else {}
    return {"pool_pre_ping": True, "pool_size": 2, "max_overflow": 2, **level, **arguments}


def connect(url: str, where: str = "storage.url") -> sa.Engine:
    """Open a database and try it; the folder of a SQLite file is created.

    Raises:
        HarnessError: it can't be reached, or is no database, or a SQLite file on a network's file system.
    """
    target = address(url, where)
    try:
        if target.get_backend_name() == "sqlite" and target.database:
            _check_locks_hold(target, where)
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
    first = [*_causes(e)][-1]
    reason = (str(first).strip().splitlines() or [type(first).__name__])[0]
    for secret in (target.password, target.query.get("sslpassword")):
        reason = reason.replace(str(secret), "***") if secret else reason
    lite = target.get_backend_name() == "sqlite"
    server = f"check host, port, user and password, and that it runs; or leave {where} out to use SQLite"
    fix = "check the path, and that it may be written" if lite else server
    return HarnessError(f"{where}={shown(target, where)}: can't be used: {reason}", fix)


def _causes(e: BaseException) -> Iterator[BaseException]:
    """Yield an error, then what it comes from: Optuna's is of SQLAlchemy's, and that of the driver's."""
    seen: list[BaseException] = []
    link: BaseException | None = e
    while link is not None and link not in seen:
        seen.append(link)
        yield link
        link = getattr(link, "orig", None) or link.__cause__


def _code(e: BaseException) -> str | int | None:
    """Return a driver's code for an error: PostgreSQL's state, MySQL's number or SQLite's."""
    if isinstance(e, sqlite3.Error):
        return getattr(e, "sqlite_errorcode", 0) & 0xFF  # the rest of it is detail
    if type(e).__module__.startswith("pymysql"):
        return next(iter(e.args), None)
    return getattr(e, "sqlstate", None)


def _rivals(e: BaseException) -> bool:
    """Tell whether another transaction was in the way."""
    return any(_code(link) in RIVALS for link in _causes(e))


def passing(e: BaseException) -> bool:
    """Tell whether an error of the database may pass by itself: it is locked, full, away, or starting again.

    A wrong statement or password, a missing table and a broken constraint don't.
    """
    return any(_passes(link) for link in _causes(e))


def _passes(e: BaseException) -> bool:
    # a pool runs dry while the calls that hold its connections wait for the database
    if isinstance(e, sa.exc.TimeoutError) or getattr(e, "connection_invalidated", False):
        return True
    code, driver = _code(e), type(e).__module__.partition(".")[0]
    if driver == "sqlite3":
        return code in AWAY_SQLITE
    if driver == "pymysql":
        return code in AWAY_MYSQL | RIVALS
    if driver == "psycopg" and code is None:
        operational = any(c.__name__ == "OperationalError" for c in type(e).__mro__)
        return operational and not TURNED_AWAY.search(str(e))
    return driver == "psycopg" and (code in RIVALS or str(code).startswith(AWAY))


def patiently(act: Callable[[], T], patience_s: float, url: str | sa.URL, where: str = "storage.url") -> T:
    """Call `act`, and call it again while the database is away, locked or full; tell of a wait that people notice.

    `act` begins anew each time, with a transaction of its own. Where a connection broke in a commit, the attempt before
    may have taken effect: `act` must bear that. An interrupt waits for an attempt's end, which then may have taken
    effect, too.

    Raises:
        Away: it is still away `patience_s` seconds after the first failure.
    """
    since, told, pause_s = None, False, FIRST_PAUSE_S
    while True:
        try:
            with uninterrupted():
                result = act()
            break
        except Exception as e:
            if not passing(e):
                raise
            now = time.monotonic()
            since = now if since is None else since
            left_s = since + patience_s - now
            if left_s <= 0:
                raise _given_up(url, e, where, now - since) from None
            if not told and now - since > TELL_S:
                told = True
                print(f"{unreachable(url, e, where).what}; trying again for up to {patience_s:.0f} s", flush=True)
            time.sleep(min(left_s, pause_s * random.uniform(0.5, 1)))
            pause_s = min(2 * pause_s, LAST_PAUSE_OF_RIVALS_S if _rivals(e) else LAST_PAUSE_S)
    if told and since is not None:
        print(f"{where}={shown(url, where)}: works again, after {time.monotonic() - since:.0f} s", flush=True)
    return result


def _given_up(url: str | sa.URL, e: Exception, where: str, waited_s: float) -> Away:
    lost = unreachable(url, e, where)
    return Away(
        f"{lost.what}; tried again for {waited_s:.0f} s",
        "nothing is lost: once the database runs and has room, the same command goes on where this ended",
    )


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


def file_system(path: Path, mounts: str) -> str:
    """Return the type of the file system that an absolute path without links is on, from Linux' list of mounts.

    Source: https://man7.org/linux/man-pages/man5/proc_pid_mountinfo.5.html
    """
    longest, kind = -1, ""
    for line in mounts.split("\n"):
        before, _, after = line.partition(" - ")
        if len(before.split()) < 5 or not after.split():
            continue
        # a blank, a tab, a line's end and a backslash stand in octal
        point = Path(re.sub(r"\\([0-7]{3})", lambda code: chr(int(code[1], 8)), before.split(" ")[4]))
        if path.is_relative_to(point) and len(point.parts) >= longest:  # a later mount hides an earlier one
            longest, kind = len(point.parts), after.split()[0]
    return kind


def _check_locks_hold(target: sa.URL, where: str) -> None:
    if target.database == ":memory:" or not MOUNTS.exists():
        return
    kind = file_system(Path(str(target.database)).resolve().parent, os.fsdecode(MOUNTS.read_bytes()))
    if kind in NETWORK:
        raise HarnessError(
            f"{where}={shown(target, where)}: is on a network file system ({kind}), where SQLite's locks don't hold: "
            "writers would damage each other's work",
            "put it on a local disk, or start a PostgreSQL with `python -m harness db start` and set its url",
        )


def reading(engine: sa.Engine) -> sa.Engine:
    """Return the engine for transactions that only read: on SQLite they wait for no writer."""
    return engine.execution_options(**{READS: True})


def now(connection: sa.Connection) -> sa.ColumnElement[float]:
    """Return the expression for the database's time, in seconds since 1970."""
    return now_in(connection.dialect.name)


def now_in(dialect: str) -> sa.ColumnElement[float]:
    """As `now`, for a statement that is made before there is a connection."""
    return sa.literal_column(NOW[dialect], sa.Double)


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
