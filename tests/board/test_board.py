"""The board keeps every verdict and ranks the latest of each name."""

from __future__ import annotations

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import count
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console
from sqlalchemy import Engine, select
from sqlalchemy.orm import Session

from harness.board import local, store
from harness.board.local import Key, Row, boards
from harness.board.tables import Entry
from harness.board.terminal import local_as_json as as_json
from harness.board.terminal import local_table as table
from harness.errors import HarnessError
from harness.judge.bootstrap import f1_to_text
from harness.record.manifest import Manifest
from harness.record.verdict import Verdict
from harness.rules.competition import Competition
from harness.rules.formulas import Figures, points

COMPETITION = Competition()
ENGINE, EXAMPLES = store.open("sqlite://"), count(1)
MANIFEST = Manifest(
    name="one",
    files={"model.onnx": "a" * 64, "predictions.csv": "b" * 64},
    input={"shape": ["N", 3, 8, 8], "dtype": "float32"},
    classes=["red", "grün"],
    preprocessing={"resolution_px": 8, "mean": [0.1, 0.2, 0.3], "std": [1.0, 1.0, 1.0]},
    runtime="onnx",
    threads=1,
    candidate={"lr": 0.1},
    data={"name": "squares", "options": {}, "fingerprint": "c" * 64},
    versions={"harness": "0"},
    run={"metrics": {"f1": None}, "train_s": 1.0, "seed": 0},
    created="2026-01-31T12:00:00+00:00",
)


def said(name: str, f1: float, ratio: float, competition: Competition = COMPETITION) -> tuple[Manifest, Verdict]:
    """Make a manifest and the verdict on it."""
    latency_ms, macs = ratio * 0.123456789012345, 10**10
    verdict = Verdict(
        entry=name,
        model_sha256="a" * 64,
        size_bytes=2_500_000,
        f1=f1,
        f1_public=f1,
        f1_private=f1,
        ratio=ratio,
        ratio_low=ratio * 0.99,
        ratio_high=ratio * 1.01,
        latency_ms=latency_ms,
        latency_low_ms=latency_ms * 0.99,
        latency_high_ms=latency_ms * 1.01,
        macs=macs,
        **dict.fromkeys(("points", "points_public", "points_private"), points(competition, Figures(f1, ratio, macs))),
        competition=competition.name,
        competition_digest=competition.digest(),
        formula=competition.formula,
        agreement=1.0,
        checks={"repeat": {"ratio": 1.0}},
        sandbox="strict",
        samples={"samples_ms": [0.1, 0.2]},
        machine={"cpu": "x"},
        created="2026-01-31T12:34:56+00:00",
        seconds=3.2,
    )
    return replace(MANIFEST, name=name), verdict


def record(
    engine: Engine, name: str, f1: float, ratio: float, competition: Competition = COMPETITION, data: str = "c" * 64
) -> int:
    """Store a verdict on an entry packed for a data set."""
    manifest, verdict = said(name, f1, ratio, competition)
    on = replace(manifest, data=manifest.data | {"fingerprint": data})
    return local.record(engine, on, verdict, competition)


def board(engine: Engine, competition: Competition) -> list[Row]:
    """Read the board on the data set of the plain manifest."""
    return local.board(engine, competition, "c" * 64)


def test_the_best_stands_first(engine: Engine) -> None:
    """Lower points lead under the default formula, and every figure comes back to the last digit."""
    for name, f1 in (("middling", 0.7), ("best", 0.8), ("worst", 0.6)):
        record(engine, name, f1, 1.0)
    rows = board(engine, COMPETITION)
    assert [(r.rank, r.name) for r in rows] == [(1, "best"), (2, "middling"), (3, "worst")]
    verdict = said("best", 0.8, 1.0)[1]
    assert rows[0].points == verdict.points
    assert (rows[0].latency_ms, rows[0].macs) == (verdict.latency_ms, verdict.macs)


def test_who_cant_be_told_apart_shares_a_rank_at_home_too(engine: Engine) -> None:
    """By timing, and where the judge kept it by F1's error: the same comparison as on a hosted board."""
    for name, f1, ratio in (("a", 0.8, 1.0), ("b", 0.8, 1.005), ("c", 0.8, 1.2)):
        record(engine, name, f1, ratio)
    assert [(r.rank, r.name) for r in board(engine, COMPETITION)] == [(1, "a"), (1, "b"), (3, "c")]
    for seed, (name, f1, ratio) in enumerate((("a", 0.8, 1.0), ("c", 0.8, 1.2))):
        manifest, verdict = said(name, f1, ratio)
        draws = f1_to_text(np.clip(f1 + 0.05 * np.random.default_rng(seed).standard_normal(1000), 0, 1))
        local.record(engine, manifest, replace(verdict, f1_draws=draws), COMPETITION)
    assert [(r.rank, r.name) for r in board(engine, COMPETITION)] == [(1, "a"), (1, "b"), (1, "c")]


def test_a_formula_of_higher_points_ranks_the_other_way(engine: Engine) -> None:
    """The direction is the formula's."""
    competition = replace(COMPETITION, formula="f1_squared_fps")
    for name, f1 in (("slow", 0.7), ("quick", 0.8)):
        record(engine, name, f1, 1.0, competition)
    assert [r.name for r in board(engine, competition)] == ["quick", "slow"]


def test_mean_ranks_come_from_the_whole_board(engine: Engine) -> None:
    """With rank_mean a verdict has no points; the board gives them."""
    competition = replace(COMPETITION, formula="rank_mean")
    for name, f1, ratio in (("exact", 0.9, 2.0), ("both", 0.8, 1.0), ("neither", 0.7, 3.0)):
        manifest, verdict = said(name, f1, ratio)
        found = replace(verdict, points=None, formula="rank_mean", competition_digest=competition.digest())
        local.record(engine, manifest, found, competition)
    assert {r.name: (r.rank, r.points) for r in board(engine, competition)} == {
        "exact": (1, 1.5),
        "both": (1, 1.5),
        "neither": (3, 3.0),
    }


def test_the_latest_verdict_counts_and_the_earlier_stay(engine: Engine) -> None:
    """Judging again adds a verdict to the same entry; another model under the name is another entry."""
    ids = [record(engine, "one", f1, 1.0) for f1 in (0.8, 0.6)]
    manifest, verdict = said("one", 0.7, 1.0)
    ids.append(local.record(engine, manifest, replace(verdict, model_sha256="d" * 64), COMPETITION))
    assert ids == sorted(set(ids))
    assert [(r.name, r.f1) for r in board(engine, COMPETITION)] == [("one", 0.7)]
    with Session(engine) as session:
        entries = session.scalars(select(Entry).order_by(Entry.id)).all()
        assert [len(e.verdicts) for e in entries] == [2, 1]
        assert entries[0].manifest == manifest.to_dict()
        assert entries[0].verdicts[0].samples == {"samples_ms": [0.1, 0.2]}


def test_another_competitions_entries_stay_out(engine: Engine) -> None:
    """Scores under other rules don't stand on the same board."""
    record(engine, "one", 0.8, 1.0)
    assert board(engine, replace(COMPETITION, f1_target=0.8)) == []


def test_many_writers_lose_nothing(engine: Engine) -> None:
    """Eight at once each get their verdict in."""
    with ThreadPoolExecutor(8) as pool:
        ids = list(pool.map(lambda i: record(engine, f"e{i}", 0.7, 1 + i), range(24)))
    assert len(set(ids)) == 24
    assert [r.rank for r in board(engine, COMPETITION)] == list(range(1, 25))


@settings(max_examples=30)
@given(st.lists(st.tuples(st.sampled_from([0.5, 0.6, 0.7]), st.sampled_from([1.0, 3.0])), max_size=8))
def test_ranks_follow_the_points(entries: list[tuple[float, float]]) -> None:
    """An entry's rank is one more than the number of better entries, ties and all; all others are far apart."""
    competition = replace(COMPETITION, macs_base=float(next(EXAMPLES)))  # a board of its own
    for number, (f1, ratio) in enumerate(entries):
        record(ENGINE, f"e{number}", f1, ratio, competition)
    rows = board(ENGINE, competition)
    assert len(rows) == len(entries)
    assert all(row.rank == 1 + sum(other.points < row.points for other in rows) for row in rows)


def test_processes_that_open_a_fresh_file_at_once_all_succeed(tmp_path: Path) -> None:
    """Nobody trips over the tables that another is creating."""
    code = f"from harness.board import store; store.open('sqlite:///{tmp_path}/board.db')"
    started = [subprocess.Popen([sys.executable, "-c", code]) for _ in range(3)]
    assert [p.wait() for p in started] == [0, 0, 0]


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("postgres://anna:hush@127.0.0.1:9/board", r"anna:\*\*\*@127.0.0.1:9/board: can't be used"),
        ("anna:hush@host", "not a database url"),
    ],
)
def test_a_board_that_cant_be_opened_names_its_setting(url: str, reason: str) -> None:
    """The one door speaks of `board.url`, and not of the password."""
    with pytest.raises(HarnessError, match=f"board.url.*{reason}") as e:
        store.open(url)
    assert "hush" not in str(e.value)


def test_data_sets_are_never_mixed(engine: Engine) -> None:
    """One competition on two data sets is two boards, each with ranks and a latest verdict of its own."""
    for name, f1, data in (("a", 0.7, "c"), ("b", 0.8, "c"), ("a", 0.9, "d"), ("a", 0.6, "c")):
        record(engine, name, f1, 1.0, data=data * 64)
    digest = COMPETITION.digest()
    found = boards(engine)
    assert list(found) == [Key("digits", digest, "squares", x * 64) for x in "cd"]
    assert [[(r.rank, r.name, r.f1) for r in rows] for rows in found.values()] == [
        [(1, "b", 0.8), (2, "a", 0.6)],
        [(1, "a", 0.9)],
    ]
    assert local.board(engine, COMPETITION, "d" * 64) == found["digits", digest, "squares", "d" * 64]
    assert local.board(engine, COMPETITION, "e" * 64) == []


def test_each_board_is_ranked_by_the_rules_stored_with_it(engine: Engine) -> None:
    """The standings need no settings: formula and direction come from the database."""
    fast, other = replace(COMPETITION, formula="f1_squared_fps"), replace(COMPETITION, name="other", f1_target=0.9)
    for competition in (COMPETITION, fast, other):
        for name, f1 in (("slow", 0.7), ("quick", 0.8)):
            record(engine, name, f1, 1.0, competition)
    found = boards(engine)
    assert {key.digest for key in found} == {c.digest() for c in (COMPETITION, fast, other)}
    assert all([row.name for row in rows] == ["quick", "slow"] for rows in found.values())
    assert [key.digest for key in boards(engine, "other")] == [other.digest()]
    with pytest.raises(HarnessError, match="competition=othr: not on the board; there are: digits, other"):
        boards(engine, "othr")


def test_a_verdict_under_other_rules_is_not_recorded(engine: Engine) -> None:
    """A programming mistake can't put a score on the wrong board."""
    manifest, verdict = said("one", 0.8, 1.0)
    with pytest.raises(ValueError, match="the verdict is of competition"):
        local.record(engine, manifest, verdict, replace(COMPETITION, f1_target=0.9))
    assert boards(engine) == {}


def test_the_standings_show_rank_points_f1_time_and_size() -> None:
    """As a table for people and as JSON for programs."""
    engine = store.open("sqlite://")
    record(engine, "one", 0.7, 2.0)
    found = boards(engine)
    console = Console(width=120, record=True)
    for key, rows in found.items():
        console.print(table(key, rows))
    shown = console.export_text()
    for text in (
        "digits",
        "squares (cccccc)",
        "one",
        "1.5000",
        "0.7000",
        "2 [1.98 – 2.02]",
        "0.2469",
        "2.50",
        "2026-01-31 12:34",
    ):
        assert text in shown
    plain = json.loads(json.dumps(as_json(found)))[0]
    assert (plain["competition"], plain["fingerprint"], plain["rows"][0]["points"]) == ("digits", "c" * 64, 1.5)
