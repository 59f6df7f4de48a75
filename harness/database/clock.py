"""One clock for all machines: the database's, never a worker's."""

from __future__ import annotations

import sqlalchemy as sa

NOW = {
    "sqlite": "(julianday('now') - 2440587.5) * 86400.0",
    "postgresql": "extract(epoch from clock_timestamp())",
    "mysql": "unix_timestamp(sysdate(6))",
}


def now(connection: sa.Connection) -> sa.ColumnElement[float]:
    """Return the expression for the database's time, in seconds since 1970."""
    return sa.literal_column(NOW[connection.dialect.name], sa.Double)
