"""Databases of another Optuna, or of another program: one error, and not a byte of them changes, nor of ours."""

from __future__ import annotations

import json
import os
import shlex
import sqlite3
import subprocess
import sys
from contextlib import closing
from hashlib import sha256
from pathlib import Path

import in_process
import optuna
import pytest
import sqlalchemy as sa
from cheap import alone, opened, result

from harness.errors import HarnessError
from harness.study import schema, status
from harness.study.study import load, there_is

DATA = Path(__file__).parents[2] / os.environ.get("HARNESS_DATA", "../shared/data") / "optuna"
OTHERS = sorted(DATA.glob("*.db"))
READS = ("status", "front", "report")


def written_by(path: Path, library: str, revision: str | None) -> Path:
    """Write a database as another Optuna left it: its tables of that time, and one study."""
    with closing(sqlite3.connect(path)) as made:
        made.executescript(
            "CREATE TABLE studies (study_id INTEGER PRIMARY KEY, study_name VARCHAR(512) NOT NULL);"
            "CREATE TABLE version_info (version_info_id INTEGER PRIMARY KEY, schema_version INTEGER, "
            "library_version VARCHAR(256));"
            "CREATE TABLE trials (trial_id INTEGER PRIMARY KEY, number INTEGER, study_id INTEGER, state VARCHAR(8));"
            f"INSERT INTO studies VALUES (1, 'automl101'); INSERT INTO version_info VALUES (1, 12, '{library}');"
        )
        if revision:
            made.execute("CREATE TABLE alembic_version (version_num VARCHAR(32) PRIMARY KEY)")
            made.execute("INSERT INTO alembic_version VALUES (?)", (revision,))
        made.commit()
    return path


def state(folder: Path) -> dict[str, str]:
    """The content of each file."""
    return {p.name: sha256(p.read_bytes()).hexdigest() for p in folder.iterdir() if p.is_file()}


@pytest.mark.parametrize("verb", [*READS, "tune.py", "train.py"])
@pytest.mark.parametrize(
    ("library", "revision", "said", "fix"),
    [
        ("2.10.0", "v2.6.0.a", "was made by Optuna 2.10.0 (schema v2.6.0.a)", "optuna storage upgrade --storage 'sqlite:///"),
        ("0.8.0", None, "was made by Optuna 0.8.0 (schema of before v0.9.0.a)", "optuna storage upgrade --storage"),
        ("9.1.0", "v9.0.0.a", "was made by Optuna 9.1.0 (schema v9.0.0.a)", "pip install -U optuna"),
    ],
    ids=["older", "before-versions", "newer"],
)  # fmt: skip
def test_a_database_of_another_optuna_is_one_error(
    tmp_path: Path, verb: str, library: str, revision: str | None, said: str, fix: str
) -> None:
    """In every command that opens one, the writing ones too; the file stays as it is and gets none beside it."""
    written_by(tmp_path / "old one.db", library, revision)
    before = state(tmp_path)
    words = [verb, "study.name=automl101"] if verb == "tune.py" else [verb, "study=automl101"]
    words = words if verb.endswith(".py") else ["-m", "harness", *words]
    done = in_process.run(tmp_path, *words, "storage.url=sqlite:///old one.db", code=2)
    first, second = done.stderr.splitlines()
    assert first.startswith("error: storage.url=sqlite:///old one.db: ")
    assert f"installed Optuna {optuna.__version__}" in first
    assert said in first and fix in second
    assert state(tmp_path) == before


@pytest.mark.skipif(not OTHERS, reason="no databases of other people here (HARNESS_DATA)")
@pytest.mark.parametrize("path", OTHERS, ids=lambda path: path.stem)
def test_what_others_made_can_be_brought_over_by_the_command_that_is_named(tmp_path: Path, path: Path) -> None:
    """Real files: an error with a command that works on a copy, or that no `tune.py` made it."""
    copy = tmp_path / path.name
    copy.write_bytes(path.read_bytes())
    with closing(sqlite3.connect(copy)) as looked:
        (name,) = looked.execute("SELECT study_name FROM studies ORDER BY study_id DESC LIMIT 1").fetchone()
    before = state(tmp_path)
    with pytest.raises(HarnessError) as caught:
        load(name, f"sqlite:///{copy}")
    assert state(tmp_path) == before
    if "was made by Optuna" in caught.value.what:
        command = caught.value.fix.removeprefix("bring a copy over: ").partition(", then")[0]
        environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
        subprocess.run(["bash", "-c", command], check=True, capture_output=True, env=environment)
        target = caught.value.fix.partition("storage.url=")[2].partition(";")[0]
        with pytest.raises(HarnessError) as caught:
            load(name, shlex.split(target)[0])
    assert "not made by `python tune.py`" in caught.value.what
    assert state(tmp_path)[path.name] == before[path.name]


@pytest.mark.parametrize("verb", READS)
def test_a_reading_verb_makes_no_database(tmp_path: Path, verb: str) -> None:
    """A mistyped path is an error; nothing is there afterwards."""
    done = in_process.run(tmp_path, "-m", "harness", verb, "study=ours", "storage.url=sqlite:///nwe/x.db", code=2)
    assert "no such study in sqlite:///nwe/x.db: no such file" in done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("words", [["-m", "harness", "status", "study=x"], ["tune.py", "study.name=x"]])
@pytest.mark.parametrize("more", ["", "CREATE TABLE studies (id INTEGER, title TEXT)"])
def test_another_programs_database_is_left_alone(tmp_path: Path, words: list[str], more: str) -> None:
    """It once got all of Optuna's tables; so did one with a table `studies` of its own."""
    with closing(sqlite3.connect(tmp_path / "photos.db")) as made:
        made.executescript(f"CREATE TABLE albums (id INTEGER PRIMARY KEY); {more}")
    before = state(tmp_path)
    done = in_process.run(tmp_path, *words, "storage.url=sqlite:///photos.db", code=2)
    assert "is a database of another program: it has the tables albums" in done.stderr
    assert state(tmp_path) == before


def test_studies_of_no_known_version_are_left_alone(tmp_path: Path) -> None:
    """They were once taken for a database that is being made just now."""
    with closing(sqlite3.connect(tmp_path / "old.db")) as made, made:
        made.execute("CREATE TABLE studies (study_id INTEGER PRIMARY KEY, study_name TEXT)")
        made.execute("INSERT INTO studies VALUES (1, 'x')")
    before = state(tmp_path)
    done = in_process.run(tmp_path, "tune.py", "study.name=x", "storage.url=sqlite:///old.db", code=2)
    assert "was made by Optuna unknown" in done.stderr
    assert state(tmp_path) == before


def test_optunas_journal_is_named_with_a_command_that_copies_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other kind of storage, whose files are often called .db too."""
    backend = optuna.storages.journal.JournalFileBackend(str(tmp_path / "study.db"))
    optuna.create_study(study_name="theirs", storage=optuna.storages.JournalStorage(backend))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(HarnessError, match="is Optuna's journal") as caught:
        load("theirs", "sqlite:///study.db")
    words = shlex.split(caught.value.fix.removeprefix("bring a copy over: ").partition(", then")[0])
    subprocess.run([sys.executable, *words[1:]], check=True, capture_output=True, cwd=tmp_path)
    with pytest.raises(HarnessError, match="not made by `python tune.py`"):
        load("theirs", "sqlite:///copy.db")


@pytest.mark.parametrize("content", [b"", b"no database at all, but long enough to be looked at by SQLite" * 40])
def test_what_is_no_database_stays_what_it_is(tmp_path: Path, content: bytes) -> None:
    """An empty file has no study; any other is no database."""
    (tmp_path / "x.db").write_bytes(content)
    with pytest.raises(HarnessError, match="no such study" if not content else "file is not a database"):
        load("ours", f"sqlite:///{tmp_path}/x.db")
    assert (tmp_path / "x.db").read_bytes() == content


def test_a_folder_is_no_database(tmp_path: Path) -> None:
    """Reading and writing."""
    with pytest.raises(HarnessError, match="is a folder; allowed: a file"):
        load("ours", f"sqlite:///{tmp_path}")
    with pytest.raises(HarnessError, match="is a folder; allowed: a file"):
        opened(f"sqlite:///{tmp_path}", 2)


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """A database of ours with a finished study, alone in its folder."""
    path = tmp_path / "own" / "x.db"
    shared = opened(f"sqlite:///{path}", 2)
    alone(shared, tmp_path / "runs", result)
    shared.engine.dispose()
    return path


@pytest.mark.parametrize("mode", ["DELETE", "WAL"])
def test_looking_at_a_study_changes_nothing(own: Path, mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whichever way the file is written, by this machine's SQLite or another's; no file appears beside it."""
    with closing(sqlite3.connect(own)) as made:
        made.execute(f"PRAGMA journal_mode = {mode}")
    own.chmod(0o444)
    before = state(own.parent)
    shared = load("cheap", f"sqlite:///{own}")
    assert status.look(shared).slots["done"] == 2 and status.look(shared).best is not None
    assert state(own.parent) == before == {"x.db": before["x.db"]}
    assert there_is("other", f"sqlite:///{own}") is None
    with pytest.raises(sa.exc.OperationalError, match="readonly"), shared.engine.begin() as connection:
        connection.execute(sa.text("DELETE FROM studies"))  # its own control: the connection can't write
    assert state(own.parent) == before


def test_who_looks_sees_what_a_writer_at_work_has_written(own: Path) -> None:
    """With a write-ahead log: the writer's last rows lie beside the file."""
    with closing(sqlite3.connect(own)) as writer:
        writer.execute("PRAGMA journal_mode = WAL")
        writer.execute("UPDATE harness_slots SET state = 'given_up' WHERE number = 0")
        writer.commit()
        shared = load("cheap", f"sqlite:///{own}")
        assert status.look(shared).slots["given_up"] == 1
        writer.execute("UPDATE harness_slots SET state = 'given_up'")
        writer.commit()
        assert status.look(shared).slots["given_up"] == 2


def test_what_a_killed_writer_has_left_is_read_as_if_undone(own: Path) -> None:
    """Only a writer may undo it in place: a reader looks at a copy."""
    code = (
        "import os, signal, sqlite3, sys; c = sqlite3.connect(sys.argv[1]); c.execute('PRAGMA journal_mode = DELETE'); "
        "c.execute('PRAGMA cache_size = 1'); c.execute('BEGIN IMMEDIATE'); "
        "c.execute(\"UPDATE harness_slots SET state = 'given_up'\"); "
        "[c.execute(f'CREATE TABLE junk{n} AS SELECT zeroblob(9000) b') for n in range(50)]; "
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    subprocess.run([sys.executable, "-c", code, str(own)], check=False)
    before = state(own.parent)
    assert set(before) == {"x.db", "x.db-journal"}  # a transaction that is to be undone
    assert status.look(load("cheap", f"sqlite:///{own}")).slots["done"] == 2
    assert state(own.parent) == before


def test_tables_that_are_being_made_are_no_other_versions(tmp_path: Path) -> None:
    """A reader that comes between two steps of their creation finds no study yet, and a writer goes on."""
    written_by(tmp_path / "x.db", optuna.__version__, None)
    assert not schema.check(f"sqlite:///{tmp_path}/x.db")


@pytest.mark.parametrize("kind", ["postgres", "mariadb"])
def test_a_server_refuses_what_a_reader_would_change(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    """Its own control of that the reading verbs write nothing there."""
    url = request.getfixturevalue(f"{kind}_url")
    alone(opened(url, 2), tmp_path, result)
    shared = load("cheap", url)
    assert status.look(shared).slots["done"] == 2
    with pytest.raises(sa.exc.DBAPIError, match="(?i)read.only"), shared.engine.begin() as connection:
        connection.execute(sa.text("DELETE FROM trials"))
    assert json.dumps(status.look(shared).to_dict())
