"""What people score for themselves: verdicts in, a board for each competition and data set out."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy import Engine, func, select
from sqlalchemy.exc import IntegrityError

from harness import database
from harness.board import log, store, tables
from harness.board.files import content_of
from harness.board.quota import day
from harness.board.tables import FIGURES, LOCAL, Entry, Judgement
from harness.errors import HarnessError
from harness.judge import comparison
from harness.judge.bootstrap import f1_of_text
from harness.judge.comparison import Measured
from harness.record.manifest import MANIFEST, MODEL, as_text
from harness.rules.competition import Competition
from harness.rules.formulas import Figures, direction, points_of_board

if TYPE_CHECKING:  # the judge brings torch and OpenCV, which a look at the standings needn't wait for
    from harness.record.manifest import Manifest
    from harness.record.verdict import Verdict

SAME = (
    "name", "f1", "latency_ms", "latency_low_ms", "latency_high_ms", "ratio", "ratio_low", "ratio_high", "macs",
    "size_bytes", "created",
)  # fmt: skip
"""What a row shows as it is stored."""


class Key(NamedTuple):
    """What the entries of one board share: only scores under the same rules and on the same images compare."""

    competition: str
    digest: str
    data: str
    fingerprint: str


@dataclass(frozen=True)
class Row:
    """An entry's place on the board, by its latest verdict.

    rank: from 1, shared by those that can't be told apart (`judge.comparison`). size_bytes: of the model file.
    created: of the verdict, UTC.
    """

    rank: int
    name: str
    points: float
    f1: float
    latency_ms: float
    latency_low_ms: float
    latency_high_ms: float
    ratio: float
    ratio_low: float
    ratio_high: float
    macs: int
    size_bytes: int
    created: str


def record(engine: Engine, manifest: Manifest, verdict: Verdict, competition: Competition) -> int:
    """Store a verdict, and its entry where it is new; return the verdict's id."""
    if verdict.competition_digest != competition.digest():
        raise ValueError(f"the verdict is of competition {verdict.competition_digest}, not {competition.digest()}")

    def act(connection: sa.Connection) -> int:
        terms = log.digest([competition.meaning(), {}, manifest.data["fingerprint"]])
        entry = _entry(connection, manifest, verdict, _competition(connection, manifest, competition, terms))
        figures = {name: getattr(verdict, name) for name in FIGURES}
        insert = sa.insert(Judgement).values(entry_id=entry, terms=terms, **figures)
        number = connection.execute(insert).inserted_primary_key[0]
        connection.execute(sa.update(Entry).where(Entry.id == entry).values(verdict_id=number))
        return number

    try:
        return store.transact(engine, act)
    except IntegrityError:  # another process has just made the same competition or entry: it is there now
        return store.transact(engine, act)


def boards(engine: Engine, name: str | None = None) -> dict[Key, list[Row]]:
    """Rank the latest verdict of every entry name, a board for each competition and data set, the best first.

    name: of the competition whose boards are wanted; None for all.

    Raises:
        HarnessError: there are boards, but none of this name.
    """
    found: dict[Key, list[Any]] = defaultdict(list)
    for entry in _latest(engine):
        found[Key(entry.rules["name"], entry.digest, entry.data_name, entry.data_fingerprint)].append(entry)
    names = sorted({key.competition for key in found})
    if name is not None and names and name not in names:
        raise HarnessError(f"competition={name}: not on the board; there are: {', '.join(names)}", "name one of these")
    return {key: _ranked(found[key]) for key in sorted(found) if name in (None, key.competition)}


def board(engine: Engine, competition: Competition, fingerprint: str) -> list[Row]:
    """Rank the entries of one competition on one data set, the best first."""
    wanted = (competition.digest(), fingerprint)
    return next((rows for key, rows in boards(engine).items() if (key.digest, key.fingerprint) == wanted), [])


def _latest(engine: Engine) -> Sequence[Any]:
    """Read the latest verdict of every entry name on every board, without the raw samples."""
    mine = Entry.kind == LOCAL
    latest = select(func.max(Entry.verdict_id)).where(mine).group_by(Entry.competition_id, Entry.name)
    shared = [getattr(tables.Competition, name) for name in ("digest", "rules", "data_name", "data_fingerprint")]
    figures = [getattr(Judgement, name) for name in SAME if name != "name"]
    drawn = (Judgement.id, Judgement.f1_draws)
    query = select(*shared, Entry.name, *figures, *drawn).select_from(Judgement).join(Judgement.entry)
    query = query.join(tables.Competition, tables.Competition.id == Entry.competition_id)
    return store.look(engine, lambda c: c.execute(query.where(Judgement.id.in_(latest)).order_by(Judgement.id)).all())


def _ranked(entries: Sequence[Any]) -> list[Row]:
    competition = Competition.stored(entries[0].rules)
    scores = points_of_board(competition, [Figures(e.f1, e.ratio, e.macs) for e in entries])
    draws = comparison.drawn(competition, [_measured(entry) for entry in entries])
    scored = sorted(
        zip(scores, entries, draws, strict=True), key=lambda s: s[0], reverse=direction(competition) == "higher"
    )
    ranks = comparison.groups([drawn for _, _, drawn in scored])
    return [
        Row(rank=rank, points=points, **{field: getattr(entry, field) for field in SAME})
        for rank, (points, entry, _) in zip(ranks, scored, strict=True)
    ]


def _measured(entry: Any) -> Measured:
    """Say what is known of an entry; how many images those were judged on that have no draws isn't."""
    draws = None if entry.f1_draws is None else f1_of_text(entry.f1_draws)
    return Measured(entry.id, entry.f1, entry.ratio, entry.ratio_low, entry.ratio_high, entry.macs, draws)


def _competition(connection: sa.Connection, manifest: Manifest, competition: Competition, terms: str) -> int:
    """Find what this was judged under, or note it."""
    table, data = tables.Competition, manifest.data
    handle = f"{competition.digest()}/{data['fingerprint']}"
    known = connection.scalar(select(table.id).where(table.handle == handle))
    values = {
        "handle": handle, "hosted": False, "rules": competition.rules(), "digest": competition.digest(), "contest": {},
        "terms": terms, "data_name": data["name"], "data_fingerprint": data["fingerprint"],
        "classes": manifest.classes, "public_images": 0,
    }  # fmt: skip
    return known or _insert(connection, table, values)


def _entry(connection: sa.Connection, manifest: Manifest, verdict: Verdict, competition: int) -> int:
    """Find the entry that was judged before, or make a new one."""
    written = hashlib.sha256(as_text(manifest).encode()).hexdigest()
    content = content_of(manifest.files | {MODEL: verdict.model_sha256, MANIFEST: written})
    team = connection.scalar(select(tables.Team.id).where(tables.Team.handle == LOCAL))
    key = {"competition_id": competition, "team_id": team, "kind": LOCAL, "content": content}
    known = connection.scalar(select(Entry.id).filter_by(**key))
    seconds = float(connection.scalar(select(database.now(connection))))
    values = {
        "name": manifest.name, "model_sha256": verdict.model_sha256, "manifest": manifest.to_dict(), "sizes": {},
        "day": day(seconds), "charged": False, "state": "COMPLETE", "tries": 0, "fence": 0, "warned": False,
        "picked": False, "placed": False,
    }  # fmt: skip
    return known or _insert(connection, Entry, key | values)


def _insert(connection: sa.Connection, table: Any, values: dict[str, Any]) -> int:
    row = sa.insert(table).values(values | {"created": database.now(connection)})
    return connection.execute(row).inserted_primary_key[0]
