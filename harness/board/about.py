"""What the organiser tells the teams of a competition: a description, where the data are, and announcements."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Engine

from harness import database
from harness.board import log, markdown, store, tables
from harness.board.competitions import ORGANISER, Hosted
from harness.errors import HarnessError

LONGEST_DESCRIPTION, LONGEST_ANNOUNCEMENT = 50_000, 4_000
"""Characters. An announcement stands in the log, whose rows have room for 65,535 bytes on MySQL."""
SHORTENED = "write less, and link the rest"


@dataclass(frozen=True)
class Announcement:
    """text: Markdown. created: seconds since 1970."""

    id: int
    text: str
    created: float


@dataclass(frozen=True)
class About:
    """description: Markdown; "" for none, as for data_url. changed: either was set, seconds since 1970; null: never.

    announcements: the newest first.
    """

    description: str
    data_url: str
    changed: float | None
    announcements: list[Announcement]


def describe(engine: Engine, hosted: Hosted, text: str | None = None, data_url: str | None = None) -> About:
    """Set the description, or the data link, or both; "" takes one away, None leaves it.

    Raises:
        HarnessError: the text is too long or holds signs that aren't text; the link isn't a whole http(s) address.
    """
    values: dict[str, str] = {}
    if text is not None:
        values["text"] = _checked(text, "the description", LONGEST_DESCRIPTION)
    if data_url is not None:
        values["data_url"] = data_url and markdown.address(data_url, "data_url")
    table = tables.Description

    def act(connection: sa.Connection) -> None:
        _hold(connection, hosted)
        row = _description(connection, hosted)
        new = {"text": "", "data_url": ""} | ({} if row is None else {k: row[k] for k in ("text", "data_url")}) | values
        whole = new | {"changed": database.now(connection)}
        change = sa.insert(table).values(competition_id=hosted.id) if row is None else sa.update(table)
        if row is not None:
            change = change.where(table.competition_id == hosted.id)
        connection.execute(change.values(whole))
        told = {"competition": hosted.name, "sha256": digest(new["text"]), "data_url": new["data_url"]}
        log.append(connection, ORGANISER, "describe", told)

    store.transact(engine, act)
    return about(engine, hosted)


def announce(engine: Engine, hosted: Hosted, text: str) -> tuple[Announcement, bool]:
    """Tell the teams something; return it, and whether it is new: said twice running, it is one announcement.

    Raises:
        HarnessError: the text is empty, too long, or holds signs that aren't text.
    """
    said = _checked(text, "the announcement", LONGEST_ANNOUNCEMENT).strip()
    if not said:
        raise HarnessError("the announcement: is empty", 'write it in quotes: announce "We begin on Monday."')

    def act(connection: sa.Connection) -> tuple[Announcement, bool]:
        _hold(connection, hosted)
        newest = _announcements(connection, hosted, 1)
        if newest and newest[0]["text"] == said:
            return Announcement(**newest[0]), False
        values = {"competition_id": hosted.id, "text": said, "created": database.now(connection)}
        (number,) = connection.execute(sa.insert(tables.Announcement).values(values)).inserted_primary_key
        told = {"competition": hosted.name, "announcement": number, "text": said}
        log.append(connection, ORGANISER, "announce", told)
        return Announcement(**_announcements(connection, hosted, 1)[0]), True

    return store.transact(engine, act)


def about(engine: Engine, hosted: Hosted) -> About:
    """Return all that the organiser has said of a competition."""
    row, told = store.look(engine, lambda c: (_description(c, hosted), _announcements(c, hosted)))
    announcements = [Announcement(**found) for found in told]
    if row is None:
        return About("", "", None, announcements)
    return About(row["text"], row["data_url"], row["changed"], announcements)


def newest(engine: Engine, hosted: Hosted) -> Announcement | None:
    """Return the last announcement of a competition; None before the first."""
    return next((Announcement(**row) for row in store.look(engine, lambda c: _announcements(c, hosted, 1))), None)


def digest(text: str) -> str:
    """Hash a description (64 hex digits)."""
    return sha256(text.encode()).hexdigest()


def _hold(connection: sa.Connection, hosted: Hosted) -> None:
    """Have who says something at the same moment wait."""
    table = tables.Competition
    connection.execute(sa.select(table.id).where(table.id == hosted.id).with_for_update())


def _description(connection: sa.Connection, hosted: Hosted) -> Mapping[str, Any] | None:
    table = tables.Description
    columns = (table.text, table.data_url, table.changed)
    return connection.execute(sa.select(*columns).where(table.competition_id == hosted.id)).mappings().first()


def _announcements(connection: sa.Connection, hosted: Hosted, last: int | None = None) -> Sequence[Mapping[str, Any]]:
    table = tables.Announcement
    found = sa.select(table.id, table.text, table.created).where(table.competition_id == hosted.id)
    return connection.execute(found.order_by(table.id.desc()).limit(last)).mappings().all()


def _checked(text: str, what: str, most: int) -> str:
    """Return a text with one kind of line's end."""
    lines = text.replace("\r\n", "\n").replace("\r", "\n")
    if len(lines) > most:
        raise HarnessError(f"{what}: {len(lines):,} characters; allowed: {most:,}", SHORTENED)
    for at, sign in enumerate(lines):
        if sign not in "\n\t" and unicodedata.category(sign) in ("Cc", "Cs"):
            line = lines[:at].count("\n") + 1
            raise HarnessError(f"{what}: line {line}: the sign U+{ord(sign):04X} is no text", "take it out")
    return lines
