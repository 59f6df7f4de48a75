"""The board's database: verdicts in, ranking out."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from sqlalchemy import Engine, func, select
from sqlalchemy.orm import Session

from harness import database
from harness.board.tables import FIGURES, Base, Entry, Judgement
from harness.errors import HarnessError
from harness.measure.competition import Competition, Figures, direction, points_of_board

if TYPE_CHECKING:  # the judge brings torch and OpenCV, which a look at the standings needn't wait for
    from harness.submission.judge import Verdict
    from harness.submission.manifest import Manifest

WHERE = "board.url"
SAME = ("name", "f1", "latency_ms", "latency_low_ms", "latency_high_ms", "ratio", "macs", "size_bytes", "created")
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

    rank: from 1; equal points share a rank. size_bytes: of the model file. created: of the verdict, UTC.
    """

    rank: int
    name: str
    points: float
    f1: float
    latency_ms: float
    latency_low_ms: float
    latency_high_ms: float
    ratio: float
    macs: int
    size_bytes: int
    created: str


def open(url: str) -> Engine:
    """Connect to a database and create the tables it lacks.

    Raises:
        HarnessError: the url can't be read or the database can't be reached; a password in it is never shown.
    """
    engine = database.connect(url, WHERE)
    with database.reached(engine, WHERE):
        database.create_tables(engine, Base.metadata)
    return engine


def record(engine: Engine, manifest: Manifest, verdict: Verdict, competition: Competition) -> int:
    """Store a verdict, and its entry where it is new; return the verdict's id."""
    if verdict.competition_digest != competition.digest():
        raise ValueError(f"the verdict is of competition {verdict.competition_digest}, not {competition.digest()}")
    with database.reached(engine, WHERE), Session(engine) as session, session.begin():
        judgement = Judgement(**{name: getattr(verdict, name) for name in FIGURES})
        judgement.entry = _entry(session, manifest, verdict, competition)
        session.add(judgement)
        session.flush()
        return judgement.id


def boards(engine: Engine, name: str | None = None) -> dict[Key, list[Row]]:
    """Rank the latest verdict of every entry name, a board for each competition and data set, the best first.

    name: of the competition whose boards are wanted; None for all.

    Raises:
        HarnessError: there are boards, but none of this name.
    """
    found: dict[Key, list[Any]] = defaultdict(list)
    for entry in _latest(engine):
        found[Key(entry.settings["name"], entry.competition, entry.data_name, entry.data_fingerprint)].append(entry)
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
    group = (Entry.competition, Entry.data_fingerprint, Entry.name)
    latest = select(func.max(Judgement.id)).join(Judgement.entry).group_by(*group)
    shared = (Entry.competition, Entry.settings, Entry.data_name, Entry.data_fingerprint, Entry.name)
    figures = [getattr(Judgement, name) for name in SAME if name != "name"]
    query = select(*shared, *figures).join(Judgement.entry).where(Judgement.id.in_(latest)).order_by(Judgement.id)
    with database.reached(engine, WHERE), Session(database.reading(engine)) as session:
        return session.execute(query).all()


def _ranked(entries: Sequence[Any]) -> list[Row]:
    competition = Competition(**entries[0].settings)
    scores = points_of_board(competition, [Figures(e.f1, e.ratio, e.latency_ms, e.macs) for e in entries])
    scored = sorted(zip(scores, entries, strict=True), key=lambda s: s[0], reverse=direction(competition) == "higher")
    order = [points for points, _ in scored]
    shown = [(points, {field: getattr(entry, field) for field in SAME}) for points, entry in scored]
    return [Row(rank=order.index(points) + 1, points=points, **fields) for points, fields in shown]


def _entry(session: Session, manifest: Manifest, verdict: Verdict, competition: Competition) -> Entry:
    """Find the entry that was judged before, or make a new one."""
    key = {"competition": verdict.competition_digest, "name": manifest.name, "model_sha256": verdict.model_sha256}
    raw, data = manifest.to_dict(), manifest.data
    known = session.scalars(select(Entry).filter_by(**key))
    same = next((entry for entry in known if entry.manifest == raw), None)
    on = {"settings": asdict(competition), "data_name": data["name"], "data_fingerprint": data["fingerprint"]}
    return same or Entry(**key, **on, manifest=raw, created=manifest.created)
