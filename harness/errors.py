"""What a user did wrong, said once: the value, where it stood, what is allowed, what to do next."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import TypeVar

T = TypeVar("T")


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
    if name in table:
        return table[name]
    raise HarnessError(
        f"{where}: unknown '{name}'; allowed: {', '.join(sorted(table))}",
        f"{nearest(name, table)}use one of the names above",
    )
