"""What a database holds of Optuna's: nothing yet, the tables that the installed version reads, or something else.

Optuna itself creates what is lacking before it looks, and changes a file of another version by that.
"""

from __future__ import annotations

import shlex
import stat
from functools import cache
from pathlib import Path

import optuna
import sqlalchemy as sa
from alembic.script import ScriptDirectory
from optuna.storages import _rdb
from optuna.storages._rdb.models import BaseModel

from harness import database
from harness.errors import HarnessError

OURS = "harness_"
"""What the names of our own tables begin with, a board's among them."""
LISTED = 5
"""How many tables of another program a message lists."""


def check(url: str) -> bool:
    """Tell whether a database has Optuna's tables, of the version that is installed; nothing is changed.

    Raises:
        HarnessError: they are of another version, or the file is of another program; the message says what to do.
    """
    if not database.is_there(url):
        return False
    _check_no_journal(database.address(url))
    engine = database.reader(url)
    with database.reached(engine), engine.connect() as connection:
        names = set(sa.inspect(connection).get_table_names())
        if "version_info" not in names:  # others have tables of these names, too
            _check_no_other(engine.url, names - {"alembic_version"} if "studies" in names else names)
        found = _versions(connection, names) if "studies" in names else None
    engine.dispose()
    if found is not None:
        _check_versions(engine.url, *found)
    return found is not None


def _versions(connection: sa.Connection, names: set[str]) -> tuple[str, str] | None:
    """Return by which Optuna the tables were made, and their schema; None where they are being made just now."""
    library, schema = None, None
    if "version_info" in names:
        library = connection.scalar(sa.select(sa.column("library_version")).select_from(sa.table("version_info")))
    if "alembic_version" in names:
        schema = connection.scalar(sa.select(sa.column("version_num")).select_from(sa.table("alembic_version")))
    known = library or connection.scalar(sa.select(sa.func.count()).select_from(sa.table("studies")))
    if schema is None and known in (0, optuna.__version__):
        return None
    return library or "unknown", schema or "of before v0.9.0.a"


def _check_versions(url: sa.URL, library: str, schema: str) -> None:
    head, known = _schemas()
    if schema == head:
        return
    what = (
        f"storage.url={database.shown(url)}: was made by Optuna {library} (schema {schema}); "
        f"the installed Optuna {optuna.__version__} reads schema {head}"
    )
    if schema not in known and not schema.startswith("of before"):
        raise HarnessError(
            what, "install that Optuna or a newer one (pip install -U optuna), or take another storage.url"
        )
    raise HarnessError(what, f"{_upgrade(url)}; or take a new one, such as storage.url=sqlite:///runs/new.db")


def _upgrade(url: sa.URL) -> str:
    """Say how a copy is brought to the installed version."""
    if url.get_backend_name() != "sqlite":
        return "bring a copy over: copy the database, then `optuna storage upgrade --storage URL-OF-THE-COPY`"
    path = Path(str(url.database))
    copy = path.with_name(f"{path.stem}-upgraded{path.suffix}")
    quoted, target = shlex.quote(str(copy)), shlex.quote(f"sqlite:///{copy}")
    writable = "" if path.stat().st_mode & stat.S_IWUSR else f"chmod u+w {quoted} && "  # a copy is as its original
    return (
        f"bring a copy over: cp {shlex.quote(str(path))} {quoted} && {writable}"
        f"optuna storage upgrade --storage {target}, then storage.url={target}"
    )


@cache
def _schemas() -> tuple[str, frozenset[str]]:
    """Return the schema that the installed Optuna reads, and all that it can bring to it."""
    scripts = ScriptDirectory(str(Path(_rdb.__file__).with_name("alembic")))
    return str(scripts.get_current_head()), frozenset(s.revision for s in scripts.walk_revisions())


def _check_no_other(url: sa.URL, names: set[str]) -> None:
    """Refuse a file of another program: a server's database may be shared by several.

    Raises:
        HarnessError: it is one.
    """
    others = sorted(names - BaseModel.metadata.tables.keys())
    if url.get_backend_name() == "sqlite" and others and not any(name.startswith(OURS) for name in others):
        listed = ", ".join(others[:LISTED]) + (f" and {len(others) - LISTED} more" if len(others) > LISTED else "")
        raise HarnessError(
            f"storage.url={database.shown(url)}: is a database of another program: it has the tables {listed}, "
            "and none of a study's",
            "take another file, such as storage.url=sqlite:///runs/harness.db; it is made where there is none",
        )


def _check_no_journal(url: sa.URL) -> None:
    """Refuse Optuna's other kind of storage, lines of JSON in a file.

    Raises:
        HarnessError: it is one.
    """
    path = Path(str(url.database))
    if url.get_backend_name() != "sqlite" or not path.is_file():
        return
    try:
        with path.open("rb") as file:
            begins = file.read(12)
    except OSError:  # who opens it as a database says what is wrong
        return
    if begins.startswith(b'{"op_code'):
        code = (
            "import optuna; from optuna.storages import JournalStorage; from optuna.storages.journal import "
            f"JournalFileBackend as File; s = JournalStorage(File({str(path)!r})); "
            "[optuna.copy_study(from_study_name=n, from_storage=s, to_storage='sqlite:///copy.db') "
            "for n in optuna.get_all_study_names(s)]"
        )
        raise HarnessError(
            f"storage.url={database.shown(url)}: is Optuna's journal (lines of JSON), not a SQLite database",
            f"bring a copy over: python -c {shlex.quote(code)}, then storage.url=sqlite:///copy.db",
        )
