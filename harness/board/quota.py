"""A team's quota of the day, and the hours of a competition; both by the database's clock."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Literal

import sqlalchemy as sa
from sqlalchemy import Engine

from harness.board import competitions, store
from harness.board.competitions import Hosted
from harness.board.tables import Entry
from harness.errors import HarnessError

DAY_S = 86_400
Kind = Literal["scored", "debug"]


class Full(HarnessError):
    """The day's quota is used up. retry_s: until the next day, UTC."""

    def __init__(self, what: str, fix: str, retry_s: float) -> None:
        super().__init__(what, fix)
        self.retry_s = retry_s


class Shut(HarnessError):
    """The competition isn't open."""


def left(engine: Engine, team: int, competition: int, kind: Kind = "scored") -> int:
    """Count the entries that a team may still submit today; 0 while the competition isn't open."""

    def act(connection: sa.Connection) -> int:
        hosted = competitions.by_id(connection, competition)
        return max(0, _cap(hosted, kind) - _used(connection, hosted, team, kind)) if hosted.open else 0

    return store.look(engine, act)


def check_open(hosted: Hosted) -> None:
    """Raise `Shut` unless entries may come in."""
    if hosted.closed:
        raise Shut(f"competition {hosted.name}: closed {moment(hosted.closes)}", "ask the organiser")
    if not hosted.open:
        raise Shut(f"competition {hosted.name}: opens {moment(hosted.opens)}", "wait until then")


def check(connection: sa.Connection, hosted: Hosted, team: int, kind: Kind) -> None:
    """Raise `Full` unless the team may submit one more today; its row is locked."""
    cap = _cap(hosted, kind)
    if _used(connection, hosted, team, kind) < cap:
        return
    retry_s = DAY_S - hosted.now % DAY_S
    what = f"competition {hosted.name}: all {cap} {kind} entries of this day (UTC) are used"
    raise Full(what, f"wait {retry_s / 3600:.1f} hours for the next day", retry_s)


def day(seconds: float) -> str:
    """Return the day (UTC) of a time in seconds since 1970."""
    return datetime.fromtimestamp(seconds, UTC).date().isoformat()


def moment(seconds: float | None) -> str:
    """Return a time in seconds since 1970 as people read it."""
    return "" if seconds is None else datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M UTC")


def _cap(hosted: Hosted, kind: Kind) -> int:
    return hosted.contest.submissions_a_day if kind == "scored" else hosted.contest.debug_a_day


def _used(connection: sa.Connection, hosted: Hosted, team: int, kind: Kind) -> int:
    today = (Entry.day == day(hosted.now)) & Entry.charged.is_(True) & (Entry.kind == kind)
    mine = (Entry.competition_id == hosted.id) & (Entry.team_id == team)
    return connection.scalar(sa.select(sa.func.count()).select_from(Entry).where(mine & today)) or 0
