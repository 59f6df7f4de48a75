"""The board's database: verdicts in, ranking out."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import URL, Engine, create_engine, event, func, make_url, select
from sqlalchemy.exc import ArgumentError, DBAPIError, InterfaceError, OperationalError
from sqlalchemy.orm import Session

from harness.board.tables import FIGURES, Base, Entry, Judgement
from harness.errors import HarnessError, pick
from harness.measure.competition import Competition, Figures, direction, points_of_board

if TYPE_CHECKING:  # the judge brings torch and OpenCV, which a look at the standings needn't wait for
    from harness.submission.judge import Verdict
    from harness.submission.manifest import Manifest

DRIVERS = {
    "sqlite": "sqlite",
    "postgresql": "postgresql+psycopg",
    "postgres": "postgresql+psycopg",
    "mysql": "mysql+pymysql",
    "mariadb": "mariadb+pymysql",
}
PATIENCE_S = 60
"""How long a SQLite writer waits for another."""
REACH_S = 10
"""How long a server may take to answer at first."""


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
    address = _address(url)
    lite = address.get_backend_name() == "sqlite"
    if lite and address.database and address.database != ":memory:":
        Path(address.database).parent.mkdir(parents=True, exist_ok=True)
    wait = {"timeout": PATIENCE_S} if lite else {"connect_timeout": REACH_S}
    engine = create_engine(address, connect_args=wait, pool_pre_ping=not lite)
    if lite:
        _prepare_sqlite(engine)
    with _reached(engine):
        engine.connect().close()
        try:
            _create(engine)
        except DBAPIError:  # another process created them in the same moment: now they are there
            _create(engine)
    return engine


def _create(engine: Engine) -> None:
    with _writing(engine).begin() as connection:
        Base.metadata.create_all(connection)


def record(engine: Engine, manifest: Manifest, verdict: Verdict) -> int:
    """Store a verdict, and its entry where it is new; return the verdict's id."""
    with _reached(engine), Session(_writing(engine)) as session, session.begin():
        judgement = Judgement(**{name: getattr(verdict, name) for name in FIGURES})
        judgement.entry = _entry(session, manifest, verdict)
        session.add(judgement)
        session.flush()
        return judgement.id


def board(engine: Engine, competition: Competition) -> list[Row]:
    """Rank the latest verdict of every entry name, the best first."""
    latest = select(func.max(Judgement.id)).join(Judgement.entry)
    latest = latest.where(Entry.competition == competition.digest()).group_by(Entry.name)
    query = select(Entry.name, Judgement).join(Judgement.entry).where(Judgement.id.in_(latest)).order_by(Judgement.id)
    with _reached(engine), Session(engine) as session:
        found = [(name, judgement) for name, judgement in session.execute(query)]
    figures = [Figures(j.f1, j.ratio, j.latency_ms, j.macs) for _, j in found]
    scored = list(zip(points_of_board(competition, figures), found, strict=True))
    scored.sort(key=lambda s: s[0], reverse=direction(competition) == "higher")
    order = [points for points, _ in scored]
    return [_row(order.index(points) + 1, name, points, judgement) for points, (name, judgement) in scored]


def _row(rank: int, name: str, points: float, judgement: Judgement) -> Row:
    same = ("f1", "latency_ms", "latency_low_ms", "latency_high_ms", "ratio", "macs", "size_bytes", "created")
    return Row(rank, name, points, **{field: getattr(judgement, field) for field in same})


def _entry(session: Session, manifest: Manifest, verdict: Verdict) -> Entry:
    """Find the entry that was judged before, or make a new one."""
    key = {"competition": verdict.competition_digest, "name": manifest.name, "model_sha256": verdict.model_sha256}
    raw = manifest.to_dict()
    known = session.scalars(select(Entry).filter_by(**key))
    same = next((entry for entry in known if entry.manifest == raw), None)
    return same or Entry(**key, manifest=raw, created=manifest.created)


def _address(url: str) -> URL:
    try:
        address = make_url(url)
    except (ArgumentError, ValueError) as e:  # the url isn't shown: it may hold a password
        raise HarnessError("board.url can't be read", "write it as sqlite:///runs/board.db or postgresql://…") from e
    kind = address.get_backend_name() if address.drivername not in DRIVERS else address.drivername
    return address.set(drivername=pick(DRIVERS, kind, "board.url"))


def _writing(engine: Engine) -> Engine:
    """Take SQLite's write lock at the start, not in mid-transaction, where waiting for it fails."""
    return engine.execution_options(immediate=True)


def _prepare_sqlite(engine: Engine) -> None:
    @event.listens_for(engine, "connect")
    def connected(connection: Any, _: Any) -> None:
        connection.isolation_level = None  # the driver would begin by itself, and late
        connection.execute("PRAGMA foreign_keys=ON")
        if wal_is_safe(sqlite3.sqlite_version_info):
            connection.execute("PRAGMA journal_mode=WAL")

    @event.listens_for(engine, "begin")
    def begun(connection: Any) -> None:
        immediate = connection.get_execution_options().get("immediate")
        connection.exec_driver_sql("BEGIN IMMEDIATE" if immediate else "BEGIN")


def wal_is_safe(version: tuple[int, ...]) -> bool:
    """Tell whether this SQLite may use WAL: older ones can corrupt it with several processes.

    Source: https://sqlite.org/wal.html#walresetbug
    """
    return version >= (3, 51, 3) or (3, 50, 7) <= version < (3, 51) or (3, 44, 6) <= version < (3, 45)


@contextmanager
def _reached(engine: Engine) -> Iterator[None]:
    try:
        yield
    except DBAPIError as e:
        not_a_database = type(e.orig) is sqlite3.DatabaseError
        if not (isinstance(e, (OperationalError, InterfaceError)) or not_a_database):
            raise  # a fault of ours, not of the connection
        shown = engine.url.set(query={}).render_as_string(hide_password=True)
        reason = (str(e.orig).strip().splitlines() or ["no reason given"])[0]
        fix = "check that it runs, and the host, port, user, password and database name (or file) in board.url"
        raise HarnessError(f"database {shown}: {reason}", fix) from e
