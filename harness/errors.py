"""What a user did wrong, said once: the value, where it stood, what is allowed, what to do next."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

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
        raise HarnessError(f"{where}={value!r}: allowed: {kind}, {low:,g} to {high:,g}", f"set {where} to such a one")
