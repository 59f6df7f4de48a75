"""What the board's tests share: a hosted competition, entries without files, a verdict without a judge."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from hashlib import sha256
from typing import Any

import numpy as np
import sqlalchemy as sa
from sqlalchemy import Engine

from harness.board import competitions, queue
from harness.board.competitions import Hosted
from harness.data.split import Dataset, Images
from harness.record.verdict import Verdict
from harness.rules.competition import Competition
from harness.rules.formulas import Figures, points

CONTEST = {"data": {"name": "squares", "options": {}}, "submissions_a_day": 5, "picks": 2}
REFERENCE = {"model": {"stages": [{"block": "conv", "channels": 8}]}, "resolution_px": 8, "classes": 2}
RULES = Competition(name="squares", reference=REFERENCE, contest=CONTEST)
SIZES = {"model.onnx": 10, "predictions.csv": 10, "manifest.json": 10}


def twice(engine: Engine, act: Callable[[sa.Connection], Any], patience_s: float | None = None) -> Any:
    """Stand for `store.transact` where the answer to the first commit is lost."""
    for _ in range(2):
        with engine.begin() as connection:
            found = act(connection)
    return found


def squares(images: int = 200) -> Dataset:
    """Make a data set of two classes whose test part has so many images."""

    def part(name: str, count: int) -> Images:
        labels = np.arange(count) % 2
        pixels = np.repeat(labels.astype(np.uint8) * 255, 8 * 8 * 3).reshape(count, 8, 8, 3)
        return Images(pixels, labels.astype(np.int64), tuple(f"{name}{i}" for i in range(count)))

    return Dataset("squares", ("red", "grün"), part("a", 20), part("b", 10), part("c", images))


def host(engine: Engine, name: str = "squares", **changes: Any) -> Hosted:
    """Host a competition, with changes to its contest. images: in the test part."""
    rules, dataset = changes.pop("rules", RULES), squares(changes.pop("images", 200))
    return competitions.create(engine, replace(rules, name=name, contest=CONTEST | changes), dataset)


def content(text: str) -> str:
    """Make up the hash of an entry's files."""
    return sha256(text.encode()).hexdigest()


def manifest(name: str) -> dict[str, Any]:
    """Make up what of a manifest the queue looks at."""
    return {"name": name, "files": {"model.onnx": content(name), "predictions.csv": content("p" + name)}}


def submit(engine: Engine, team: int, hosted: Hosted, name: str, kind: Any = "scored") -> int:
    """Put an entry into the queue; return its id."""
    return queue.submit(engine, team, hosted.id, content(name), SIZES, manifest(name), kind)[0]


def verdict(
    name: str,
    f1: float,
    ratio: float = 1.0,
    rules: Competition = RULES,
    private: float | None = None,
    kept: Mapping[str, str] | None = None,
) -> Verdict:
    """Make up a verdict. private: F1 on the private part, if it is another one. kept: what the judge keeps of F1."""
    hidden = f1 if private is None else private
    latency_ms, macs = ratio * 0.123456789012345, 10**10
    scores = [points(rules, Figures(f, ratio, macs)) for f in ((f1 + hidden) / 2, f1, hidden)]
    return Verdict(
        entry=name, model_sha256=content(name), size_bytes=2_500_000, f1=(f1 + hidden) / 2, f1_public=f1,
        f1_private=hidden, ratio=ratio, ratio_low=ratio * 0.99, ratio_high=ratio * 1.01, latency_ms=latency_ms,
        latency_low_ms=latency_ms * 0.99, latency_high_ms=latency_ms * 1.01, macs=macs, points=scores[0],
        points_public=scores[1], points_private=scores[2], competition=rules.name, competition_digest=rules.digest(),
        formula=rules.formula, agreement=1.0, checks={"repeat": {"ratio": 1.0}}, sandbox="strict",
        samples={"samples_ms": [0.1, 0.2]}, machine={"cpu": "x"}, created="2026-01-31T12:34:56+00:00", seconds=3.2,
        **(kept or {}),
    )  # fmt: skip


def judged(engine: Engine, team: int, hosted: Hosted, name: str, f1: float, ratio: float = 1.0, **more: Any) -> int:
    """Submit an entry and count a verdict on it; return its id."""
    entry = submit(engine, team, hosted, name)
    claim = queue.claim(engine, f"judge of {name}", 60, hosted.id)
    assert claim is not None
    assert claim.entry == entry
    assert queue.finish(engine, claim, verdict(name, f1, ratio, hosted.competition, **more))
    return entry
