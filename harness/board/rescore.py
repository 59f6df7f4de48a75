"""Other rules for a board: the figures of each entry stay, only the points and the ranks change, all at one moment."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from itertools import count as counting
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Engine

from harness import database
from harness.board import competitions, ladder, log, standings, store, tables
from harness.board.competitions import ORGANISER, Hosted
from harness.board.standings import Place
from harness.errors import HarnessError
from harness.rules.competition import Competition
from harness.rules.formulas import formula_of

MEASURED = ("name", "reference", "threads", "runtime", "agreement")
"""Rules that entries were measured by: to change one is to judge anew."""


@dataclass(frozen=True)
class Change:
    """A team's rank on both boards before and after; None where it has none."""

    team: str
    public_before: int | None
    public: int | None
    private_before: int | None
    private: int | None


def rescore(engine: Engine, hosted: Hosted, **rules: Any) -> list[Change]:
    """Rank a competition by changed rules from now on; return the teams whose rank changed. No model is run.

    rules: what changes, such as formula="f1_squared_fps"; the same formula where its meaning is another one than when
    the board was last ranked (`REVISIONS`). Readers see the old board or the new one, never a mixture.

    Raises:
        HarnessError: a rule is one that entries were measured by, the formula is unknown, a number is out of its
            range, or nothing changes.
    """
    _refuse_measured(rules)
    attempts = counting()

    def act(connection: sa.Connection) -> list[Change]:
        return _switched(connection, hosted, rules, again=next(attempts) > 0)

    return store.transact(engine, act)


class _Shown(Exception):
    """Undoes a transaction once it has told what it would change."""

    def __init__(self, changes: list[Change]) -> None:
        super().__init__()
        self.changes = changes


def preview(engine: Engine, hosted: Hosted, **rules: Any) -> list[Change]:
    """Return what `rescore` would change by these rules, and leave all as it is.

    Raises:
        HarnessError: as `rescore`.
    """
    _refuse_measured(rules)

    def act(connection: sa.Connection) -> None:
        raise _Shown(_switched(connection, hosted, rules, again=False))

    try:
        store.transact(engine, act)
    except _Shown as shown:
        return shown.changes
    raise AssertionError("unreachable")


def _refuse_measured(rules: dict[str, Any]) -> None:
    fixed = [name for name in rules if name in MEASURED]
    if fixed:
        what = f"{fixed[0]}: entries were measured by it; can be changed: formula and what formulas take"
        raise HarnessError(what, "create another competition, whose entries are judged anew")


def _switched(connection: sa.Connection, hosted: Hosted, changes: dict[str, Any], again: bool) -> list[Change]:
    lock = sa.select(tables.Team.id).order_by(tables.Team.id).with_for_update()  # no verdict comes in meanwhile
    teams = list(connection.scalars(lock))
    now = competitions.by_id(connection, hosted.id)
    formula_of(Competition(**changes))
    rules = Competition.stored(now.competition.rules() | changes)
    after = replace(now, competition=rules, terms=competitions.terms(rules, now.contest, now.judge_fingerprint))
    if after.terms == now.terms:
        if again and now.terms != hosted.terms:  # the commit that seemed to fail took effect
            return _noted(connection, now)
        raise HarnessError(f"competition {now.name}: is ranked by these rules already", "give other ones")
    before = _boards(connection, now)
    for team in teams:
        ladder.again(connection, after, team)
    changed = compared(*before, *_boards(connection, after))
    _note(connection, after, changed)
    return changed


def _boards(connection: sa.Connection, hosted: Hosted) -> tuple[list[Place], list[Place]]:
    return standings.read(connection, hosted, True), standings.read(connection, hosted, False)


def compared(
    public_before: Sequence[Place], private_before: Sequence[Place], public: Sequence[Place], private: Sequence[Place]
) -> list[Change]:
    """List the teams whose rank changed on either board, as they stand on the new private one."""
    ranks = [{p.team: p.rank for p in board} for board in (public_before, public, private_before, private)]
    teams = dict.fromkeys(p.team for board in (private, public, private_before) for p in board)
    rows = [Change(team, *(rank.get(team) for rank in ranks)) for team in teams]
    return [r for r in rows if (r.public_before, r.private_before) != (r.public, r.private)]


def _noted(connection: sa.Connection, hosted: Hosted) -> list[Change]:
    """Read what changed when the competition was last ranked anew."""
    mine = tables.Board.competition_id == hosted.id
    last = sa.select(tables.Board.changes).where(mine).order_by(tables.Board.version.desc()).limit(1)
    return [Change(**change) for change in connection.scalar(last)]


def _note(connection: sa.Connection, hosted: Hosted, changed: Sequence[Change]) -> None:
    board = tables.Board
    last = connection.scalar(sa.select(sa.func.max(board.version)).where(board.competition_id == hosted.id)) or 0
    rules: Competition = hosted.competition
    values = {
        "competition_id": hosted.id, "version": last + 1, "rules": rules.rules(), "terms": hosted.terms,
        "changes": [asdict(change) for change in changed], "created": database.now(connection),
    }  # fmt: skip
    connection.execute(sa.insert(board).values(values))
    told = {"competition": hosted.name, "version": last + 1, "rules": rules.rules(), "terms": hosted.terms}
    log.append(connection, ORGANISER, "rescore", told | {"changed": len(changed)})
