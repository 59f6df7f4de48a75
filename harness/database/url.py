"""A database's url: parsed, with our driver for it, and shown without its password.

`setting`, here and beside, is the setting that the url came from, for messages. A password, wherever the url has it, is
in no message, no repr and no cause of an error.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.exc import ArgumentError

from harness.errors import HarnessError, pick

DRIVERS = {
    "sqlite": "sqlite",
    "postgresql": "postgresql+psycopg",
    "postgres": "postgresql+psycopg",
    "mysql": "mysql+pymysql",
    "mariadb": "mysql+pymysql",
}


def address(url: str | sa.URL, setting: str = "storage.url") -> sa.URL:
    """Parse a database url and choose our driver for it.

    Raises:
        HarnessError: it isn't a url, or of a kind of database we don't speak to.
    """
    if isinstance(url, str) and (match := re.fullmatch(r"sqlite:///(~.*)", url)):
        url = f"sqlite:///{os.path.expanduser(match[1])}"
    try:
        parsed = sa.make_url(url)
        secret = [parsed.query[k] for k in ("password", "passwd") if k in parsed.query]
    except (ArgumentError, ValueError):  # the url isn't shown: who knows where in it the password stands
        parsed = None
    odd = parsed is None or _split_wrongly(parsed) or any(c < " " for c in str(parsed.database or ""))
    lite = not odd and parsed.get_backend_name() == "sqlite"
    if odd or (lite and (parsed.host or str(parsed.database or "").startswith("file:"))):
        raise HarnessError(
            f"{setting}: not a database url",
            "write e.g. sqlite:///runs/harness.db (three slashes, then a path) or postgresql://user:password@host/db; "
            "in a password %40 stands for @, %3A for : and %2F for /",
        )
    if secret:  # one place for it, the one that SQLAlchemy hides
        last = secret[0] if isinstance(secret[0], str) else secret[0][-1]
        parsed = parsed.difference_update_query(["password", "passwd"]).set(password=last)
    return parsed.set(drivername=pick(DRIVERS, parsed.get_backend_name(), setting))


def _split_wrongly(parsed: sa.URL) -> bool:
    """Tell whether a part of the password may stand elsewhere: it holds an @ that isn't written as %40."""
    path = "" if parsed.get_backend_name() == "sqlite" else parsed.database or ""
    return "@" in (parsed.host or "") or "@" in path


def place(url: str | sa.URL) -> str:
    """Name a database as all who share it on this host would: without user, password and options."""
    target = address(url)
    if target.get_backend_name() == "sqlite":
        return f"sqlite {Path(target.database).resolve()}" if target.database else "sqlite"
    return f"{target.get_backend_name()} {target.host} {target.port} {target.database}"


def shown(url: str | sa.URL, setting: str = "storage.url") -> str:
    """Return the url without its password, for people."""
    return address(url, setting).set(query={}).render_as_string(hide_password=True)
