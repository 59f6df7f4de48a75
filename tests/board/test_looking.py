"""The board's reading verbs change no file, whatever version wrote it."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from hashlib import sha256
from pathlib import Path

import in_process
import pytest
from hosting import host
from sqlalchemy import Engine

from harness.board import store
from harness.errors import HarnessError

RELEASED = Path(__file__).with_name("released")
VERBS = (["standings"], ["log"], ["team", "list"], ["audit"])


def state(folder: Path) -> dict[str, str]:
    """The content of each file."""
    return {p.name: sha256(p.read_bytes()).hexdigest() for p in folder.iterdir()}


def looked(folder: Path, *words: str, code: int = 0) -> str:
    """What a verb prints on the board `x.db` of a folder."""
    done = in_process.run(folder, "-m", "harness", *words, "board.url=sqlite:///x.db", code=code)
    return done.stdout + done.stderr


@pytest.mark.parametrize("words", VERBS, ids=" ".join)
@pytest.mark.parametrize("mode", ["DELETE", "WAL"])
def test_looking_at_a_board_changes_nothing(tmp_path: Path, words: list[str], mode: str) -> None:
    """In either of SQLite's ways of writing; nothing is left beside it."""
    store.open(f"sqlite:///{tmp_path}/x.db").dispose()
    with closing(sqlite3.connect(tmp_path / "x.db")) as made:
        made.execute(f"PRAGMA journal_mode = {mode}")
    (tmp_path / "x.db").chmod(0o444)
    before = state(tmp_path)
    looked(tmp_path, *words)
    assert state(tmp_path) == before == {"x.db": before["x.db"]}


@pytest.mark.parametrize("words", VERBS, ids=" ".join)
def test_looking_at_a_board_of_before_shows_it_and_migrates_nothing(tmp_path: Path, words: list[str]) -> None:
    """A copy in memory is brought up to date and shown."""
    with closing(sqlite3.connect(tmp_path / "x.db")) as old:
        old.executescript((RELEASED / "0001.sql").read_text(encoding="utf-8"))
    before = state(tmp_path)
    said = looked(tmp_path, *words)
    assert state(tmp_path) == before
    if words == ["standings"]:
        assert json.loads(looked(tmp_path, *words, "--json"))[0]["rows"]
        store.open(f"sqlite:///{tmp_path}/x.db").dispose()
        assert state(tmp_path) != before  # its own control: who writes does migrate it
        assert looked(tmp_path, *words) == said


@pytest.mark.parametrize("words", VERBS, ids=" ".join)
def test_looking_makes_no_board(tmp_path: Path, words: list[str]) -> None:
    """Where there is none, it is an empty one."""
    said = looked(tmp_path, *words)
    assert list(tmp_path.iterdir()) == []
    assert "no verdict yet in sqlite:///x.db" in said or words != ["standings"]


def test_another_programs_tables_are_not_taken_for_a_boards(tmp_path: Path) -> None:
    """A diary has entries, too: it once got our columns, or a traceback."""
    with closing(sqlite3.connect(tmp_path / "x.db")) as made:
        made.execute("CREATE TABLE entries (id INTEGER PRIMARY KEY, words TEXT)")
    before = state(tmp_path)
    assert "no verdict yet" in looked(tmp_path, "standings")
    with pytest.raises(HarnessError, match="another program's tables stand there: entries"):
        store.open(f"sqlite:///{tmp_path}/x.db")
    assert state(tmp_path)["x.db"] == before["x.db"]


def test_a_servers_board_is_looked_at_without_a_right_to_write(engine: Engine) -> None:
    """On each kind; its own control: the reader can't write."""
    host(engine)
    reader = store.reader(engine.url.render_as_string(hide_password=False))
    from harness.board import competitions, teams

    assert len(competitions.hosted(reader)) == 1
    with pytest.raises(Exception, match="(?i)read.?only"):
        teams.add(reader, "late", "", False)
