"""The standings of a hosted competition: a view of the verdicts, of which nothing is stored.

Ranks: entries are sorted by points, equal ones by when they came in, and share a rank where they can't be told apart
(`judge.comparison`). What that takes of F1 is

- on the public board with the Ladder on: the F1 shown, and how many public images there are. Nothing that hangs on
  labels but what the Ladder has told already, so that ranks and intervals tell no more of them than it does.
- on the public board without the Ladder, which tells the exact F1: the draws of the public images.
- on the private board, after the close: the draws of the private images.

Time is that of all sessions in which an entry was timed (`board.sessions`), pooled.
"""

from __future__ import annotations

import csv
import io
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from datetime import datetime
from typing import Any

import numpy as np
import sqlalchemy as sa
from sqlalchemy import Engine

from harness.board import competitions, store
from harness.board.competitions import Hosted
from harness.board.tables import Entry, Judgement, Session, Team
from harness.judge import comparison
from harness.judge.bootstrap import f1_of_text
from harness.judge.comparison import Measured, Past
from harness.rules.competition import Competition
from harness.rules.formulas import Figures, direction, points_of_board

FORMULAS_OF_SHEETS = ("=", "+", "-", "@", "\t", "\r", "\n")
SHOWN = ("latency_ms", "latency_low_ms", "latency_high_ms", "ratio", "ratio_low", "ratio_high", "macs", "size_bytes")


@dataclass(frozen=True)
class Place:
    """A team's place on a board.

    rank: from 1, shared by those that can't be told apart; None for a baseline. low, high: of the points' 95 %
    interval. f1: of the board's part of the test images. entry: that stands for the team. created: when it came in,
    seconds since 1970. entries: that the team has had, scored ones. timed: in how many sessions its time was taken.
    """

    rank: int | None
    team: str
    team_id: int
    url: str
    baseline: bool
    entry: int
    name: str
    points: float
    low: float
    high: float
    f1: float
    latency_ms: float
    latency_low_ms: float
    latency_high_ms: float
    ratio: float
    ratio_low: float
    ratio_high: float
    macs: int
    size_bytes: int
    created: float
    entries: int
    timed: int = 1


@dataclass(frozen=True)
class Compared:
    """A board's places with what they were ranked by, by entry."""

    places: list[Place]
    measured: dict[int, Measured]


def public(engine: Engine, hosted: Hosted) -> list[Place]:
    """Rank the teams by what the public part tells of their best."""
    return store.look(engine, lambda connection: read(connection, competitions.by_id(connection, hosted.id), True))


def private(engine: Engine, hosted: Hosted) -> list[Place]:
    """Rank the teams by the private part: the best of their picks, or their public place where none is picked.

    Whether it may be shown is for the caller to ask: `hosted.closed`.
    """
    return store.look(engine, lambda connection: read(connection, competitions.by_id(connection, hosted.id), False))


def read(connection: sa.Connection, hosted: Hosted, of_public: bool) -> list[Place]:
    """Rank the teams by the public or the private part, within the transaction that read the competition."""
    return compare(connection, hosted, of_public).places


def compare(connection: sa.Connection, hosted: Hosted, of_public: bool) -> Compared:
    """Rank the teams as `read` does, and return what they were compared by, too."""
    rules = hosted.competition
    rows, entries = _read(connection, hosted, of_public)
    picked = set() if of_public else {row["team_id"] for row in rows if row["picked"]}
    counting = [row for row in rows if row["picked"] or row["team_id"] not in picked]
    images = hosted.public_images if of_public else _private_images(hosted)
    measured = [_measured(row, images) for row in counting]
    draws = comparison.drawn(rules, measured)
    places = _places(counting, entries, rules, measured, draws)
    drawn = {place.entry: row for place, row in zip(places, draws, strict=True)}
    best: dict[int, Place] = {}
    for place in ordered(places, rules):
        best.setdefault(place.team_id, place)
    by_entry = dict(zip((row["id"] for row in counting), measured, strict=True))
    return Compared(ranked(list(best.values()), drawn, rules, by_entry), by_entry)


def ranked(
    places: Sequence[Place],
    drawn: Mapping[int, np.ndarray],
    rules: Competition,
    measured: Mapping[int, Measured] | None = None,
) -> list[Place]:
    """Put places in order and give them ranks, baselines none.

    drawn: of each entry's points, by `comparison.drawn`. measured: by entry; without it the times of before are
    forgotten.
    """
    inorder = ordered(places, rules)
    competing = [p for p in inorder if not p.baseline]
    draws = [drawn[p.entry] for p in competing]
    ranks = (
        comparison.groups(draws)
        if measured is None
        else comparison.ranked(rules, [measured[p.entry] for p in competing], draws)
    )
    rank_of = {p.entry: rank for p, rank in zip(competing, ranks, strict=True)}
    return [replace(p, rank=rank_of.get(p.entry)) for p in inorder]


def ordered(places: Sequence[Place], rules: Competition) -> list[Place]:
    """Sort places, the best first, equal ones by when they came in."""
    sign = -1 if direction(rules) == "higher" else 1
    return sorted(places, key=lambda p: (sign * p.points, p.created, p.entry))


def plain(places: Sequence[Place]) -> list[dict[str, Any]]:
    """Return places as plain JSON values."""
    return [asdict(place) for place in places]


MARK = "\ufeff"
"""A byte order mark, by which spreadsheets know a csv file for UTF-8."""


def to_csv(places: Sequence[Place]) -> str:
    """Write places as a table that no spreadsheet takes for formulas."""
    names = [f.name for f in fields(Place)]
    out = io.StringIO()
    rows = csv.writer(out, lineterminator="\n")
    rows.writerow(names)
    rows.writerows([_cell(getattr(place, name)) for name in names] for place in places)
    return out.getvalue()


def _standing(hosted: Hosted, of_public: bool) -> sa.ColumnElement[bool]:
    """Say which entries can stand for their teams; a union, for which databases use both indexes."""
    here = Entry.competition_id == hosted.id
    if of_public:
        return Entry.placed.is_(True)
    each = [sa.select(Entry.id).where(here, flag.is_(True)) for flag in (Entry.placed, Entry.picked)]
    return Entry.id.in_(sa.union(*each))


def _draws(hosted: Hosted, of_public: bool) -> sa.ColumnElement[Any]:
    """Say which draws of F1 ranks may hang on: see the module's docstring."""
    if not of_public:
        return Judgement.f1_private_draws
    return sa.null() if hosted.step else Judgement.f1_public_draws


def _private_images(hosted: Hosted) -> int:
    """Return about how many private test images there are."""
    share = hosted.contest.public_share
    return round(hosted.public_images * (1 - share) / share)


def _read(connection: sa.Connection, hosted: Hosted, of_public: bool) -> tuple[Sequence[Any], dict[int, int]]:
    """Read the entries that can stand for their teams, and how many scored ones each team has had."""
    here = Entry.competition_id == hosted.id
    f1 = Entry.f1_shown if of_public else Judgement.f1_private
    query = sa.select(
        Entry.id, Entry.name, Entry.created, Entry.picked, Entry.team_id, Team.name.label("team"), Team.url,
        Team.baseline, f1.label("f1"), Judgement.id.label("verdict"), _draws(hosted, of_public).label("draws"),
        *(getattr(Judgement, name) for name in SHOWN), Judgement.created.label("judged"), Session.timed, Session.pooled,
    )  # fmt: skip
    query = query.join(Team, Team.id == Entry.team_id).join(Judgement, Judgement.id == Entry.verdict_id)
    query = query.outerjoin(Session, Session.id == Entry.session_id)
    query = query.where(here, _standing(hosted, of_public), Entry.state != "FAIL")
    count = sa.select(Entry.team_id, sa.func.count()).where(here, Entry.kind == "scored").group_by(Entry.team_id)
    rows = _remembering(connection, connection.execute(query).mappings().all())
    return rows, {team: number for team, number in connection.execute(count).all()}


def _remembering(connection: sa.Connection, rows: Sequence[Any]) -> list[dict[str, Any]]:
    """Give entries that were timed again the figures that count now, and those of before as `past`."""
    again = [row["verdict"] for row in rows if row["timed"]]
    columns = (Session.verdict_id, Session.created, Session.pooled)
    query = sa.select(*columns).where(Session.verdict_id.in_(again), Session.state == "COMPLETE").order_by(Session.id)
    later: dict[int, list[Past]] = defaultdict(list)
    for number, created, pooled in connection.execute(query) if again else ():
        later[number].append(_past(created, pooled))
    pasts = [(_past(row["judged"], row), *later[row["verdict"]]) for row in rows]
    return [dict(row) | (row["pooled"] or {}) | {"past": past} for row, past in zip(rows, pasts, strict=True)]


def _past(created: str, figures: Mapping[str, Any]) -> Past:
    ratios = (figures[name] for name in ("ratio", "ratio_low", "ratio_high"))
    return Past(datetime.fromisoformat(created).timestamp(), *ratios)


def _measured(row: Any, images: int) -> Measured:
    return Measured(
        past=row["past"],
        number=row["verdict"], f1=row["f1"], ratio=row["ratio"], ratio_low=row["ratio_low"],
        ratio_high=row["ratio_high"], macs=row["macs"], images=images,
        draws=None if row["draws"] is None else f1_of_text(row["draws"]),
    )  # fmt: skip


def _places(
    rows: Sequence[Any], entries: dict[int, int], rules: Competition, measured: Sequence[Measured], draws: np.ndarray
) -> list[Place]:
    """Score entries by the rules, each with the interval of its points; they have no rank yet."""
    scores = points_of_board(rules, [Figures(m.f1, m.ratio, m.macs) for m in measured])
    ends = zip(*comparison.interval(draws), strict=True)
    same = ("team", "team_id", "url", "baseline", "name", "f1", "created", *SHOWN)
    return [
        Place(
            rank=None,
            entry=row["id"],
            points=score,
            low=min(score, float(low)),
            high=max(score, float(high)),
            entries=entries.get(row["team_id"], 0),
            timed=row["timed"] or 1,
            **{name: row[name] for name in same},
        )
        for row, score, (low, high) in zip(rows, scores, ends, strict=True)
    ]


def _cell(value: Any) -> Any:
    if isinstance(value, str) and value.startswith(FORMULAS_OF_SHEETS):
        return f"'{value}"
    return "" if value is None else value
