"""Teams and their tokens. A token is shown once; what is stored lets nobody in."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Engine
from sqlalchemy.exc import IntegrityError

from harness import database
from harness.board import log, store, tables
from harness.errors import HarnessError, nearest

MARK, BYTES, PREFIX = "hb_", 32, 8
TOKEN = re.compile(r"hb_[A-Za-z0-9_-]{43}")
LONGEST, LONGEST_URL = 40, 200
HTTPS = re.compile(r"https://[A-Za-z0-9.-]+(:\d{1,5})?(/[A-Za-z0-9._~!$&()*+,;=:@%/?#-]*)?")
SHOWN = ("id", "name", "url", "baseline", "prefix", "created")
NOBODY = "0" * 64


@dataclass(frozen=True)
class Team:
    """Who competes. prefix: the first characters of the token after `hb_`. baseline: it has no rank."""

    id: int
    name: str
    url: str
    baseline: bool
    prefix: str | None
    created: float
    revoked: bool


def add(engine: Engine, name: str, url: str = "", baseline: bool = False) -> tuple[Team, str]:
    """Add a team; return it and its token, which can't be had again.

    Raises:
        HarnessError: the name or the url isn't allowed, or there is a team of this name.
    """
    token = _new_token()
    values = {
        "name": plain(name), "handle": _handle(name), "prefix": _prefix(token), "token_sha256": _hash(token),
        "url": _url(url), "baseline": baseline,
    }  # fmt: skip

    def act(connection: sa.Connection) -> None:
        connection.execute(sa.insert(tables.Team).values(values | {"created": database.now(connection)}))
        log.append(connection, "organiser", "team add", {"team": values["name"], "prefix": values["prefix"]})

    try:
        store.transact(engine, act)
    except IntegrityError as e:
        if by_token(engine, token) is None:  # else the answer to an earlier try was lost, and the team is this one
            fix = "choose another name; or `python -m harness team token NAME` where its token was lost"
            raise HarnessError(f"team '{plain(name)}': there is one of this name", fix) from e
    return find(engine, name), token


def renew(engine: Engine, name: str) -> tuple[Team, str]:
    """Give a team a new token, which can't be had again; the old one lets nobody in any more, revoked or not.

    Raises:
        HarnessError: there is no such team.
    """
    team, token = find(engine, name), _new_token()
    values = {"prefix": _prefix(token), "token_sha256": _hash(token), "revoked": None}

    def act(connection: sa.Connection) -> None:
        connection.execute(sa.update(tables.Team).where(tables.Team.id == team.id).values(values))
        log.append(connection, "organiser", "team token", {"team": team.name, "prefix": values["prefix"]})

    store.transact(engine, act)
    return find(engine, name), token


def by_token(engine: Engine, token: str) -> Team | None:
    """Return whose token this is; None where it is nobody's, or was revoked."""
    if not TOKEN.fullmatch(token):
        return None
    held = tables.Team.prefix == _prefix(token), tables.Team.revoked.is_(None)
    rows = store.look(engine, lambda c: _rows(c, *held))
    sent = _hash(token)
    found = [row for row in rows if hmac.compare_digest(row["token_sha256"] or NOBODY, sent)]
    return _team(found[0]) if found else None


def revoke(engine: Engine, name: str) -> Team:
    """Make a team's token worth nothing; its entries stay.

    Raises:
        HarnessError: there is no such team.
    """
    team = find(engine, name)

    def act(connection: sa.Connection) -> None:
        revoked = {"revoked": database.now(connection), "token_sha256": None}
        changed = sa.update(tables.Team).where(tables.Team.id == team.id, tables.Team.revoked.is_(None))
        if connection.execute(changed.values(revoked)).rowcount:
            log.append(connection, "organiser", "team revoke", {"team": team.name, "prefix": team.prefix})

    store.transact(engine, act)
    return find(engine, name)


def set_url(engine: Engine, team: Team, url: str) -> Team:
    """Note a team's page, such as its W&B project.

    Raises:
        HarnessError: it isn't an https address.
    """
    checked = _url(url)

    def act(connection: sa.Connection) -> None:
        connection.execute(sa.update(tables.Team).where(tables.Team.id == team.id).values(url=checked))
        log.append(connection, f"team {team.name}", "team url", {"team": team.name, "url": checked})

    store.transact(engine, act)
    return find(engine, team.name)


def listed(engine: Engine) -> list[Team]:
    """List the teams, the oldest first, without the one of what people score for themselves."""
    return [_team(row) for row in store.look(engine, lambda c: _rows(c, tables.Team.handle != tables.LOCAL))]


def find(engine: Engine, name: str) -> Team:
    """Look a team up by its name; the one of what people score for themselves is none, and gets no token.

    Raises:
        HarnessError: there is none.
    """
    which = tables.Team.handle == _handle(name), tables.Team.handle != tables.LOCAL
    rows = store.look(engine, lambda c: _rows(c, *which))
    if rows:
        return _team(rows[0])
    there = [team.name for team in listed(engine)]
    what = f"team '{plain(name)}': there is none; there are: {', '.join(there[:20]) or 'no teams yet'}"
    raise HarnessError(what, f"{nearest(name, there)}python -m harness team add NAME")


def plain(name: str) -> str:
    """Return a team's name in the form that is stored (NFC).

    Raises:
        HarnessError: it holds what could be taken for something else: other signs, or ones that aren't seen.
    """
    normal = unicodedata.normalize("NFC", name)
    fine = all(c in " -_" or unicodedata.category(c)[0] == "L" or unicodedata.category(c) == "Nd" for c in normal)
    lone = normal == " ".join(normal.split())  # no blanks around, and not two together
    if not (fine and lone and 1 <= len(normal) <= LONGEST):
        what = f"team {ascii(normal[:60])}: allowed: 1 to {LONGEST} letters, digits, single blanks, '-' and '_'"
        raise HarnessError(what, "choose such a name")
    return normal


def _handle(name: str) -> str:
    return unicodedata.normalize("NFKC", plain(name)).casefold()


def _url(url: str) -> str:
    if url and not (HTTPS.fullmatch(url) and len(url) <= LONGEST_URL):
        what = f"url={ascii(url[:80])}: allowed: an address that begins with https://, at most {LONGEST_URL} characters"
        raise HarnessError(what, "give e.g. https://wandb.ai/TEAM/PROJECT")
    return url


def _new_token() -> str:
    return MARK + secrets.token_urlsafe(BYTES)


def _prefix(token: str) -> str:
    return token.removeprefix(MARK)[:PREFIX]


def _hash(token: str) -> str:
    """Hash a token. It is 256 random bits: no slow hash is needed, and no salt."""
    return hashlib.sha256(token.encode()).hexdigest()


def _rows(connection: sa.Connection, *which: sa.ColumnElement[bool]) -> Sequence[Any]:
    query = sa.select(tables.Team.__table__).where(*which).order_by(tables.Team.id)
    return connection.execute(query).mappings().all()


def _team(row: Any) -> Team:
    return Team(**{name: row[name] for name in SHOWN}, revoked=row["revoked"] is not None)
