"""What a user did wrong, said once: the value, where it stood, what is allowed, what to do next."""

from __future__ import annotations

import difflib
import errno
import os
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

T = TypeVar("T")
_RIGHTS = "name one that this account may read and write"
_SPACE = "free some space, or name a folder on another disk"
FIXES = {
    errno.ENOENT: "check the path",
    errno.ENOTDIR: "a part of the path is a file: name a folder",
    errno.EISDIR: "name a file in that folder",
    errno.EEXIST: "a file stands where a folder is due: name another",
    errno.EACCES: _RIGHTS,
    errno.EPERM: _RIGHTS,
    errno.EROFS: _RIGHTS,
    errno.ENOSPC: _SPACE,
    errno.EDQUOT: _SPACE,
    errno.ENAMETOOLONG: "name a shorter one",
    errno.ELOOP: "its links lead to one another: name the file itself",
    errno.EINVAL: "name another",
    errno.ENOTEMPTY: "empty that folder, or name another",
}
"""What to do about a file that can't be used, by the system's own number of the reason."""


class HarnessError(Exception):
    """A mistake the user can mend; printed without a traceback, exit code 2.

    Args:
        what: the wrong value and where it stood, with what is allowed.
        fix: the next thing to do.
    """

    def __init__(self, what: str, fix: str) -> None:
        super().__init__(what, fix)
        self.what = what
        self.fix = fix

    def __str__(self) -> str:
        return f"{self.what}\n  do: {self.fix}"


def nearest(name: str, allowed: Iterable[str]) -> str:
    """Say "did you mean X? " where a known name is close, else nothing."""
    close = difflib.get_close_matches(name, list(allowed), n=1)
    return f"did you mean '{close[0]}'? " if close else ""


def pick(table: Mapping[str, T], name: str, where: str) -> T:
    """Look a name up in a literal table.

    Raises:
        HarnessError: the name is unknown; the message lists those that are known.
    """
    if isinstance(name, str) and name in table:
        return table[name]
    raise HarnessError(
        f"{where}: unknown '{name}'; allowed: {', '.join(sorted(table))}",
        f"{nearest(str(name), table)}use one of the names above",
    )


def within(value: Any, low: float, high: float, where: str, *, whole: bool = False) -> None:
    """Refuse what isn't a number from low to high, both included. whole: nor a whole one.

    Raises:
        HarnessError: it isn't; so it is with NaN, and with true and false, which are numbers to Python alone.
    """
    number = isinstance(value, int if whole else int | float) and not isinstance(value, bool)
    if not number or not low <= value <= high:
        kind = "a whole number" if whole else "a number"
        raise HarnessError(f"{where}={value!r}: allowed: {kind}, {_figure(low)} to {_figure(high)}", f"set {where} so")


def _figure(number: float) -> str:
    return f"{number:,}" if isinstance(number, int) and abs(number) < 1e15 else f"{number:,g}"


def of_files(e: Exception) -> HarnessError | None:
    """Say what is wrong with a file or a folder that the user has named; None where an error is of another kind."""
    if isinstance(e, UnicodeEncodeError):  # what stands for bytes that are no text
        return HarnessError(f"{ascii(e.object[:200])}: a name in another encoding than UTF-8", "rename it")
    if not isinstance(e, OSError) or e.filename is None or e.errno not in FIXES:
        return None
    name = os.fsdecode(e.filename) if isinstance(e.filename, (str, bytes)) else str(e.filename)
    return HarnessError(f"{ascii(name) if not name.isprintable() else name}: {e.strerror}", FIXES[e.errno])
