"""The standings of a hosted competition: a view of the verdicts, of which nothing is stored.

Ranks: entries are sorted by points, equal ones by when they came in. The best one leads a group, and every entry whose
interval of points overlaps the leader's shares its rank; the first that doesn't leads the next group, and its rank is
its place in the list. An interval of points is what the formula makes of the two ends of the interval of latency.
Overlap with the leader decides, not with the neighbour: else a long chain of near entries would all be first.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Engine

from harness.board import competitions, store
from harness.board.competitions import Hosted
from harness.board.tables import Entry, Judgement, Team
from harness.rules.competition import Competition
from harness.rules.formulas import Figures, direction, formula_of, points_of_board

FORMULAS_OF_SHEETS = ("=", "+", "-", "@", "\t", "\r", "\n")
SHOWN = ("latency_ms", "latency_low_ms", "latency_high_ms", "ratio", "ratio_low", "ratio_high", "macs", "size_bytes")


@dataclass(frozen=True)
class Place:
    """A team's place on a board.

    rank: from 1, shared where intervals overlap; None for a baseline. low, high: of the points' interval, low < high.
    f1: of the board's part of the test images. entry: that stands for the team. created: when it came in, seconds since
    1970. entries: that the team has had, scored ones.
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
    f1 = Entry.f1_shown if of_public else Judgement.f1_private
    rows, entries = _read(connection, hosted, _standing(hosted, of_public) & (Entry.state != "FAIL"), f1)
    picked = set() if of_public else {row["team_id"] for row in rows if row["picked"]}
    counting = [row for row in rows if row["picked"] or row["team_id"] not in picked]
    best: dict[int, Place] = {}
    for place in ordered(_places(counting, entries, hosted.competition), hosted.competition):
        best.setdefault(place.team_id, place)
    return ranked(list(best.values()), hosted.competition)


def ranked(places: Sequence[Place], rules: Competition) -> list[Place]:
    """Put places in order and give them ranks, as the module's docstring says."""
    given: list[Place] = []
    number, rank, leader = 0, 1, None
    for place in ordered(places, rules):
        if place.baseline:
            given.append(place)
            continue
        number += 1
        if leader is None or place.low > leader.high or place.high < leader.low:
            rank, leader = number, place
        given.append(Place(**vars(place) | {"rank": rank}))
    return given


def ordered(places: Sequence[Place], rules: Competition) -> list[Place]:
    """Sort places, the best first, equal ones by when they came in."""
    sign = -1 if direction(rules) == "higher" else 1
    return sorted(places, key=lambda p: (sign * p.points, p.created, p.entry))


def plain(places: Sequence[Place]) -> list[dict[str, Any]]:
    """Return places as plain JSON values."""
    return [asdict(place) for place in places]


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


def _read(
    connection: sa.Connection, hosted: Hosted, which: sa.ColumnElement[bool], f1: sa.ColumnElement[Any]
) -> tuple[Sequence[Any], dict[int, int]]:
    """Read the entries that stand for their teams, and how many scored ones each team has had."""
    here = Entry.competition_id == hosted.id
    query = sa.select(
        Entry.id, Entry.name, Entry.created, Entry.picked, Entry.team_id, Team.name.label("team"), Team.url,
        Team.baseline, f1.label("f1"), *(getattr(Judgement, name) for name in SHOWN),
    )  # fmt: skip
    query = query.join(Team, Team.id == Entry.team_id).join(Judgement, Judgement.id == Entry.verdict_id)
    count = sa.select(Entry.team_id, sa.func.count()).where(here, Entry.kind == "scored").group_by(Entry.team_id)
    rows = connection.execute(query.where(here, which)).mappings().all()
    return rows, {team: number for team, number in connection.execute(count).all()}


def _places(rows: Sequence[Any], entries: dict[int, int], rules: Competition) -> list[Place]:
    """Score entries by the rules, each with the interval of its points; they have no rank yet."""
    figures = [Figures(row["f1"], row["ratio"], row["latency_ms"], row["macs"]) for row in rows]
    scores = points_of_board(rules, figures)
    same = ("team", "team_id", "url", "baseline", "name", "f1", "created", *SHOWN)
    intervals = [_ends(row, score, rules) for row, score in zip(rows, scores, strict=True)]
    return [
        Place(
            rank=None,
            entry=row["id"],
            points=score,
            low=min(ends),
            high=max(ends),
            entries=entries.get(row["team_id"], 0),
            **{name: row[name] for name in same},
        )
        for row, score, ends in zip(rows, scores, intervals, strict=True)
    ]


def _ends(row: Any, score: float, rules: Competition) -> tuple[float, ...]:
    """Score both ends of the interval of latency; a formula that ranks whole boards tells of no interval."""
    of_one = formula_of(rules).score
    if of_one is None:
        return (score,)
    f1, macs = row["f1"], row["macs"]
    low = of_one(Figures(f1, row["ratio_low"], row["latency_low_ms"], macs), rules)
    return score, low, of_one(Figures(f1, row["ratio_high"], row["latency_high_ms"], macs), rules)


def _cell(value: Any) -> Any:
    if isinstance(value, str) and value.startswith(FORMULAS_OF_SHEETS):
        return f"'{value}"
    return "" if value is None else value
