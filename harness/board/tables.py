"""The board's tables."""

from __future__ import annotations

from typing import Any

from sqlalchemy import JSON, BigInteger, Double, ForeignKey, String
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship


class Base(DeclarativeBase):
    """What all tables share: how Python's types are stored.

    Double, because MySQL's plain float has seven digits; times are text, because its times have no zone.
    """

    type_annotation_map = {float: Double, dict[str, Any]: JSON, str: String(255)}


class Entry(Base):
    """A submission: one packed model under one name in one competition, on one data set.

    competition: the digest of `settings`, which are all that ranks its entries.
    """

    __tablename__ = "entries"

    id: Mapped[int] = mapped_column(primary_key=True)
    competition: Mapped[str] = mapped_column(String(16), index=True)
    settings: Mapped[dict[str, Any]]
    data_name: Mapped[str]
    data_fingerprint: Mapped[str] = mapped_column(String(64), index=True)
    name: Mapped[str] = mapped_column(String(64), index=True)
    team: Mapped[str | None]
    model_sha256: Mapped[str] = mapped_column(String(64))
    manifest: Mapped[dict[str, Any]]
    created: Mapped[str] = mapped_column(String(32))
    verdicts: Mapped[list[Judgement]] = relationship(back_populates="entry")


class Judgement(Base):
    """One verdict on an entry; an entry can be judged again."""

    __tablename__ = "verdicts"

    id: Mapped[int] = mapped_column(primary_key=True)
    entry_id: Mapped[int] = mapped_column(ForeignKey("entries.id"), index=True)
    formula: Mapped[str] = mapped_column(String(64))
    points: Mapped[float | None]
    f1: Mapped[float]
    ratio: Mapped[float]
    ratio_low: Mapped[float]
    ratio_high: Mapped[float]
    latency_ms: Mapped[float]
    latency_low_ms: Mapped[float]
    latency_high_ms: Mapped[float]
    macs: Mapped[int] = mapped_column(BigInteger)
    size_bytes: Mapped[int] = mapped_column(BigInteger)
    agreement: Mapped[float]
    seconds: Mapped[float]
    samples: Mapped[dict[str, Any]]
    machine: Mapped[dict[str, Any]]
    created: Mapped[str] = mapped_column(String(32))
    entry: Mapped[Entry] = relationship(back_populates="verdicts")


FIGURES = tuple(c.name for c in Judgement.__table__.columns if c.name not in ("id", "entry_id", "entry"))
"""The columns that come from a verdict under the same name."""
