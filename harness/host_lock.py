"""Locks of this host: whoever asks, under whatever account, for one of the same name takes turns."""

from __future__ import annotations

import fcntl
import os
import pwd
import stat
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from harness.errors import HarnessError

LOOK_S = 0.02
"""How often is looked whether a lock is free, before the wait is said."""
SHARED = stat.S_ISVTX | stat.S_IWOTH
"""A folder where everybody may have files, and nobody remove another's."""


def folder() -> Path:
    """Return where locks lie: /tmp, and not the temporary folder of one account or job; that where there is no such."""
    common = Path("/tmp")
    try:
        return common if common.stat().st_mode & SHARED == SHARED else Path(tempfile.gettempdir())
    except OSError:
        return Path(tempfile.gettempdir())


@contextmanager
def held(name: str, patience_s: float = 0.0, waiting: Callable[[], None] = lambda: None) -> Iterator[float]:
    """Hold a lock, however long it takes to get it; yields the seconds waited. The system frees it when we die.

    waiting: called once, when it takes longer than `patience_s`.

    Raises:
        HarnessError: its file can't be used, by the fault of another account.
    """
    begin, path = time.monotonic(), folder() / f"harness-{name}.lock"
    while True:
        file = _opened(path)
        try:
            if not _locked_within(file, begin + patience_s):
                waiting()
                fcntl.flock(file, fcntl.LOCK_EX)
            if not _is(file, path):  # removed meanwhile, as those do who tidy up: others lock another file
                continue
            try:
                yield time.monotonic() - begin
            finally:
                fcntl.flock(file, fcntl.LOCK_UN)  # a process forked meanwhile has the file open, too
            return
        finally:
            os.close(file)


def _opened(path: Path) -> int:
    """Open a lock's file, for reading: that is enough to lock it, and all that other accounts may.

    Neither a link is followed nor a file opened that might be made by it: in folders like /tmp Linux refuses that with
    the files of others.
    Source: https://www.kernel.org/doc/html/latest/admin-guide/sysctl/fs.html#protected-regular
    """
    try:
        while True:
            with suppress(FileNotFoundError):
                file = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
                break
            _make(path)
    except OSError as e:
        raise _unusable(path, e.strerror) from e
    if not stat.S_ISREG(os.fstat(file).st_mode):
        os.close(file)
        raise _unusable(path, "no plain file")
    return file


def _make(path: Path) -> None:
    """Make the file, at no moment unreadable for other accounts, whatever the umask."""
    file, draft = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
    try:
        os.fchmod(file, 0o644)
        with suppress(FileExistsError):
            os.link(draft, path)
    finally:
        os.unlink(draft)
        os.close(file)


def _locked_within(file: int, end: float) -> bool:
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            if time.monotonic() > end:
                return False
        time.sleep(LOOK_S)


def _is(file: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file), path.lstat())
    except FileNotFoundError:
        return False


def _unusable(path: Path, reason: str | None) -> HarnessError:
    try:
        owner = path.lstat().st_uid
        with suppress(KeyError):
            owner = pwd.getpwuid(owner).pw_name
    except OSError:
        return HarnessError(
            f"{path}: this host's accounts take turns by this file, and it can't be made: {reason}",
            f"make room there, or let everybody write there: chmod 1777 {path.parent}",
        )
    return HarnessError(
        f"{path}, which belongs to {owner}: this host's accounts take turns by this file, and it can't be used: "
        f"{reason}",
        f"let {owner} or root remove it: rm {path}",
    )
