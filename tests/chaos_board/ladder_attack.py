"""An attack on the public board through its API: random submissions, and a vote of those it says are good.

Source: A. Blum, M. Hardt, The Ladder: A Reliable Leaderboard for Machine Learning Competitions, ICML 2015, section 4
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import sqlalchemy as sa
import staged
from sqlalchemy import Engine

from harness.board import competitions, store, teams, worker
from harness.board.ladder import climb
from harness.board.tables import Judgement
from harness.data.split import Dataset, Images
from harness.measure.quality import macro_f1
from harness.record.verdict import Verdict
from harness.rules.competition import Competition
from harness.rules.formulas import Figures
from harness.submission import predictions
from harness.web.app import create_app
from harness.web.guard import Bounds

RULES = Competition(name="coins", f1_target=0.8, reference=staged.RULES["reference"])


@dataclass(frozen=True)
class Setting:
    """The labels under attack: so many on the public and on the private part."""

    classes: int
    public: int
    private: int
    ladder: bool
    seed: int = 0

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(f"class{c}" for c in range(self.classes))


@dataclass(frozen=True)
class Gain:
    """F1 of the vote on both parts. chosen: how many submissions voted."""

    public: float
    private: float
    chosen: int

    @property
    def gap(self) -> float:
        return self.public - self.private


def attack(folder: Path, setting: Setting, submissions: int) -> Gain:
    """Submit random labels, look at what the API tells of each, and submit their vote."""
    board = _Board(folder, setting)
    random = np.random.default_rng(setting.seed + 1)
    guesses = random.integers(0, setting.classes, (submissions, setting.public + setting.private))
    numbers = [board.post(guess, f"e{i}") for i, guess in enumerate(guesses)]
    board.judge()
    told = [board.told(number) for number in numbers]
    chosen = better_than_chance(told, setting.classes)
    number = board.post(vote(guesses[chosen], setting.classes), "vote")
    board.judge()
    return Gain(*board.exact(number), int(chosen.sum()))


def better_than_chance(told: list[float | None], classes: int) -> np.ndarray:
    """Return which submissions the board holds better than chance; one it is silent on stands at the best before."""
    best, held = 0.0, []
    for f1 in told:
        best = best if f1 is None else f1
        held.append(best > 1 / classes)
    return np.array(held)


def vote(guesses: np.ndarray, classes: int) -> np.ndarray:
    """Return for each image the class that most submissions (K, N) give it; one that none gives is class 0."""
    return np.argmax([(guesses == c).sum(axis=0) for c in range(classes)], axis=0)


class _Board:
    """A served competition with one team, and judges that score what was submitted."""

    def __init__(self, folder: Path, setting: Setting) -> None:
        total = setting.public + setting.private
        random = np.random.default_rng(setting.seed)
        self._classes, self._folder = setting.names, folder
        parts = [Images(*_images(random, n, setting.classes, part)) for part, n in (("a", 20), ("b", 20), ("c", total))]
        self._data = Dataset("coins", self._classes, *parts)
        terms = {
            "data": {"name": "coins", "options": {}}, "public_share": setting.public / total,
            "submissions_a_day": 10_000, "ladder": setting.ladder,
        }  # fmt: skip
        self._named = {"name": "coins", "options": {}, "fingerprint": self._data.fingerprint()}
        self._engine: Engine = store.open(f"sqlite:///{folder}/board.db")
        self._hosted = competitions.create(
            self._engine, Competition(**(RULES.__dict__ | {"contest": terms})), self._data
        )
        _, token = teams.add(self._engine, "attackers")
        app = create_app(self._engine, folder / "files", "", Bounds(hosts=staged.HOSTS))
        made = staged.Staged(self._engine, folder / "files", self._hosted, app, {}, {})
        self._client: httpx.Client = staged.client_of(made)
        self._client.headers.update(staged.bearer(token))

    def post(self, guess: np.ndarray, name: str) -> int:
        rows = "id,label\n" + "".join(f"c{i},{self._classes[c]}\n" for i, c in enumerate(guess))
        packed = staged.packed(self._folder / "out", name, rows, classes=list(self._classes), data=self._named)
        reply = self._client.post("/api/entries", data={"kind": "scored"}, files=staged.form(packed))
        assert reply.status_code == 201, reply.text
        return reply.json()["id"]

    def told(self, number: int) -> float | None:
        return self._client.get(f"/api/entries/{number}").json()["entry"]["f1"]

    def judge(self) -> None:
        place = (self._engine, self._folder / "files", self._hosted, self._data, self._folder)
        worker.work(*place, judge=self._score, wait=False, report=lambda line: None)

    def _score(self, folder: Path, dataset: Dataset, rules: Any, cache: Path, public: np.ndarray, **_: Any) -> Verdict:
        found = predictions.read(folder / "predictions.csv", dataset.test.names, dataset.classes)
        f1, f1_public, f1_private = (
            macro_f1(dataset.test.labels[part], found[part], len(dataset.classes))
            for part in (np.ones_like(public), public, ~public)
        )
        return staged.verdict(self._hosted, f1, 1.0, f1_public=f1_public, f1_private=f1_private)

    def exact(self, number: int) -> tuple[float, float]:
        """Return an entry's F1 on both parts, which no reply tells."""
        query = sa.select(Judgement.f1_public, Judgement.f1_private).where(Judgement.entry_id == number)
        return tuple(store.look(self._engine, lambda c: c.execute(query).one()))


def _images(random: np.random.Generator, count: int, classes: int, part: str) -> tuple[Any, Any, Any]:
    labels = random.permutation(np.arange(count) % classes).astype(np.int64)
    pixels = random.integers(0, 255, (count, 2, 2, 3)).astype(np.uint8)
    return pixels, labels, tuple(f"{part}{i}" for i in range(count))


def simulated(setting: Setting, submissions: int) -> dict[str, float]:
    """Attack the rule itself; return the gap of each way to choose who votes.

    all_held: those at whose time the board stood above chance. shown: only those that it showed.
    """
    random, step = np.random.default_rng(setting.seed), setting.public**-0.5 if setting.ladder else 0.0
    total = setting.public + setting.private
    labels = random.permutation(np.arange(total) % setting.classes)
    public = np.arange(total) < setting.public
    guesses = random.integers(0, setting.classes, (submissions, total))
    best, told = None, []
    for exact in (guesses[:, public] == labels[public]).mean(axis=1):
        shown = climb(best, Figures(float(exact), 1.0, 1e6), RULES, step)
        told.append(float(exact) if not step else None if shown is None else shown.f1)
        best = shown or best
    shown_well = np.array([f1 is not None and f1 > 1 / setting.classes for f1 in told])
    ways = {"all_held": better_than_chance(told, setting.classes), "shown": shown_well}
    gaps = {}
    for way, chosen in ways.items():
        right = vote(guesses[chosen], setting.classes) == labels
        gaps[way] = float(right[public].mean() - right[~public].mean()) if chosen.any() else 0.0
    return gaps
