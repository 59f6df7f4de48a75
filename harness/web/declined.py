"""A request that isn't answered as asked: one shape for programs, and its status."""

from __future__ import annotations

from dataclasses import dataclass

from harness import database
from harness.board.quota import Full, Shut
from harness.errors import HarnessError
from harness.sandbox.refused import Refused


class Declined(HarnessError):
    """A request that can't be answered.

    Args:
        status: of HTTP, 400 to 599.
        reason: a short machine name.
        what, fix: as `HarnessError`.
        retry_s: when asking again makes sense; None where it doesn't.
    """

    def __init__(self, status: int, reason: str, what: str, fix: str, retry_s: float | None = None) -> None:
        super().__init__(what, fix)
        self.status, self.reason, self.retry_s = status, reason, retry_s


@dataclass(frozen=True)
class Problem:
    """What an error's reply holds. reason: a short machine name. message: what is wrong. fix: what to do next."""

    reason: str
    message: str
    fix: str


def declined(error: HarnessError) -> Declined:
    """Give a user's mistake its status."""
    if isinstance(error, Declined):
        return error
    if isinstance(error, Refused):
        return Declined(413 if error.reason == "size" else 422, error.reason, error.what, error.fix)
    if isinstance(error, Full):
        return Declined(429, "quota", error.what, error.fix, error.retry_s)
    if isinstance(error, Shut):
        return Declined(403, "closed", error.what, error.fix)
    if isinstance(error, database.Away):  # its own words name the database
        return Declined(503, "away", "the database is away", "nothing is lost: send the same again in a minute", 60)
    return Declined(400, "request", error.what, error.fix)


def missing(what: str) -> Declined:
    """Say that there is no such thing: in the same words whether it isn't there or is another team's."""
    return Declined(
        404, "missing", f"{what}: there is none, or it is another team's", "check the number; or give your token"
    )
