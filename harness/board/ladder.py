"""The Ladder: what the public board tells, so that many submissions learn little of the public labels.

An entry is shown when it beats its team's best shown one even with its F1 lowered by a step; what is shown then is its
F1 rounded to the step. At equal speed this is the rule of Blum and Hardt for F1; a faster entry may be shown with less
F1, where the formula thinks the more of it. Of all other entries the board says only that they aren't better.
It chooses among a team's own entries, and takes the time as it was measured when an entry was judged, for ever: time
is no secret, and which of two equal entries stands for their team is of no account. An entry that is timed again
(`board.sessions`) isn't held against the others again: each new time would ask anew whether its exact F1 is over a
threshold, which the clock's noise has moved a little, and some such answers tell F1 finer than a step. So what is shown
of F1 and which entry stands never change by it; points, intervals and ranks between teams do, and hang on nothing but
times and the F1 that was shown. Between teams `judge.comparison` decides, which knows the errors.
Source: A. Blum, M. Hardt, The Ladder: A Reliable Leaderboard for Machine Learning Competitions, ICML 2015, algorithm 1
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import sqlalchemy as sa

from harness.board.competitions import Hosted
from harness.board.tables import Entry, Judgement
from harness.rules.competition import Competition
from harness.rules.formulas import Figures, better, formula_of, points

STANDING = ("f1_shown", "placed")


def climb(best: Figures | None, found: Figures, rules: Competition, step: float) -> Figures | None:
    """Return what is shown of an entry that takes its team's place on the public board; None for one that doesn't.

    best: what is shown of the team's place now. found: with the exact public F1. step: of F1; 0 turns the Ladder off.
    """
    lowered = replace(found, f1=found.f1 - step)
    if best is not None and not _beats(lowered, best, rules):
        return None
    return replace(found, f1=min(1.0, round(found.f1 / step) * step)) if step else found


def place(connection: sa.Connection, hosted: Hosted, team: int, entry: int, found: Figures) -> None:
    """Let a newly judged entry take its team's place on the public board, if it may. The team's row is locked."""
    mine = (Entry.competition_id == hosted.id) & (Entry.team_id == team) & Entry.placed.is_(True)
    row = connection.execute(_judged().where(mine)).mappings().first()
    best = None if row is None else replace(_found(row), f1=row["f1_shown"])
    shown = climb(best, found, hosted.competition, hosted.step)
    if shown is not None and row is not None:
        connection.execute(sa.update(Entry).where(Entry.id == row["id"]).values(placed=False))
    values = {"placed": shown is not None, "f1_shown": _shown(shown, found, hosted.step)}
    connection.execute(sa.update(Entry).where(Entry.id == entry).values(values))


def again(connection: sa.Connection, hosted: Hosted, team: int) -> None:
    """Go through a team's entries anew, as they were judged: after other rules, or an entry that was judged again."""
    mine = (Entry.competition_id == hosted.id) & (Entry.team_id == team) & (Entry.kind == "scored")
    rows = connection.execute(_judged().where(mine).order_by(Judgement.id)).mappings().all()
    for row, values in zip(rows, standing(rows, hosted.competition, hosted.step), strict=True):
        if any(row[name] != values[name] for name in STANDING):
            connection.execute(sa.update(Entry).where(Entry.id == row["id"]).values(values))


def standing(rows: Sequence[Any], rules: Competition, step: float) -> list[dict[str, Any]]:
    """Say what is shown of each entry of a team and which one is its place, from nothing but their verdicts."""
    best, placed, shown_f1 = None, None, []
    for row in rows:
        counts = row["state"] != "FAIL"
        shown = climb(best, _found(row), rules, step) if counts else None
        if shown is not None:
            best, placed = shown, row["id"]
        shown_f1.append(_shown(shown, _found(row), step) if counts else None)
    return [{"f1_shown": f1, "placed": row["id"] == placed} for row, f1 in zip(rows, shown_f1, strict=True)]


def _shown(shown: Figures | None, found: Figures, step: float) -> float | None:
    if shown is not None:
        return shown.f1
    return None if step else found.f1


def _beats(a: Figures, b: Figures, rules: Competition) -> bool:
    if formula_of(rules).score is None:  # it ranks whole boards: F1 alone can be compared
        return a.f1 > b.f1
    return better(rules, points(rules, a), points(rules, b))


def _judged() -> sa.Select[Any]:
    figures = [getattr(Judgement, name) for name in ("f1_public", "ratio", "macs")]
    query = sa.select(Entry.id, Entry.state, Entry.f1_shown, Entry.placed, *figures)
    return query.join_from(Entry, Judgement, Judgement.id == Entry.verdict_id)


def _found(row: Any) -> Figures:
    return Figures(row["f1_public"], row["ratio"], row["macs"])
