"""One door to every database: careful with writers, silent about passwords."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import threading
import traceback
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import quote

import pytest
import sqlalchemy as sa
from hypothesis import example, given
from hypothesis import strategies as st

from harness import database
from harness.database import mounts
from harness.errors import HarnessError

METADATA = sa.MetaData()
COUNTER = sa.Table("counter", METADATA, sa.Column("id", sa.Integer, primary_key=True), sa.Column("n", sa.Integer))
OTHER = sa.Table("other", METADATA, sa.Column("id", sa.Integer, sa.ForeignKey("counter.id"), primary_key=True))


@pytest.fixture(params=["sqlite", "postgresql"])
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[sa.Engine]:
    """A database with a counter at 0."""
    lite = request.param == "sqlite"
    engine = database.connect(f"sqlite:///{tmp_path}/new/x.db" if lite else request.getfixturevalue("postgres_url"))
    database.create_tables(engine, METADATA)
    with engine.begin() as connection:
        connection.execute(sa.insert(COUNTER).values(id=1, n=0))
    yield engine
    engine.dispose()


def said(call: pytest.ExceptionInfo[HarnessError]) -> str:
    """All that a person or a log could get to see of an error."""
    chain = "".join(traceback.format_exception(call.value))
    return f"{call.value} {call.value!r} {call.value.args} {call.value.__cause__!r} {chain.replace(__file__, '')}"


def test_writers_that_read_first_lose_no_update(engine: sa.Engine) -> None:
    """Eight threads read a number and write it back plus one; on SQLite a late lock would fail or lose some."""

    def add(_: int) -> None:
        with engine.begin() as connection:
            n = connection.scalar(sa.select(COUNTER.c.n).with_for_update())
            connection.execute(sa.update(COUNTER).values(n=n + 1))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(add, range(40)))
    with database.reading(engine).begin() as connection:
        assert connection.scalar(sa.select(COUNTER.c.n)) == 40


def test_a_reader_waits_for_no_writer(engine: sa.Engine) -> None:
    """While a transaction holds the write lock, a reading one sees what was there before."""

    def read() -> int | None:
        with database.reading(engine).begin() as connection:
            return connection.scalar(sa.select(COUNTER.c.n))

    with ThreadPoolExecutor(1) as pool, engine.begin() as writing:
        writing.execute(sa.select(COUNTER).with_for_update())
        assert pool.submit(read).result(timeout=120) == 0


def test_a_second_writer_waits_for_the_first(tmp_path: Path) -> None:
    """SQLite's plain transactions take the lock when they begin, not when they first write."""
    engine = database.connect(f"sqlite:///{tmp_path}/x.db")
    begun = threading.Event()

    def second() -> None:
        with engine.begin():
            begun.set()

    with ThreadPoolExecutor(1) as pool:
        with engine.begin():
            waiting = pool.submit(second)
            assert not begun.wait(0.3)
        waiting.result(timeout=120)
    assert begun.is_set()


def test_a_row_that_points_nowhere_is_refused(engine: sa.Engine) -> None:
    """Foreign keys hold on SQLite too."""
    with pytest.raises(sa.exc.IntegrityError), engine.begin() as connection:
        connection.execute(sa.insert(OTHER).values(id=7))


def test_a_fault_of_ours_is_not_called_a_lost_connection(engine: sa.Engine) -> None:
    """`reached` passes on what the user can't mend."""
    with pytest.raises(sa.exc.IntegrityError), database.reached(engine), engine.begin() as connection:
        connection.execute(sa.insert(COUNTER).values(id=1, n=0))


@pytest.mark.parametrize(
    "query",
    [
        "ssl=true",
        "ssl-mode=REQUIRED",
        "sslmode=require",
        "ssl=verify-full",
        'ssl={"rejectUnauthorized":true}',
        "tls=true",
    ],
)
def test_a_mysql_is_asked_for_tls_as_cloud_providers_write_it(query: str, mariadb_url: str) -> None:
    """The server here has none, and says so: the driver once raised an AttributeError before it asked."""
    with pytest.raises(HarnessError, match=r"storage.url=mysql.*: can't be used: .*SSL"):
        database.connect(f"{mariadb_url}?{query}")
    assert database.connect(f"{mariadb_url}?ssl-mode=DISABLED")
    with pytest.raises(HarnessError, match="ssl-mode=maybe: allowed: true, false, REQUIRED"):
        database.connect(f"{mariadb_url}?ssl-mode=maybe")


@pytest.mark.parametrize(
    "url",
    [
        "mysql://u:hush@127.0.0.1:1/x?ssl_cert=/nope",
        "mysql://u:hush@127.0.0.1:1/x?cursorclass=x",
        "mysql://u:hush@127.0.0.1:1/x?connect_timeout=soon",
        "mysql://u:hush@127.0.0.1:1/x?a=b",
    ],
)
def test_whatever_a_driver_raises_for_an_option_is_one_error(url: str) -> None:
    """With exit code 2, and no password in it."""
    with pytest.raises(HarnessError, match="storage.url=mysql.*can't be used") as caught:
        database.connect(url)
    assert "hush" not in said(caught)


@pytest.mark.parametrize("url", ["sqlite://runs/x.db", "runs/x.db", "sqlite:///file:x.db?uri=true", "jdbc:mysql://h/x"])
def test_what_is_no_url_says_how_one_is_written(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two slashes, none, a URI, another program's."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(HarnessError, match="not a database url\n.*three slashes"):
        database.connect(url)
    assert list(tmp_path.iterdir()) == []


def test_a_tilde_in_a_files_url_is_the_users_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As shells leave it after `=`."""
    monkeypatch.setenv("HOME", str(tmp_path))
    database.connect("sqlite:///~/new/x.db").dispose()
    assert (tmp_path / "new" / "x.db").is_file()


def test_tables_are_created_once_by_many_at_once(postgres_url: str) -> None:
    """Each of eight connections finds all tables afterwards, on a database that had none."""

    def create(_: int) -> list[str]:
        engine = database.connect(postgres_url)
        database.create_tables(engine, METADATA)
        names = sorted(sa.inspect(engine).get_table_names())
        engine.dispose()
        return names

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(create, range(8))) == [["counter", "other"]] * 8


def test_processes_that_open_a_fresh_file_at_once_all_succeed(tmp_path: Path) -> None:
    """Nobody trips over the journal mode that another is setting."""
    code = f"from harness import database as d; d.connect('sqlite:///{tmp_path}/x.db').begin().__enter__()"
    started = [subprocess.Popen([sys.executable, "-c", code]) for _ in range(3)]
    assert [p.wait() for p in started] == [0, 0, 0]


def test_wal_is_used_only_where_it_is_sound(tmp_path: Path) -> None:
    """Old SQLite keeps the rollback journal, even for a file that another program left in WAL."""
    sound = [(3, 44, 6), (3, 44, 9), (3, 50, 7), (3, 51, 3), (3, 53, 0), (4, 0, 0)]
    unsound = [(3, 40, 1), (3, 44, 5), (3, 45, 0), (3, 50, 6), (3, 51, 0), (3, 51, 2)]
    assert all(map(database.wal_is_sound, sound)) and not any(map(database.wal_is_sound, unsound))
    with sqlite3.connect(tmp_path / "x.db") as left:
        left.execute("PRAGMA journal_mode=WAL")
    left.close()
    with database.connect(f"sqlite:///{tmp_path}/x.db").connect() as connection:
        mode = connection.exec_driver_sql("PRAGMA journal_mode").scalar()
        assert connection.exec_driver_sql("PRAGMA busy_timeout").scalar() == 60_000
    assert mode == ("wal" if database.wal_is_sound() else "delete")


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://anna:hush@127.0.0.1:9/board",
        "postgresql+psycopg://anna:hush@127.0.0.1:9/board?password=hush2",
        "postgresql://anna@127.0.0.1:9/board?password=hush&password=hush2&sslmode=disable",
        "postgres://anna:hush@127.0.0.1:9/board",
        "mysql://anna:hush@127.0.0.1:9/board?charset=utf8mb4",
        "mysql+pymysql://anna@127.0.0.1:9/board?passwd=hush",
        "mariadb://anna:hush@127.0.0.1:9/board",
    ],
)
def test_an_unreachable_database_is_named_without_its_password(url: str) -> None:
    """The message has the setting, the url up to the database's name and the reason; no form of password leaks."""
    with pytest.raises(
        HarnessError, match=r"board.url=.*anna:\*\*\*@127.0.0.1:9/board: can't be used: .*\n.*it runs"
    ) as e:
        database.connect(url, "board.url")
    assert "hush" not in said(e)
    assert "hush" not in repr(sa.create_engine(database.address(url))) + database.shown(url)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "anna:hush@host",
        "postgresql://anna:hush@host:port/x",
        "postgresql://anna:hu@sh@host/x",
        "mysql://anna:hush",
        "postgresql://anna:hu@/sh@h/x",
        "sqlite:///runs/\0hush.db",
        "sqlite:///runs/a\nhush.db",
    ],
)
def test_a_url_that_cant_be_read_is_an_error_without_it(url: str) -> None:
    """It may hold a password, so it isn't repeated."""
    with pytest.raises(HarnessError, match="storage.url: not a database url") as e:
        database.connect(url)
    assert not any(part in str(e.value) + repr(e.value) + repr(e.value.__cause__) for part in ("hush", "hu@sh", "sh@h"))


@pytest.mark.parametrize(
    "url", ["sqlite:////dev/null/x/y.db", "sqlite:///", "postgresql://h/x?colour=red", "mysql://h/x?z=1"]
)
def test_a_strange_url_is_a_harness_error_or_works(url: str) -> None:
    """No stray exception reaches the user."""
    try:
        database.connect(url).dispose()
    except HarnessError as e:
        assert "can't be used" in str(e) and e.__cause__ is None


@example(password="0@/", port="9")
@given(password=st.text(min_size=3, max_size=30), port=st.sampled_from(["9", "99999999", "x", ""]))
def test_no_password_ever_shows(password: str, port: str) -> None:
    """Whatever it is made of, and whether or not it was written as a url wants it."""
    hidden = f"{password}q9q"
    for written in (hidden, quote(hidden, safe="", errors="replace")):
        try:
            shown = database.shown(f"postgresql://anna:{written}@127.0.0.1:{port}/board")
        except HarnessError as e:
            shown = f"{e} {e!r} {e.__cause__!r}"
        assert "q9q" not in shown


def test_a_file_that_is_no_database_is_named(tmp_path: Path) -> None:
    """A path to something else is the user's mistake, not a crash."""
    (tmp_path / "photo.png").write_bytes(b"not a database" * 100)
    with pytest.raises(HarnessError, match="storage.url=sqlite:///.*photo.png: can't be used: file is not a database"):
        database.connect(f"sqlite:///{tmp_path}/photo.png")


def test_a_database_that_goes_away_is_an_error_for_the_user(tmp_path: Path) -> None:
    """The file is replaced by something else in mid-work."""
    engine = database.connect(f"sqlite:///{tmp_path}/x.db")
    engine.dispose()
    (tmp_path / "x.db").write_bytes(b"not a database" * 100)
    with (
        pytest.raises(HarnessError, match="can't be used: file is not a database"),
        database.reached(engine),
        engine.begin(),
    ):
        pass


def test_an_unknown_kind_of_database_lists_the_known() -> None:
    """One error for all that we don't speak."""
    with pytest.raises(HarnessError, match="board.url: unknown 'oracle'; allowed: mariadb, mysql, postgres"):
        database.connect("oracle://host/x", "board.url")


MOUNTED = r"""22 1 254:0 / / rw,relatime - ext4 /dev/vda rw
23 22 0:21 / /proc rw,relatime - proc proc rw
42 22 0:39 / /home rw,relatime shared:1 master:2 - nfs4 server:/home rw,vers=4.2
43 42 0:40 / /home/anna/my\040disk\134\011x rw,relatime - ext4 /dev/vdb rw
44 42 0:41 / /home/homes rw - cifs //nas/homes rw
45 22 0:42 / /far rw,nosuid - fuse.sshfs anna@far:/ rw
46 22 0:43 / /far rw - tmpfs none rw
"""


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/", "ext4"),
        ("/work/runs", "ext4"),
        ("/home", "nfs4"),
        ("/home/anna/runs", "nfs4"),
        ("/home/anna/my disk\\\tx/runs", "ext4"),
        ("/home/anna/my disk", "nfs4"),
        ("/home/homes/runs", "cifs"),
        ("/homely", "ext4"),
        ("/far/runs", "tmpfs"),
    ],
)
def test_a_file_system_is_that_of_the_nearest_mount(path: str, kind: str) -> None:
    """Names with blanks are written in octal, a later mount hides an earlier one, and /homely isn't in /home."""
    assert mounts.file_system(Path(path), MOUNTED) == kind


def test_strange_lists_of_mounts_name_nothing() -> None:
    """What can't be read is no reason to refuse a database."""
    for text in ("", "\n\n", "22 1 254:0 / / rw", "nonsense - \n", "1 2 3 4 relative - nfs x rw"):
        assert mounts.file_system(Path("/home"), text) == ""


@pytest.mark.parametrize("kind", ["nfs", "nfs4", "cifs", "smb3", "9p", "lustre", "fuse.sshfs", "fuse.glusterfs"])
def test_sqlite_on_a_network_is_refused(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The message has the value, the kind, the reason and a way out; nothing is created; a link doesn't hide it."""
    near, far = tmp_path / "near", tmp_path / "far"
    near.mkdir()
    (near / "link").symlink_to(far)
    listed = f"22 1 254:0 / / rw - ext4 /dev/vda rw\n42 22 0:39 / {far} rw - {kind} server:/x rw\n"
    (tmp_path / "mountinfo").write_text(listed)
    monkeypatch.setattr(mounts, "MOUNTS", tmp_path / "mountinfo")
    for place in (far, near / "link"):
        with pytest.raises(HarnessError, match=rf"board.url=sqlite:///.*x.db: .*\({kind}\).*locks.*\n.*db start"):
            database.connect(f"sqlite:///{place}/new/x.db", "board.url")
    assert not far.exists()
    database.connect(f"sqlite:///{near}/x.db").dispose()
    database.connect("sqlite://").dispose()


@pytest.mark.parametrize("kind", ["ext4", "xfs", "overlay", "tmpfs", "virtiofs"])
def test_a_disk_of_this_host_is_not_refused(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor is a host whose kernel keeps no list of mounts."""
    (tmp_path / "mountinfo").write_text(f"22 1 254:0 / / rw - {kind} /dev/vda rw\n")
    for listed in (tmp_path / "mountinfo", tmp_path / "nothing"):
        monkeypatch.setattr(mounts, "MOUNTS", listed)
        database.connect(f"sqlite:///{tmp_path}/x.db").dispose()


def test_what_a_url_sets_wins(postgres_url: str) -> None:
    """Limits on silence are ours unless the url has its own; the driver takes them all."""
    assert database.options("postgresql://h/x")["connect_args"]["tcp_user_timeout"] == 30_000
    mine = database.options("postgresql://h/x?tcp_user_timeout=7&connect_timeout=3")["connect_args"]
    assert "tcp_user_timeout" not in mine and "connect_timeout" not in mine and mine["keepalives_idle"] == 10
    engine = database.connect(f"{postgres_url}&tcp_user_timeout=7000")
    with engine.connect() as connection:
        parameters = connection.connection.driver_connection.info.get_parameters()
        assert parameters["tcp_user_timeout"] == "7000" and parameters["keepalives_idle"] == "10"
        assert connection.exec_driver_sql("SHOW lock_timeout").scalar() == "1min"
        assert connection.exec_driver_sql("SHOW idle_in_transaction_session_timeout").scalar() == "1min"
    engine.dispose()
