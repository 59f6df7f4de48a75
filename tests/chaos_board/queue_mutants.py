"""The queue with one safeguard less: what must go wrong then, so that a storm that finds nothing means something.

A mutant is put into a process by setattr; the product's files stay as they are.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from lease_mutants import impatient, no_expiry, no_fence, no_grace, no_token
from sqlalchemy import Engine

from harness import database
from harness.board import competitions, log, queue, quota, store
from harness.board.queue import Claim
from harness.board.tables import FIGURES, Entry, Judgement

PAUSE_S = 0.3
"""Between what ought to be one transaction."""


@dataclass(frozen=True)
class Mutant:
    """alter: take the safeguard out. scenario: what brings it to light. caught: the checker's columns that show it."""

    alter: Callable[[], None]
    scenario: str
    caught: tuple[str, ...]


def endless_tries() -> None:
    """An entry is tried again however many judges have died on it."""
    queue.TRIES = 10**9


def crash_is_charged() -> None:
    """An entry on which judges died counts against the quota."""
    real = queue._failed

    def failed(connection: sa.Connection, entry: int, *more: Any) -> None:
        connection.execute(sa.update(Entry).where(Entry.id == entry).values(charged=True))
        real(connection, entry, *more)

    queue._failed = failed


def check_then_insert() -> None:
    """The quota is looked at first, and the entry inserted then."""
    check, real = quota.check, queue.submit

    def submit(engine: Engine, team: int, competition: int, *entry: Any) -> tuple[int, bool]:
        store.look(engine, lambda c: check(c, competitions.by_id(c, competition), team, "scored"))
        time.sleep(PAUSE_S)
        return real(engine, team, competition, *entry)

    quota.check, queue.submit = lambda *_: None, submit


def unlocked_claim() -> None:
    """What waits is looked up in one transaction, and taken in another."""
    waiting = sa.select(Entry.__table__).where(Entry.state == "WAITING").order_by(Entry.tries, Entry.id).limit(1)

    def claim(engine: Engine, worker: str, lease_s: float, competition: int | None = None) -> Claim | None:
        row = store.look(engine, lambda c: c.execute(waiting).mappings().first())
        if row is None:
            return None
        time.sleep(PAUSE_S)

        def act(connection: sa.Connection) -> Claim:
            values = {
                "state": "RUNNING", "owner": worker, "fence": row["fence"] + 1, "tries": row["tries"] + 1,
                "lease_s": lease_s, "lease_until": database.now(connection) + lease_s,
            }  # fmt: skip
            connection.execute(sa.update(Entry).where(Entry.id == row["id"]).values(values))
            return queue._claimed({**row, **values})

        return store.transact(engine, act)

    queue.claim = claim


def no_key() -> None:
    """A repeated submission is a new one."""
    real = queue.submit

    def submit(engine: Engine, team: int, competition: int, content: str, *more: Any) -> tuple[int, bool]:
        return real(engine, team, competition, content[:32] + secrets.token_hex(16), *more)

    queue.submit = submit


def two_transactions() -> None:
    """The entry is settled first, and its verdict counted then."""

    def finish(engine: Engine, claim: Claim, verdict: Any, *_: Any) -> bool:
        if not store.transact(engine, lambda c: queue._change(c, claim, state="COMPLETE", **queue.NO_LEASE)):
            return False
        store.transact(engine, lambda c: _count(c, claim, verdict))
        store.transact(engine, lambda c: _rank(c, claim, verdict))
        return True

    queue.finish = finish


def ranked_later() -> None:
    """The verdict is counted first, and ranked and logged then."""

    def finish(engine: Engine, claim: Claim, verdict: Any, *_: Any) -> bool:
        def act(connection: sa.Connection) -> bool:
            mine = queue._change(connection, claim, state="COMPLETE", **queue.NO_LEASE)
            if mine:
                _count(connection, claim, verdict)
            return mine

        if not store.transact(engine, act):
            return False
        store.transact(engine, lambda c: _rank(c, claim, verdict))
        return True

    queue.finish = finish


def _count(connection: sa.Connection, claim: Claim, verdict: Any) -> None:
    terms = competitions.by_id(connection, claim.competition).terms
    row = {"entry_id": claim.entry, "terms": terms} | {name: getattr(verdict, name) for name in FIGURES}
    number = connection.execute(sa.insert(Judgement).values(row)).inserted_primary_key[0]
    connection.execute(sa.update(Entry).where(Entry.id == claim.entry).values(verdict_id=number))


def _rank(connection: sa.Connection, claim: Claim, verdict: Any) -> None:
    queue._rank(connection, competitions.by_id(connection, claim.competition), claim, verdict, False)
    log.append(connection, "judge", "finish", {"entry": claim.entry})


MUTANTS = {
    "no_token": Mutant(no_token, "a_sleeper_wakes_in_time", ("counted twice", "late counted")),
    "no_fence": Mutant(no_fence, "a_sleeper_wakes_late", ("counted twice", "late counted")),
    "no_expiry": Mutant(no_expiry, "killed_in_judging", ("stuck",)),
    "no_grace": Mutant(no_grace, "cut_off_for_a_lease", ("healthy dropped",)),
    "endless_tries": Mutant(endless_tries, "a_poisonous_entry", ("stuck", "tried too often")),
    "crash_is_charged": Mutant(crash_is_charged, "a_poisonous_entry", ("charged for a crash",)),
    "check_then_insert": Mutant(check_then_insert, "eight_want_the_last_place", ("over quota",)),
    "unlocked_claim": Mutant(unlocked_claim, "four_want_one_entry", ("held twice",)),
    "no_key": Mutant(no_key, "a_client_repeats_itself", ("duplicates",)),
    "two_transactions": Mutant(two_transactions, "killed_as_it_counts", ("lost",)),
    "ranked_later": Mutant(ranked_later, "killed_as_it_ranks", ("board", "log")),
    "impatient": Mutant(impatient, "the_database_is_locked_for_a_second", ("dead processes",)),
}
