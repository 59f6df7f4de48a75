"""A backup is made while all runs on, and what it gives back is a board."""

from __future__ import annotations

import shutil
import subprocess
import threading
import uuid
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from hosting import host, judged, submit
from sqlalchemy import Engine
from test_files import put

from harness import postgres
from harness.board import audit, competitions, files, queue, standings, store, teams
from harness.board.backup import backup
from harness.board.tables import Entry
from harness.errors import HarnessError


def test_what_was_acknowledged_before_is_in_it(lite: Engine, tmp_path: Path) -> None:
    """Five backups beside a writer: each copy is sound, and restored it goes on where it was taken."""
    hosted = host(lite, submissions_a_day=10_000)
    team, _ = teams.add(lite, "anna")
    acknowledged, over = [submit(lite, team.id, hosted, "first")], threading.Event()

    def write() -> None:
        while not over.wait(0.01):
            acknowledged.append(submit(lite, team.id, hosted, f"e{len(acknowledged)}"))

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for number in range(5):
            before = len(acknowledged)
            made = backup(lite, tmp_path / "files", tmp_path / f"backup-{number}")
            copy = store.open(f"sqlite:///{made.database}")
            found = store.look(copy, lambda c: set(c.scalars(sa.select(Entry.id)).all()))
            assert set(acknowledged[:before]) <= found
            assert audit.audit(copy).wrong == []
            assert queue.claim(copy, "w", 60).entry == 1
            copy.dispose()
    finally:
        over.set()
        writer.join()


def test_a_restored_board_is_the_same_board(lite: Engine, tmp_path: Path) -> None:
    """Database and files, where the old ones were; what a copy of a file in use would have lost is there."""
    hosted, (team, _) = host(lite), teams.add(lite, "anna")
    kept = put(tmp_path / "files")
    judged(lite, team.id, hosted, "a", 0.8)
    with lite.begin() as connection:
        connection.execute(sa.update(Entry).values(content=kept.content))
    before = standings.public(lite, hosted)
    made = backup(lite, tmp_path / "files", tmp_path / "copies" / "one")
    assert (made.entries, made.lacking) == (1, [])
    lite.dispose()
    for stale in tmp_path.glob("board.db*"):
        stale.unlink()
    shutil.rmtree(tmp_path / "files")
    shutil.copy(made.database, tmp_path / "board.db")
    shutil.copytree(made.folder / "files", tmp_path / "files")
    assert standings.public(store.open(f"sqlite:///{tmp_path}/board.db"), hosted) == before
    assert (files.folder(tmp_path / "files", kept.content) / "model.onnx").read_bytes() == b"model.onnx"


def test_missing_and_damaged_files_are_told(lite: Engine, tmp_path: Path) -> None:
    """A backup that only seems whole is worse than none."""
    hosted, (team, _) = host(lite), teams.add(lite, "anna")
    kept = put(tmp_path / "files")
    for name in "ab":
        submit(lite, team.id, hosted, name)
    with lite.begin() as connection:
        connection.execute(sa.update(Entry).where(Entry.id == 1).values(content=kept.content))
    (kept.folder / "model.onnx").write_bytes(b"other")
    assert backup(lite, tmp_path / "files", tmp_path / "b").entries == 0
    with pytest.raises(HarnessError, match="is there already"):
        backup(lite, tmp_path / "files", tmp_path / "b")
    assert {p.name for p in tmp_path.iterdir() if "part" in p.name} == set()


def dumped(url: str, folder: Path) -> tuple[Path, int, list[standings.Place]]:
    """Judge an entry on a server's board and back it up; return the copy, the log's length before it, and the board."""
    engine = store.open(url)
    hosted, (team, _) = host(engine), teams.add(engine, "anna")
    judged(engine, team.id, hosted, "a", 0.8)
    rows, places = audit.audit(engine).rows, standings.public(engine, hosted)
    made = backup(engine, folder / "files", folder / "b")
    engine.dispose()
    return made.database, rows, places


def read_back(url: str) -> tuple[int, list[standings.Place]]:
    """Open a restored board; return its log's length, once it is found sound, and its standings."""
    engine = store.open(url)
    found = audit.audit(engine)
    assert found.wrong == []
    places = standings.public(engine, competitions.find(engine, "squares"))
    engine.dispose()
    return found.rows, places


def test_a_postgresql_is_dumped_by_its_own_program(postgres_server: Any, postgres_url: str, tmp_path: Path) -> None:
    """And read back into an empty database. Takes some seconds."""
    copy, *before = dumped(postgres_url, tmp_path)
    name = f"r{uuid.uuid4().hex[:12]}"
    postgres_server.psql(f"CREATE DATABASE {name}")
    target = sa.make_url(postgres_url).set(database=name)
    plain = target.difference_update_query(["options"]).render_as_string(hide_password=False)
    subprocess.run([postgres.programs() / "psql", plain, "--quiet", f"--file={copy}"], check=True, capture_output=True)
    assert read_back(target.render_as_string(hide_password=False)) == tuple(before)


def test_a_mariadb_is_dumped_by_its_own_program(mariadb_url: str, tmp_path: Path) -> None:
    """And read back into an empty database. Takes some seconds."""
    copy, *before = dumped(mariadb_url, tmp_path)
    where = sa.make_url(mariadb_url)
    name = f"r{uuid.uuid4().hex[:12]}"
    client = ["mariadb", f"--host={where.host}", f"--port={where.port}", f"--user={where.username}"]
    subprocess.run([*client, f"--execute=CREATE DATABASE {name}"], check=True, capture_output=True)
    with copy.open() as statements:
        subprocess.run([*client, name], stdin=statements, check=True, capture_output=True)
    assert read_back(where.set(database=name).render_as_string(hide_password=False)) == tuple(before)
