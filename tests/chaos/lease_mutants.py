"""The one lease, and the one patience, with a safeguard less: the kill tests of studies and of the queue catch each.

A mutant is put into a process by setattr; the product's files stay as they are.
"""

from __future__ import annotations

import sqlalchemy as sa

from harness import database
from harness.database import lease


def no_token() -> None:
    """Whoever held a row once may change it while anybody holds it: its token isn't compared."""
    lease.fence = lambda leases, token: leases.table.c.state == leases.held


def no_fence() -> None:
    """Whoever held a row once may change it for ever: neither its token nor its state is compared."""
    lease.fence = lambda leases, token: sa.true()


def no_expiry() -> None:
    """A lease lasts for ever."""
    lease.silent = lambda connection, leases: sa.false()


def no_grace() -> None:
    """A lease that has run out is taken at once."""
    lease.GRACE = -0.01


def impatient() -> None:
    """An error of the database that would pass ends the process."""
    database.patiently = lambda act, *_: act()
