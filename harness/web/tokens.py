"""Who asks: bearer tokens alone, in a header or in a form's field. There are no cookies, so no other site can ask in a
team's name."""

from __future__ import annotations

import hashlib
import threading
import time
from collections import OrderedDict, deque

from sqlalchemy import Engine

from harness.board import teams
from harness.board.teams import Team
from harness.web.declined import Declined

MINUTE_S = 60
REMEMBERED = 10_000
"""Addresses, and tokens, that are kept in mind: what an attacker can make us hold is bounded."""


class Tokens:
    """The door: it looks tokens up, and turns away an address that tries too many wrong ones."""

    def __init__(self, engine: Engine, wrong_a_minute: int) -> None:
        self._engine, self._most = engine, wrong_a_minute
        self._wrong: OrderedDict[str, deque[float]] = OrderedDict()
        self._good: OrderedDict[bytes, None] = OrderedDict()  # hashes of tokens that were right: a guesser among
        self._lock = threading.Lock()  # the computers of one address doesn't lock his neighbours out

    def team(self, token: str, address: str) -> Team:
        """Return whose token this is.

        Raises:
            Declined: nobody's, or revoked (401); or this address has tried too many (429).
        """
        print_ = hashlib.sha256(token.encode(errors="replace")).digest()
        with self._lock:
            if print_ not in self._good and self._tried(address) >= self._most:
                what = f"more than {self._most} wrong tokens a minute came from your address"
                raise Declined(429, "tokens", what, "wait a minute", MINUTE_S)
        team = teams.by_token(self._engine, token)
        with self._lock:
            if team is None:
                self._good.pop(print_, None)
                self._note(address)
            else:
                _keep(self._good, print_, None)
        if team is None:
            raise unknown()
        return team

    def _tried(self, address: str) -> int:
        times = self._wrong.get(address, deque())
        while times and times[0] < time.monotonic() - MINUTE_S:
            times.popleft()
        return len(times)

    def _note(self, address: str) -> None:
        times = self._wrong.get(address) or deque(maxlen=self._most)
        times.append(time.monotonic())
        _keep(self._wrong, address, times)


def unknown() -> Declined:
    """Say that a token is missing, or lets nobody in: in the same words."""
    fix = "give the token that the organiser gave your team: Authorization: Bearer hb_..."
    return Declined(401, "token", "no token, or one that isn't known or was revoked", fix)


def _keep(table: OrderedDict, key: object, value: object) -> None:
    table[key] = value
    table.move_to_end(key)
    while len(table) > REMEMBERED:
        table.popitem(last=False)
