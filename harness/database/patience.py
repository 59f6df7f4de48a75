"""Calls that are made again while the database is away, locked or full."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import TypeVar

import sqlalchemy as sa

from harness.database.failures import passing, rivals, unreachable
from harness.database.url import shown
from harness.errors import HarnessError
from harness.interrupts import uninterrupted

T = TypeVar("T")
FIRST_PAUSE_S, LAST_PAUSE_S, LAST_PAUSE_OF_RIVALS_S = 0.05, 5.0, 0.4
ANNOUNCE_S = 2  # a shorter wait is no news


class Away(HarnessError):
    """A database was away for longer than somebody's patience."""


def patiently(act: Callable[[], T], patience_s: float, url: str | sa.URL, setting: str = "storage.url") -> T:
    """Call `act`, and call it again while the database is away, locked or full; announce a wait that people notice.

    `act` begins anew each time, with a transaction of its own. Where a connection broke in a commit, the attempt before
    may have taken effect: `act` must bear that. An interrupt waits for an attempt's end, which then may have taken
    effect, too.

    Raises:
        Away: it is still away `patience_s` seconds after the first failure.
    """
    since, announced, pause_s = None, False, FIRST_PAUSE_S
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
                raise _given_up(url, e, setting, now - since) from None
            if not announced and now - since > ANNOUNCE_S:
                announced = True
                print(f"{unreachable(url, e, setting).what}; trying again for up to {patience_s:.0f} s", flush=True)
            time.sleep(min(left_s, pause_s * random.uniform(0.5, 1)))
            pause_s = min(2 * pause_s, LAST_PAUSE_OF_RIVALS_S if rivals(e) else LAST_PAUSE_S)
    if announced and since is not None:
        print(f"{setting}={shown(url, setting)}: works again, after {time.monotonic() - since:.0f} s", flush=True)
    return result


def _given_up(url: str | sa.URL, e: Exception, setting: str, waited_s: float) -> Away:
    lost = unreachable(url, e, setting)
    return Away(
        f"{lost.what}; tried again for {waited_s:.0f} s",
        "nothing is lost: once the database runs and has room, the same command goes on where this ended",
    )
