"""What the board tells, to pages and programs alike: each function is one page, and one route of the API."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal

from sqlalchemy import Engine

from harness.board import entries, queue, queue_stats, quota, standings, teams
from harness.board.competitions import Hosted
from harness.board.entries import EntryView
from harness.board.standings import Place
from harness.board.teams import Team
from harness.rules.formulas import direction
from harness.web.declined import Declined, missing

Which = Literal["public", "private"]
PAGE = 100
"""Teams on a page of the board, and entries on one of the history."""
PAGES_KEPT = 64
FORMULAS = {
    "boostcamp2021b": "0.5 × ratio ÷ time_base + 1 ÷ (1 + e^(−20 × (f1_target − F1)))",
    "boostcamp2021a": "macs ÷ macs_base + (1 − F1 ÷ f1_base), of which half counts above f1_base, and 1 below F1 0.5",
    "f1_squared_fps": "F1² × 1000 ÷ (ratio × reference_ms); 0 below f1_floor",
    "rank_mean": "mean of the rank by F1 and the rank by ratio among all entries",
}
TARGETS = ("f1_target", "time_base", "macs_base", "f1_base", "f1_floor", "reference_ms")


@dataclass(frozen=True)
class Rules:
    """What a competition asks for. Times are seconds since 1970, null for none; sizes bytes; step: the Ladder's, of F1.

    targets: the numbers in the formula. state: "early", "open" or "closed". terms: the hash stored with each score.
    fingerprint: of the data as teams hold them, null where it isn't known here. split_seed_sha256: of the secret that
    parts public from private images, "" for none.
    """

    name: str
    state: str
    formula: str
    formula_text: str
    better: str
    targets: dict[str, float]
    runtime: str
    threads: int
    agreement: float
    data: str
    fingerprint: str | None
    classes: list[str]
    public_images: int
    split_seed_sha256: str
    submissions_a_day: int
    debug_a_day: int
    picks: int
    step: float
    model_bytes: int
    predictions_bytes: int
    manifest_bytes: int
    wall_s: float
    memory_mb: int
    opens: float | None
    closes: float | None
    now: float
    terms: str


@dataclass(frozen=True)
class Standing:
    """A page of a board. version: changes when the board may have. teams: on all pages."""

    board: Which
    version: str
    better: str
    page: int
    pages: int
    teams: int
    places: list[Place]


@dataclass(frozen=True)
class Waiting:
    """An entry in the queue, without its team. expected_s: until its verdict, by the pace of late; null: unknown."""

    id: int
    kind: str
    state: str
    stage: str | None
    ahead: int | None
    created: float
    expected_s: float | None


@dataclass(frozen=True)
class Queue:
    """How the queue stands. judges: at work now. seconds: what an entry takes of late; null before the first."""

    counts: dict[str, int]
    judges: int
    seconds: float | None
    entries: list[Waiting]


@dataclass(frozen=True)
class Entry:
    """An entry. own: it is the asking team's, else only what the board shows is told. rank: on the board shown."""

    entry: EntryView
    own: bool
    rank: int | None
    expected_s: float | None


@dataclass(frozen=True)
class Named:
    """A team as everybody sees it. place: on the board shown; null while it has none."""

    id: int
    name: str
    url: str
    baseline: bool
    place: Place | None


@dataclass(frozen=True)
class Mine:
    """A team as it sees itself. left: of today's quota, by kind. before: the next page's, null on the last."""

    team: Named
    left: dict[str, int]
    picks: int
    picked: list[int]
    closed: bool
    entries: list[EntryView]
    before: int | None


class Boards:
    """The boards as they were last computed: anew only when something happened."""

    def __init__(self, engine: Engine) -> None:
        self._engine, self._lock = engine, threading.Lock()
        self._last: dict[Which, tuple[str, list[Place]]] = {}
        self._pages: OrderedDict[str, str] = OrderedDict()

    def places(self, hosted: Hosted, which: Which) -> tuple[str, list[Place]]:
        """Return a board's version and places; while one caller computes a new one, the others get the one before."""
        version = queue_stats.version(self._engine, hosted)
        last = self._last.get(which)
        if last is not None and last[0] == version:
            return last
        if not self._lock.acquire(blocking=last is None) and last is not None:
            return last
        try:
            if which not in self._last or self._last[which][0] != version:
                compute = standings.public if which == "public" else standings.private
                self._last[which] = version, compute(self._engine, hosted)
            return self._last[which]
        finally:
            self._lock.release()

    def page(self, key: str, make: Callable[[], str]) -> str:
        """Return a page that was made before under this key, or make it."""
        found = self._pages.get(key)
        if found is None:
            found = self._pages[key] = make()
            while len(self._pages) > PAGES_KEPT:
                self._pages.popitem(last=False)
        return found


def rules(hosted: Hosted) -> Rules:
    """Tell what the competition asks for."""
    asked, contest, limits = hosted.competition, hosted.contest, hosted.contest.limits()
    return Rules(
        name=hosted.name, state="closed" if hosted.closed else "open" if hosted.open else "early",
        formula=asked.formula, formula_text=FORMULAS.get(asked.formula, asked.formula), better=direction(asked),
        targets={name: getattr(asked, name) for name in TARGETS if name in FORMULAS.get(asked.formula, "")},
        runtime=asked.runtime, threads=asked.threads, agreement=asked.agreement,
        data=hosted.data_name, fingerprint=hosted.fingerprint, classes=hosted.classes,
        public_images=hosted.public_images, split_seed_sha256=contest.split_seed_sha256,
        submissions_a_day=contest.submissions_a_day, debug_a_day=contest.debug_a_day,
        picks=contest.picks, step=hosted.step, model_bytes=limits.model_bytes,
        predictions_bytes=limits.predictions_bytes, manifest_bytes=limits.manifest_bytes, wall_s=limits.wall_s,
        memory_mb=limits.memory_mb, opens=hosted.opens, closes=hosted.closes, now=hosted.now, terms=hosted.terms,
    )  # fmt: skip


def shown(hosted: Hosted, which: Which | None = None) -> Which:
    """Say which board is meant; without a choice it is the one that counts.

    Raises:
        Declined: the private one, before the close.
    """
    if which == "private" and not hosted.closed:
        raise Declined(
            403, "private", "the private board is shown when the competition has closed", "see the public one"
        )
    return which or ("private" if hosted.closed else "public")


def standing(boards: Boards, hosted: Hosted, which: Which | None = None, page: int = 1) -> Standing:
    """Tell a page of a board.

    Raises:
        Declined: there is no such page, or the board isn't shown yet.
    """
    which = shown(hosted, which)
    version, places = boards.places(hosted, which)
    pages = max(1, -(-len(places) // PAGE))
    if page > pages:
        raise missing(f"page {page}")
    these = places[(page - 1) * PAGE : page * PAGE]
    return Standing(which, version, direction(hosted.competition), page, pages, len(places), these)


def queue_of(engine: Engine, hosted: Hosted) -> Queue:
    """Tell how the queue stands."""
    seconds, judges = queue_stats.pace(engine, hosted)
    waiting, ahead = [], 0
    for e in queue_stats.queued(engine, hosted):
        before = ahead if e.state == "WAITING" else None
        ahead += e.state == "WAITING"
        expected_s = _expected(before, seconds, judges)
        waiting.append(Waiting(e.id, e.kind, e.state, e.stage, before, e.created, expected_s))
    return Queue(queue.counts(engine, hosted.id), judges, seconds, waiting)


def entry(engine: Engine, boards: Boards, hosted: Hosted, number: int, who: Team | None) -> Entry:
    """Tell of an entry: all to its team, to others what stands on the board.

    Raises:
        Declined: there is none that this team may see.
    """
    entry = entries.one(engine, hosted, number)
    places = {p.entry: p for p in boards.places(hosted, shown(hosted))[1]}
    own = entry is not None and who is not None and entry.team_id == who.id
    if entry is None or not (own or number in places):
        raise missing(f"entry {number}")
    if not own:
        counted = [session for session in entry.sessions if session.reason is None]
        entry = replace(entry, message=None, reason=None, checks={}, sizes={}, tries=0, picked=False, sessions=counted)
    return Entry(
        entry,
        own,
        places[number].rank if number in places else None,
        _expected(entry.ahead, *queue_stats.pace(engine, hosted)),
    )


def team(engine: Engine, boards: Boards, hosted: Hosted, number: int) -> Named:
    """Tell of a team what everybody may know.

    Raises:
        Declined: there is none.
    """
    found = next((t for t in teams.listed(engine) if t.id == number), None)
    if found is None:
        raise missing(f"team {number}")
    places = boards.places(hosted, shown(hosted))[1]
    place = next((p for p in places if p.team_id == number), None)
    return Named(found.id, found.name, found.url, found.baseline, place)


def mine(engine: Engine, boards: Boards, hosted: Hosted, who: Team, before: int | None = None) -> Mine:
    """Tell a team all of itself, with a page of its history, the newest first."""
    history = entries.of(engine, hosted, who.id, PAGE, before)
    left: dict[str, Any] = {kind: quota.left(engine, who.id, hosted.id, kind) for kind in ("scored", "debug")}
    return Mine(
        team=team(engine, boards, hosted, who.id), left=left, picks=hosted.contest.picks,
        picked=[e.id for e in history if e.picked], closed=hosted.closed, entries=history,
        before=history[-1].id if len(history) == PAGE else None,
    )  # fmt: skip


def _expected(ahead: int | None, seconds: float | None, judges: int) -> float | None:
    if seconds is None or ahead is None:
        return None
    return ((ahead + judges) // max(1, judges) + 1) * seconds  # what is being judged now counts as one more
