"""Whether several accounts of a host may write to one SQLite file: it has the rights of its folder."""

from __future__ import annotations

import grp
import os
import pwd
import stat
from contextlib import suppress
from pathlib import Path

import sqlalchemy as sa

from harness.database.url import address, shown
from harness.errors import HarnessError

BESIDE = ("-wal", "-shm", "-journal")
"""What SQLite keeps beside a file, with the file's own rights."""


def make(path: Path) -> None:
    """Make a SQLite file, unless it is there, that whoever may write to its folder may write to.

    Left to SQLite it would be its maker's alone, by the usual umask. In a folder like /tmp, where all may write but not
    touch what is others', it stays so. SQLite gives what it keeps beside the file the file's rights.
    Source: https://www.sqlite.org/src/file?name=src/os_unix.c (findCreateFileMode)
    """
    if str(path) == ":memory:" or str(path).startswith("file:"):  # no file, or a path in SQLite's own way
        return
    folder = path.parent.stat()
    with suppress(FileExistsError):
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
        try:
            with suppress(PermissionError):  # not in the folder's group
                os.fchown(file, -1, folder.st_gid)
            facts = os.fstat(file)
            mode, everybodys = stat.S_IMODE(facts.st_mode), folder.st_mode & stat.S_IWOTH
            if folder.st_mode & stat.S_IWGRP and facts.st_gid == folder.st_gid:
                mode |= stat.S_IRGRP | stat.S_IWGRP
            if everybodys:
                mode |= 0o066
            if not (everybodys and folder.st_mode & stat.S_ISVTX):
                os.fchmod(file, mode)
        finally:
            os.close(file)


def check_writable(url: str | sa.URL, setting: str = "storage.url") -> None:
    """Refuse a SQLite file that this account can read but not write to; nothing to say of a server, or of no file yet.

    Raises:
        HarnessError: it can't, with whose what is, and how the other account can share it.
    """
    target = address(url, setting)
    if target.get_backend_name() != "sqlite" or target.database in (None, "", ":memory:"):
        return
    path = Path(str(target.database))
    shut = [each for each in (path.parent, path, *(Path(f"{path}{end}") for end in BESIDE)) if _is_shut(each)]
    if shut:
        owner, rights = _owner(shut[0])
        folder = path.parent.resolve()
        raise HarnessError(
            f"{setting}={shown(target, setting)}: {shut[0]} belongs to {owner} ({rights}), and this account can't "
            "write to it",
            f"let {owner} give it to a group G that both are in: chgrp G {folder} {folder / path.name}*; chmod g+rwxs "
            f"{folder}; chmod g+rw {folder / path.name}*; or take a {setting} of your own, or a PostgreSQL",
        )


def _is_shut(path: Path) -> bool:
    need = os.R_OK | os.W_OK | (os.X_OK if path.is_dir() else 0)
    return path.exists() and not os.access(path, need)


def _owner(path: Path) -> tuple[str, str]:
    """Return who owns a file, by name where it has one, and its rights in words."""
    facts = path.stat()
    user, group = str(facts.st_uid), str(facts.st_gid)
    with suppress(KeyError):
        user = pwd.getpwuid(facts.st_uid).pw_name
    with suppress(KeyError):
        group = grp.getgrgid(facts.st_gid).gr_name
    return user, f"group {group}, {stat.filemode(facts.st_mode)}"
