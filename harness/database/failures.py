"""What an error of a database means: whether it may pass by itself, and what to say of it to people."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError

from harness.database.url import address, shown
from harness.errors import HarnessError

# Source: https://www.postgresql.org/docs/current/errcodes-appendix.html
#   and https://dev.mysql.com/doc/mysql-errors/8.4/en/, https://mariadb.com/kb/en/mariadb-error-code-reference/
#   and https://www.sqlite.org/rescode.html
RIVALS = {"40001", "40P01", "55P03", 1020, 1205, 1213}  # two transactions that got in each other's way
AWAY = ("08", "53", "57P0", "58030")  # what such a PostgreSQL state begins with
AWAY_MYSQL = {1021, 1040, 1053, 1114, 1203, 1927, 2002, 2003, 2006, 2013}
AWAY_SQLITE = {
    getattr(sqlite3, f"SQLITE_{name}") for name in ("BUSY", "LOCKED", "FULL", "IOERR", "CANTOPEN", "PROTOCOL")
}
# libpq tells no state where a connection isn't made, only the server's words
TURNED_AWAY = re.compile(
    r"authentication failed|no password supplied|does not exist|pg_hba\.conf|not permitted to log in"
)


def unreachable(url: str | sa.URL, e: Exception, setting: str = "storage.url") -> HarnessError:
    """Say that a database can't be used; raise it `from None`, as the error it comes from may hold the password."""
    target = address(url, setting)
    first = [*_causes(e)][-1]
    reason = (str(first).strip().splitlines() or [type(first).__name__])[0]
    for secret in (target.password, target.query.get("sslpassword")):
        reason = reason.replace(str(secret), "***") if secret else reason
    lite = target.get_backend_name() == "sqlite"
    server = f"check host, port, user and password, and that it runs; or leave {setting} out to use SQLite"
    fix = "check the path, and that it may be written" if lite else server
    return HarnessError(f"{setting}={shown(target, setting)}: can't be used: {reason}", fix)


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


def rivals(e: BaseException) -> bool:
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


@contextmanager
def reached(engine: sa.Engine, setting: str = "storage.url") -> Iterator[None]:
    """Turn the loss of a database in mid-work into an error for the user; a fault of ours stays what it is."""
    try:
        yield
    except DBAPIError as e:
        not_a_database = type(e.orig) is sqlite3.DatabaseError
        if not (isinstance(e, (OperationalError, InterfaceError)) or not_a_database):
            raise
        raise unreachable(engine.url, e, setting) from None
