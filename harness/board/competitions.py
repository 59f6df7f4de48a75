"""A hosted competition: created once, open for its time, ranked by rules that may change."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy import Engine
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import aliased

from harness import database
from harness.board import log, store, tables
from harness.board.contest import Contest, seconds
from harness.errors import HarnessError, nearest
from harness.rules.competition import Competition
from harness.rules.formulas import formula_of

if TYPE_CHECKING:
    from harness.data.split import Dataset

NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
ORGANISER = "organiser"


@dataclass(frozen=True)
class Hosted:
    """A competition as it is stored. Times are seconds since 1970 by the database's clock.

    competition: the rules of its present board. terms: the hash of rules, contest and data, stored with each score.
    fingerprint: of the data as teams hold them; None for one created when there was but the judge's. judge_fingerprint:
    of the data with the hidden labels. classes: of the data set. public_images: how many of the test images are public.
    now: when this was read.
    """

    id: int
    name: str
    competition: Competition
    contest: Contest
    digest: str
    terms: str
    data_name: str
    fingerprint: str | None
    judge_fingerprint: str
    classes: list[str]
    public_images: int
    opens: float | None
    closes: float | None
    now: float

    @property
    def closed(self) -> bool:
        """Whether its time is over: entries come in no more, and the private board may be seen."""
        return self.closes is not None and self.closes <= self.now

    @property
    def open(self) -> bool:
        """Whether entries may come in."""
        return not self.closed and (self.opens is None or self.opens <= self.now)

    @property
    def step(self) -> float:
        """How much better a public F1 must be to be shown; 0 where the Ladder is off."""
        if not self.contest.ladder:
            return 0.0
        return self.contest.ladder_step or max(1, self.public_images) ** -0.5


def create(engine: Engine, competition: Competition, dataset: Dataset) -> Hosted:
    """Host a competition on a data set, with a new split of its test part.

    Raises:
        HarnessError: the name is taken or no name, the judge would refuse the rules, or the data set is another one.
    """
    contest = Contest.of(competition).drawn()
    formula_of(competition)
    _check_reference(competition)
    if not NAME.fullmatch(competition.name):
        what = f"competition.name='{competition.name}': allowed: 1 to 64 small letters, digits, '.', '_' or '-'"
        raise HarnessError(what, "choose a plain name: it stands in addresses")
    if contest.data["name"] != dataset.name:
        what = f"competition.contest.data.name={contest.data['name']}: the data set given is '{dataset.name}'"
        raise HarnessError(what, "give the one that the competition is about")
    of_judge = dataset.judge_fingerprint()
    values = {
        "handle": competition.name, "hosted": True, "rules": competition.rules(), "digest": competition.digest(),
        "contest": asdict(contest), "terms": terms(competition, contest, of_judge), "data_name": dataset.name,
        "data_fingerprint": dataset.fingerprint(), "judge_fingerprint": of_judge, "classes": list(dataset.classes),
        "public_images": int(contest.public_mask(dataset.test.labels).sum()),
        "opens": seconds(contest.opens, "opens"), "closes": seconds(contest.closes, "closes"),
    }  # fmt: skip

    def act(connection: sa.Connection) -> None:
        now = {"created": database.now(connection)}
        connection.execute(sa.insert(tables.Competition).values(values | now))
        told = {"competition": competition.name, "terms": values["terms"], "rules": competition.rules()}
        log.append(connection, ORGANISER, "create", told | {"contest": contest.shown()})

    try:
        store.transact(engine, act)
    except IntegrityError as e:
        if find(engine, competition.name).terms != values["terms"]:  # else it is this one: its seed is no other's
            what = f"competition {competition.name}: there is one of this name in this database"
            raise HarnessError(what, "choose another name, or another board.url") from e
    return find(engine, competition.name)


def _check_reference(competition: Competition) -> None:
    from harness.rules.reference import built  # which brings torch, that the server's other calls needn't wait for

    built(competition.reference)


def hosted(engine: Engine) -> list[Hosted]:
    """List the hosted competitions, the oldest first."""
    return store.look(engine, lambda c: [_hosted(row) for row in _rows(c, tables.Competition.hosted.is_(True))])


def find(engine: Engine, name: str) -> Hosted:
    """Look a hosted competition up; `name` may be left empty where there is one.

    Raises:
        HarnessError: there is none of this name, or several to choose from.
    """
    found = {h.name: h for h in hosted(engine)}
    if not name and len(found) == 1:
        return next(iter(found.values()))
    if not found:
        raise HarnessError("there is no competition in this database", "python -m harness competition create FILE")
    if name not in found:
        what = f"competition={name}: not in this database; there is: {', '.join(found)}"
        raise HarnessError(what, f"{nearest(name, found)}name one of these")
    return found[name]


def by_id(connection: sa.Connection, competition: int) -> Hosted:
    """Read a competition within a transaction."""
    return _hosted(_rows(connection, tables.Competition.id == competition)[0])


def close(engine: Engine, name: str) -> Hosted:
    """Close a competition now."""
    return _shift(engine, find(engine, name), "close", None)


def reopen(engine: Engine, name: str, closes: str = "") -> Hosted:
    """Open a competition (again), without an end or until `closes` (ISO 8601).

    Raises:
        HarnessError: that is no time, or is over.
    """
    found, until = find(engine, name), seconds(closes, "closes")
    if until is not None and until <= found.now:
        raise HarnessError(f"closes={closes}: is over", "give a time to come")
    return _shift(engine, found, "reopen", until)


def _shift(engine: Engine, found: Hosted, action: str, until: float | None) -> Hosted:
    def act(connection: sa.Connection) -> None:
        now = float(connection.scalar(sa.select(database.now(connection))))
        opens = None if found.opens is None or action == "close" else min(found.opens, now)
        values = {"closes": now} if action == "close" else {"closes": until, "opens": opens}
        connection.execute(sa.update(tables.Competition).where(tables.Competition.id == found.id).values(values))
        log.append(connection, ORGANISER, action, {"competition": found.name, "closes": values["closes"]})

    store.transact(engine, act)
    return find(engine, found.name)


def terms(competition: Competition, contest: Contest, judge_fingerprint: str) -> str:
    """Hash all that a score hangs on (64 hex digits): not the dates, which may be moved.

    Everybody sees it, and can't try labels or splits on it: the split seed, which is in it, is too long to guess.
    """
    side = {name: value for name, value in asdict(contest).items() if name not in ("opens", "closes")}
    return log.digest([competition.meaning(), side, judge_fingerprint])


def _rows(connection: sa.Connection, which: sa.ColumnElement[bool]) -> Sequence[Mapping[str, Any]]:
    """Read competitions with the rules of their newest board."""
    board, competition = tables.Board, tables.Competition
    any_ = aliased(board)
    newest = sa.select(sa.func.max(any_.version)).where(any_.competition_id == competition.id).scalar_subquery()
    joined = (board.competition_id == competition.id) & (board.version == newest)
    query = sa.select(
        *competition.__table__.columns,
        board.rules.label("new_rules"),
        board.terms.label("new_terms"),
        database.now(connection).label("now"),
    )
    query = query.select_from(competition).outerjoin(board, joined).where(which).order_by(competition.id)
    return connection.execute(query).mappings().all()


def _hosted(row: Mapping[str, Any]) -> Hosted:
    rules = Competition.stored(row["new_rules"] or row["rules"])
    of_teams, of_judge = row["data_fingerprint"], row["judge_fingerprint"]
    return Hosted(
        id=row["id"], name=row["handle"], competition=rules, contest=Contest(**row["contest"]), digest=row["digest"],
        terms=row["new_terms"] or row["terms"], data_name=row["data_name"],
        fingerprint=of_judge and of_teams, judge_fingerprint=of_judge or of_teams,
        classes=row["classes"], public_images=row["public_images"], opens=row["opens"], closes=row["closes"],
        now=float(row["now"]),
    )  # fmt: skip
