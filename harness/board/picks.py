"""The entries that a team chooses for the end: the best of them by the private part is its result."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Engine

from harness.board import competitions, log, store
from harness.board.competitions import Hosted
from harness.board.queue import lock_team
from harness.board.quota import Shut, moment
from harness.board.tables import Entry
from harness.errors import HarnessError


def chosen(engine: Engine, team: int, competition: int) -> list[int]:
    """List a team's choices."""
    mine = (Entry.competition_id == competition) & (Entry.team_id == team) & Entry.picked.is_(True)
    return list(store.look(engine, lambda c: c.scalars(sa.select(Entry.id).where(mine).order_by(Entry.id)).all()))


def choose(engine: Engine, team: int, competition: int, entries: Sequence[int]) -> None:
    """Choose these entries for the end, and no others.

    Raises:
        HarnessError: one isn't this team's or is of another competition, can't count or is one too many, or the
            competition is closed; nothing is changed then.
    """

    def act(connection: sa.Connection) -> None:
        name = lock_team(connection, team)
        mine = (Entry.competition_id == competition) & (Entry.team_id == team)
        rows = connection.execute(sa.select(Entry.__table__).where(mine, Entry.picked.is_(True))).mappings().all()
        for row in rows:
            if row["id"] not in entries:
                _set(connection, name, row, False)
        for entry in dict.fromkeys(entries):
            _set(connection, name, _own(connection, team, competition, entry), True)

    store.transact(engine, act)


def _own(connection: sa.Connection, team: int, competition: int, entry: int) -> Mapping[str, Any]:
    row = connection.execute(sa.select(Entry.__table__).where(Entry.id == entry)).mappings().first()
    if row is None or (row["team_id"], row["competition_id"], row["kind"]) != (team, competition, "scored"):
        raise HarnessError(f"entry {entry}: no scored entry of your team in this competition", "choose one of your own")
    return row


def _set(connection: sa.Connection, name: str, row: Mapping[str, Any], on: bool) -> None:
    _check(connection, competitions.by_id(connection, row["competition_id"]), row, on)
    connection.execute(sa.update(Entry).where(Entry.id == row["id"]).values(picked=on))
    if row["picked"] != on:
        log.append(connection, f"team {name}", "pick" if on else "unpick", {"entry": row["id"]})


def _check(connection: sa.Connection, hosted: Hosted, row: Mapping[str, Any], on: bool) -> None:
    if hosted.closed:
        raise Shut(f"competition {hosted.name}: closed {moment(hosted.closes)}", "what was chosen by then counts")
    if on and row["state"] == "FAIL":
        raise HarnessError(f"entry {row['id']}: failed ({row['reason']}), so it can't count", "choose another")
    mine = (Entry.competition_id == hosted.id) & (Entry.team_id == row["team_id"]) & Entry.picked.is_(True)
    others = list(connection.scalars(sa.select(Entry.id).where(mine, Entry.id != row["id"])))
    if on and len(others) >= hosted.contest.picks:
        there = ", ".join(map(str, others))
        what = f"entry {row['id']}: {len(others)} are chosen already ({there}); allowed: {hosted.contest.picks}"
        raise HarnessError(what, "take one of the choices back first")
