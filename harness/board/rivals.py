"""Which entries to time again: those whose ranks touch near the top of the board, the highest and least timed first.

Before the close it asks the public board alone, and so hangs on nothing that isn't shown (`board.standings`); whoever
sees which entries were timed again learns no more of the labels than from the ranks. After the close it asks the
private board, which is shown then.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Engine

from harness.board import competitions, standings, store
from harness.board.competitions import Hosted
from harness.board.tables import Entry, Judgement
from harness.judge import comparison
from harness.measure.machine import kind_of

TOP = 20
"""Places that are looked at: time near the top matters, time at the bottom doesn't."""


@dataclass(frozen=True)
class Rival:
    """An entry worth timing again. verdict: whose time it is. runtime: the engine that it was timed by."""

    entry: int
    verdict: int
    runtime: str


def rivals(engine: Engine, hosted: Hosted, machine: Mapping[str, Any], sandbox: str) -> list[Rival]:
    """List the entries worth timing again here, the one that matters most first.

    machine: this one, as verdicts have it. Entries that were timed on another kind, or otherwise boxed, are left out:
    their times are measurements of something else.
    """
    return store.look(engine, lambda connection: _rivals(connection, hosted, machine, sandbox))


def _rivals(connection: sa.Connection, hosted: Hosted, machine: Mapping[str, Any], sandbox: str) -> list[Rival]:
    now = competitions.by_id(connection, hosted.id)
    board = standings.compare(connection, now, not now.closed)
    top = [place for place in board.places if not place.baseline][:TOP]
    pairs = comparison.touching(now.competition, [board.measured[place.entry] for place in top])
    leader_of: dict[int, int] = {}
    for place, leader in pairs:
        for one in (place, leader):
            leader_of[one] = min(leader, leader_of.get(one, leader))
    order = sorted(leader_of, key=lambda place: (leader_of[place], top[place].timed, place))
    here = _timed_here(connection, [top[place].entry for place in order], machine, sandbox)
    return [here[top[place].entry] for place in order if top[place].entry in here]


def _timed_here(
    connection: sa.Connection, entries: list[int], machine: Mapping[str, Any], sandbox: str
) -> dict[int, Rival]:
    """Return those of the entries that were timed on this kind of machine, in such a sandbox."""
    runtime = Judgement.samples["runtime"].as_string().label("runtime")
    query = sa.select(Entry.id, Judgement.id.label("verdict"), Judgement.machine, runtime)
    query = query.join(Judgement, Judgement.id == Entry.verdict_id)
    rows = connection.execute(query.where(Entry.id.in_(entries), Judgement.sandbox == sandbox)).all()
    return {
        row.id: Rival(row.id, row.verdict, row.runtime)
        for row in rows
        if row.runtime and kind_of(row.machine, row.runtime) == kind_of(machine, row.runtime)
    }
