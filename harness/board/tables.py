"""The board's tables. `migrations` makes them; a change here needs a migration there."""

from __future__ import annotations

import json
from hashlib import sha256
from typing import Any

from sqlalchemy import JSON, BigInteger, Double, ForeignKey, Index, MetaData, String, Text, UniqueConstraint
from sqlalchemy.dialects.mysql import MEDIUMTEXT
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship

NAMES = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "fk": "fk_%(table_name)s_%(column_0_name)s",
}


LONG = Text().with_variant(MEDIUMTEXT(), "mysql")
"""Text that may be longer than the 65,535 bytes of MySQL's."""


class Base(DeclarativeBase):
    """What all tables share: how Python's types are stored.

    Double, because MySQL's plain float has seven digits. Times that decide something are seconds since 1970 by the
    database's clock; the others are ISO 8601 text in UTC, because MySQL's times have no zone.
    """

    metadata = MetaData(naming_convention=NAMES)
    type_annotation_map = {float: Double, dict[str, Any]: JSON, list[Any]: JSON, str: String(255)}


class Competition(Base):
    """What entries compete in: rules, data and, where it is hosted for teams, its times.

    handle: the name of a hosted one; `DIGEST/FINGERPRINT` of what somebody scores for himself. rules: of
    `rules.competition`, as at the creation. terms: the hash of all that scores hang on. data_fingerprint: of the data
    as teams hold them. judge_fingerprint: with the hidden labels; null where data_fingerprint is that one, as before
    there were two, and for what people score for themselves. classes: the data's names.
    """

    __tablename__ = "competitions"

    id: Mapped[int] = mapped_column(primary_key=True)
    handle: Mapped[str] = mapped_column(String(128), unique=True)
    hosted: Mapped[bool]
    rules: Mapped[dict[str, Any]]
    digest: Mapped[str] = mapped_column(String(16), index=True)
    contest: Mapped[dict[str, Any]]
    terms: Mapped[str] = mapped_column(String(64))
    data_name: Mapped[str]
    data_fingerprint: Mapped[str] = mapped_column(String(64))
    judge_fingerprint: Mapped[str | None] = mapped_column(String(64))
    classes: Mapped[list[Any]]
    public_images: Mapped[int]
    opens: Mapped[float | None]
    closes: Mapped[float | None]
    created: Mapped[float]


class Team(Base):
    """Who competes. handle: the name as it is compared. A team without a token can't submit over the network."""

    __tablename__ = "teams"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(64))
    handle: Mapped[str] = mapped_column(String(128), unique=True)
    prefix: Mapped[str | None] = mapped_column(String(8), index=True)
    token_sha256: Mapped[str | None] = mapped_column(String(64))
    url: Mapped[str]
    baseline: Mapped[bool]
    revoked: Mapped[float | None]
    created: Mapped[float]


class Entry(Base):
    """A submission, and its place in the queue.

    content: the hash of its files. state: WAITING, RUNNING, COMPLETE, FAIL. fence: counts the claims; an old holder's
    writes don't match. tries: judgements begun and not given back. charged: it counts against the quota of its day.
    verdict_id: the latest. session_id: the latest that counts of those in which that verdict's time was taken again;
    none where it never was. f1_shown: what the Ladder lets be seen. placed: it stands on the public board for its team.
    """

    __tablename__ = "entries"
    __table_args__ = (
        UniqueConstraint("competition_id", "team_id", "kind", "content"),
        Index("ix_entries_queue", "state", "tries", "id", "competition_id"),
        Index("ix_entries_quota", "competition_id", "team_id", "kind", "day", "charged"),
        Index("ix_entries_state", "competition_id", "state"),
        Index("ix_entries_newest", "competition_id", "id"),
        Index("ix_entries_placed", "competition_id", "placed"),
        Index("ix_entries_picked", "competition_id", "picked"),
        Index("ix_entries_lease", "state", "lease_until"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    competition_id: Mapped[int] = mapped_column(ForeignKey("competitions.id"))
    team_id: Mapped[int] = mapped_column(ForeignKey("teams.id"), index=True)
    name: Mapped[str] = mapped_column(String(64))
    kind: Mapped[str] = mapped_column(String(8))
    content: Mapped[str] = mapped_column(String(64))
    model_sha256: Mapped[str] = mapped_column(String(64))
    manifest: Mapped[dict[str, Any]]
    sizes: Mapped[dict[str, Any]]
    created: Mapped[float]
    day: Mapped[str] = mapped_column(String(10))
    charged: Mapped[bool]
    state: Mapped[str] = mapped_column(String(8))
    stage: Mapped[str | None] = mapped_column(String(16))
    reason: Mapped[str | None] = mapped_column(String(32))
    message: Mapped[str | None] = mapped_column(Text)
    tries: Mapped[int]
    owner: Mapped[str | None] = mapped_column(String(200))
    fence: Mapped[int]
    lease_s: Mapped[float | None]
    lease_until: Mapped[float | None]
    warned: Mapped[bool]
    picked: Mapped[bool]
    verdict_id: Mapped[int | None]
    session_id: Mapped[int | None]
    f1_shown: Mapped[float | None]
    placed: Mapped[bool]
    verdicts: Mapped[list[Judgement]] = relationship(back_populates="entry")


class Judgement(Base):
    """One verdict on an entry; an entry can be judged again.

    terms: of the competition when it was judged. predicted: the class of each test image; f1_draws and those of the two
    parts: what F1 would have been with other images (`judge.bootstrap`); none of an older verdict.
    """

    __tablename__ = "verdicts"

    id: Mapped[int] = mapped_column(primary_key=True)
    entry_id: Mapped[int] = mapped_column(ForeignKey("entries.id"), index=True)
    terms: Mapped[str] = mapped_column(String(64))
    formula: Mapped[str] = mapped_column(String(64))
    points: Mapped[float | None]
    points_public: Mapped[float | None]
    points_private: Mapped[float | None]
    f1: Mapped[float]
    f1_public: Mapped[float]
    f1_private: Mapped[float]
    ratio: Mapped[float]
    ratio_low: Mapped[float]
    ratio_high: Mapped[float]
    latency_ms: Mapped[float]
    latency_low_ms: Mapped[float]
    latency_high_ms: Mapped[float]
    macs: Mapped[int] = mapped_column(BigInteger)
    size_bytes: Mapped[int] = mapped_column(BigInteger)
    agreement: Mapped[float]
    checks: Mapped[dict[str, Any]]
    sandbox: Mapped[str] = mapped_column(String(8))
    seconds: Mapped[float]
    samples: Mapped[dict[str, Any]]
    machine: Mapped[dict[str, Any]]
    created: Mapped[str] = mapped_column(String(32))
    predicted: Mapped[str | None] = mapped_column(LONG)
    f1_draws: Mapped[str | None] = mapped_column(Text)
    f1_public_draws: Mapped[str | None] = mapped_column(Text)
    f1_private_draws: Mapped[str | None] = mapped_column(Text)
    entry: Mapped[Entry] = relationship(back_populates="verdicts")


class Session(Base):
    """One more measurement of the time of an entry that has a verdict, which itself stays as it was given.

    state: RUNNING (a judge holds it by a lease), COMPLETE (it counts), FAIL (it doesn't, by `reason`). begun: seconds
    since 1970. host: the judge's. timed: how many measurements `pooled`, the figures that count since then, is of: the
    verdict's own and all sessions up to this one. The other figures are this session's own.
    """

    __tablename__ = "sessions"
    __table_args__ = (Index("ix_sessions_lease", "state", "lease_until"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    verdict_id: Mapped[int] = mapped_column(ForeignKey("verdicts.id"), index=True)
    state: Mapped[str] = mapped_column(String(8))
    reason: Mapped[str | None] = mapped_column(String(32))
    begun: Mapped[float]
    host: Mapped[str]
    owner: Mapped[str | None] = mapped_column(String(200))
    fence: Mapped[int]
    lease_s: Mapped[float | None]
    lease_until: Mapped[float | None]
    warned: Mapped[bool]
    timed: Mapped[int | None]
    pooled: Mapped[dict[str, Any] | None]
    ratio: Mapped[float | None]
    ratio_low: Mapped[float | None]
    ratio_high: Mapped[float | None]
    latency_ms: Mapped[float | None]
    latency_low_ms: Mapped[float | None]
    latency_high_ms: Mapped[float | None]
    checks: Mapped[dict[str, Any] | None]
    samples: Mapped[dict[str, Any] | None]
    machine: Mapped[dict[str, Any] | None]
    created: Mapped[str | None] = mapped_column(String(32))
    seconds: Mapped[float | None]


class Board(Base):
    """The rules that a competition's board is ranked by since it was scored anew: the highest version counts.

    changes: the ranks before and after.
    """

    __tablename__ = "boards"

    competition_id: Mapped[int] = mapped_column(ForeignKey("competitions.id"), primary_key=True)
    version: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    rules: Mapped[dict[str, Any]]
    terms: Mapped[str] = mapped_column(String(64))
    changes: Mapped[list[Any]]
    created: Mapped[float]


class Description(Base):
    """What the organiser says of a competition: Markdown, and where its data are to be had; "" for what isn't said."""

    __tablename__ = "descriptions"

    competition_id: Mapped[int] = mapped_column(ForeignKey("competitions.id"), primary_key=True, autoincrement=False)
    text: Mapped[str] = mapped_column(LONG)
    data_url: Mapped[str] = mapped_column(Text)
    changed: Mapped[float]


class Announcement(Base):
    """What the organiser has told the teams of a competition: Markdown. The highest number is the newest."""

    __tablename__ = "announcements"

    id: Mapped[int] = mapped_column(primary_key=True)
    competition_id: Mapped[int] = mapped_column(ForeignKey("competitions.id"), index=True)
    text: Mapped[str] = mapped_column(Text)
    created: Mapped[float]


class Log(Base):
    """What was done, in a chain: `hash` covers the row and the hash before it. Row 0 begins it."""

    __tablename__ = "log"

    id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    at: Mapped[str] = mapped_column(String(32))
    actor: Mapped[str]
    action: Mapped[str] = mapped_column(String(32))
    detail: Mapped[str] = mapped_column(Text)
    before: Mapped[str] = mapped_column(String(64))
    hash: Mapped[str] = mapped_column(String(64))


LOCAL = "local"
"""The team of what people score for themselves, and the kind of its entries."""
BEGIN = {"id": 0, "at": "", "actor": "", "action": "begin", "detail": "{}", "before": "0" * 64}
FIRST = BEGIN | {"hash": sha256(json.dumps([*BEGIN.values()], separators=(",", ":")).encode()).hexdigest()}
"""The log's first row."""
FIGURES = tuple(c.name for c in Judgement.__table__.columns if c.name not in ("id", "entry_id", "terms"))
"""The columns that come from a verdict under the same name."""
