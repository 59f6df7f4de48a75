"""A database of every released version opens, with the same boards, on each kind of database."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from hosting import CONTEST, RULES, host, judged, squares
from sqlalchemy import Engine

from harness import database
from harness.board import about, audit, competitions, local, log, standings, store, teams, worker
from harness.board.contest import public_mask
from harness.board.rescore import rescore
from harness.board.tables import Base, Competition, Entry, Judgement, Team
from harness.board.terminal import local_as_json
from harness.errors import HarnessError
from harness.rules import competition

RELEASED = Path(__file__).with_name("released")


def released(tmp_path: Path) -> Path:
    """Write a database as harness 0.1 left it, entries written twice at one moment among its rows."""
    path = tmp_path / "old.db"
    with sqlite3.connect(path) as old:
        old.executescript((RELEASED / "0001.sql").read_text(encoding="utf-8"))
    return path


def test_there_is_one_newest_migration_and_the_code_knows_it() -> None:
    """A branch, or a forgotten HEAD, would leave databases behind."""
    config = Config()
    config.set_main_option("script_location", str(store.MIGRATIONS))
    assert ScriptDirectory.from_config(config).get_heads() == [store.HEAD]


def test_the_migrations_come_to_what_a_new_database_has(url: str) -> None:
    """Tables, columns, types, indexes, keys, and the rows that there are from the beginning."""
    engine = database.connect(url)
    upgrade(engine, "head")
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"version_table": store.VERSIONS, "compare_type": same})
        assert compare_metadata(context, Base.metadata) == []
        teams = connection.execute(sa.select(Team.name, Team.handle, Team.url, Team.baseline)).all()
    new = store.open("sqlite://")
    assert log.rows(engine) == log.rows(new)
    assert log.verify(log.rows(engine)) is None
    with new.connect() as connection:
        assert teams == connection.execute(sa.select(Team.name, Team.handle, Team.url, Team.baseline)).all()
    assert local.boards(store.open(url)) == {}


def test_a_new_database_is_what_the_models_say(engine: Engine) -> None:
    """On each kind."""
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"version_table": store.VERSIONS, "compare_type": same})
        assert compare_metadata(context, Base.metadata) == []
        assert context.get_current_revision() == store.HEAD


def upgrade(engine: Engine, revision: str) -> None:
    """Run the migrations up to one."""
    config = Config()
    config.set_main_option("script_location", str(store.MIGRATIONS))
    config.attributes["version_table"] = store.VERSIONS
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, revision)


def same(
    _context: object, _seen: object, _column: object, seen: sa.types.TypeEngine, wanted: sa.types.TypeEngine
) -> bool | None:
    """Let pass what MariaDB stores JSON and truth values as."""
    pairs = {("LONGTEXT", "JSON"), ("TINYINT", "Boolean"), ("TINYINT", "BOOLEAN")}
    return False if (type(seen).__name__, type(wanted).__name__) in pairs else None


@pytest.mark.parametrize("released_as", ["0001"])
def test_an_old_file_opens_with_the_same_boards(tmp_path: Path, released_as: str) -> None:
    """It was made without Alembic; afterwards it takes new verdicts, and nothing refers to what isn't there."""
    engine = store.open(f"sqlite:///{released(tmp_path)}")
    expected = json.loads((RELEASED / f"{released_as}.json").read_text(encoding="utf-8"))
    assert local_as_json(local.boards(engine)) == expected
    with engine.connect() as connection:
        assert connection.exec_driver_sql("PRAGMA foreign_key_check").all() == []
        assert connection.exec_driver_sql("PRAGMA foreign_keys").scalar() == 1
        assert connection.exec_driver_sql("PRAGMA integrity_check").scalar() == "ok"
        twice = connection.scalars(sa.select(Entry.id).where(Entry.name == "zwei")).all()
    assert len(twice) == 2  # on two data sets; the one that was written twice is one
    assert audit.audit(engine).wrong == []


def test_what_was_scored_by_a_formula_with_another_meaning_now_goes_on_as_one_board(tmp_path: Path) -> None:
    """Its hash is the one that its rules have today, so a new verdict joins it; points are by the stored ratio."""
    engine = store.open(f"sqlite:///{released(tmp_path)}")
    with engine.connect() as connection:
        rows = connection.execute(sa.select(Competition.__table__)).mappings().all()
    assert {"f1_squared_fps", "rank_mean", "boostcamp2021b"} == {row["rules"]["formula"] for row in rows}
    for row in rows:
        rules = competition.Competition(**row["rules"])
        assert row["digest"] == rules.digest() and row["handle"] == f"{rules.digest()}/{row['data_fingerprint']}"
        assert row["terms"] == log.digest([rules.meaning(), {}, row["data_fingerprint"]])
        assert row["rules"] == rules.rules()


def test_an_old_server_database_is_brought_up_to_date(url: str, tmp_path: Path) -> None:
    """The rows of the old file, put where harness 0.1 would have put them; no verdict is lost."""
    engine = database.connect(url)
    upgrade(engine, "0001")
    old = sa.create_engine(f"sqlite:///{released(tmp_path)}")
    with engine.begin() as connection, old.connect() as source:
        connection.execute(sa.text(f"DROP TABLE {store.VERSIONS}"))  # there was none
        for name in ("entries", "verdicts"):
            table = sa.Table(name, sa.MetaData(), autoload_with=old)
            rows = source.execute(sa.select(table)).mappings().all()
            connection.execute(sa.insert(table), [dict(row) for row in rows])
    count = len(rows)
    engine.dispose()
    opened = store.open(url)
    expected = json.loads((RELEASED / "0001.json").read_text(encoding="utf-8"))
    assert local_as_json(local.boards(opened)) == expected
    with opened.connect() as connection:
        assert connection.scalar(sa.select(sa.func.count()).select_from(Judgement)) == count


def test_a_competition_from_before_keeps_its_split_and_its_data(url: str) -> None:
    """Its split seed was a number; its one fingerprint is the judge's, who finds the same public images as before."""
    engine, data = database.connect(url), squares()
    upgrade(engine, "0002")
    contest = CONTEST | {"split_seed": 7, "public_share": 0.25}
    row = {
        "handle": "squares", "hosted": True, "rules": RULES.rules(), "digest": RULES.digest(), "contest": contest,
        "terms": "t" * 64, "data_name": "squares", "data_fingerprint": data.judge_fingerprint(),
        "classes": list(data.classes), "public_images": 50, "created": 1.0,
    }  # fmt: skip
    kinds = {"rules": sa.JSON, "contest": sa.JSON, "classes": sa.JSON}
    with engine.begin() as connection:
        table = sa.table("competitions", *(sa.column(name, kinds.get(name)) for name in row))
        connection.execute(sa.insert(table).values(row))
    engine.dispose()
    found = competitions.find(store.open(url), "squares")
    assert (found.fingerprint, found.judge_fingerprint) == (None, data.judge_fingerprint())
    assert found.terms == "t" * 64
    assert (found.contest.public_mask(data.test.labels) == public_mask(data.test.labels, 0.25, 7)).all()
    assert found.contest.split_seed_sha256 == ""  # who has its file has its seed, or can guess it
    worker.check_data(found, data)


def test_a_competition_from_before_there_were_announcements_gets_some(url: str) -> None:
    """It has said nothing yet; from then on it may, on each kind of database, in any script and at any length."""
    engine = store.open(url)
    hosted = host(engine)
    with engine.begin() as connection:  # as it was at 0005
        for name in ("announcements", "descriptions"):
            connection.execute(sa.text(f"DROP TABLE {name}"))
        connection.execute(sa.text(f"UPDATE {store.VERSIONS} SET version_num = '0005'"))
    engine.dispose()
    engine = store.open(url)
    assert about.about(engine, hosted) == about.About("", "", None, [])
    long, longest = "쓰레기 🗑 " * 570, "🗑" * about.LONGEST_DESCRIPTION
    about.describe(engine, hosted, longest, "https://x.org")
    for text in ("first", long):
        about.announce(engine, hosted, text)
    told = about.about(engine, hosted)
    assert (told.description, [a.text for a in told.announcements]) == (longest, [long.strip(), "first"])
    assert audit.audit(engine).wrong == []


@pytest.mark.parametrize("hosts", [True, False])
def test_a_board_whose_engine_has_left_is_read_with_the_others(lite: Engine, hosts: bool) -> None:
    """As before `inductor` left: hosted or not, ranked by other rules too; nobody judges by it."""
    hosted, (team, _) = host(lite), teams.add(lite, "anna")
    host(lite, "other")
    judged(lite, team.id, hosted, "a", 0.7)
    rules = hosted.competition.rules() | {"runtime": "inductor"}
    old = sa.update(Competition).where(Competition.id == hosted.id).values(rules=rules, hosted=hosts)
    local_too = sa.update(Entry).values(kind="scored" if hosts else "local")
    store.transact(lite, lambda c: [c.execute(change) for change in (old, local_too)])
    assert [h.name for h in competitions.hosted(lite)] == (["squares", "other"] if hosts else ["other"])
    if not hosts:
        assert [row.name for rows in local.boards(lite).values() for row in rows] == ["a"]
        return
    assert [place.team for place in standings.public(lite, hosted)] == ["anna"]
    rescore(lite, competitions.find(lite, "squares"), formula="f1_squared_fps")
    found = competitions.find(lite, "squares")
    assert (found.competition.runtime, found.competition.formula) == ("inductor", "f1_squared_fps")
    with pytest.raises(HarnessError, match="competition.runtime: unknown 'inductor'"):
        worker.work(lite, Path("files"), found, squares(), Path("cache"), judge=lambda: None, wait=False)


def test_processes_that_open_an_old_file_at_once_all_succeed(tmp_path: Path) -> None:
    """One brings it up to date, the others wait for it. Takes some seconds: six Pythons."""
    code = f"from harness.board import store; store.open('sqlite:///{released(tmp_path)}')"
    started = [subprocess.Popen([sys.executable, "-c", code]) for _ in range(6)]
    assert [p.wait() for p in started] == [0] * 6


def test_processes_that_open_a_fresh_server_at_once_all_succeed(url: str) -> None:
    """Likewise on each kind of database. Takes some seconds: three Pythons."""
    code = "import sys; from harness.board import store; store.open(sys.argv[1])"
    started = [subprocess.Popen([sys.executable, "-c", code, url]) for _ in range(3)]
    assert [p.wait() for p in started] == [0] * 3
    assert local.boards(store.open(url)) == {}


def test_a_later_versions_database_is_refused(lite: Engine) -> None:
    """It would be damaged by one that doesn't know it."""
    with lite.begin() as connection:
        connection.execute(sa.text(f"UPDATE {store.VERSIONS} SET version_num = '9999'"))
    with pytest.raises(HarnessError, match="later version of the harness.*9999"):
        store.open(lite.url.render_as_string())
