"""The harness with one safeguard less: what must go wrong then, so that a kill test that finds nothing means something.

A mutant is put into a worker process by setattr; the product's files stay as they are.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
import sqlalchemy as sa
from lease_mutants import impatient, no_expiry, no_grace, no_token

from harness.search.gate import Refused
from harness.study import ledger, pending_results, slots
from harness.study.pending_results import Outcome
from harness.study.study import Shared


@dataclass(frozen=True)
class Mutant:
    """alter: take the safeguard out. scenario: what brings it to light. caught: the checker's columns that show it."""

    alter: Callable[[], None]
    scenario: str
    caught: tuple[str, ...]


def two_transactions() -> None:
    """The slot is settled first, and the trial told then."""

    def count(shared: Shared, slot: slots.Slot, outcome: Outcome) -> bool:
        settled = ledger._step(shared, lambda connection: slots.settle(connection, slot))
        if settled:
            ledger._step(shared, lambda _: ledger._tell(shared, outcome))
        return settled is not False

    ledger.count = count


def no_outbox() -> None:
    """A result isn't on the disk before it is told."""

    def write(folder: Path, outcome: Outcome) -> None: ...

    pending_results.write = write


def counted_budget() -> None:
    """A worker goes on while fewer trials have finished than there are to be, as with Optuna's MaxTrialsCallback."""
    real, table = slots.open_slots, slots.SLOTS

    def open_slots(engine: sa.Engine, study: str, trials: int) -> None:
        real(engine, study, 0)

    def claim(
        connection: sa.Connection, study: str, owner: str, lease_s: float, trials: int, dead: bool = False
    ) -> Any:
        mine = sa.select(sa.func.count()).where(table.c.study == study)
        if connection.scalar(mine.where(table.c.state == "done")) >= trials:
            return None
        number, now = connection.scalar(mine), slots.clock(connection)
        row = {
            "study": study, "number": number, "state": "leased", "token": 1, "failures": 0, "deaths": 0, "owner": owner,
            "begun": now, "lease_s": lease_s, "until": now + lease_s, "warned": False,
        }  # fmt: skip
        connection.execute(sa.insert(table).values(row))
        return slots.Slot(study, number, 1)

    slots.open_slots, slots.claim = open_slots, claim


def lost_left_open() -> None:
    """Who takes up a dead worker's slot leaves its trial as it is."""

    def fail(shared: Shared, trial: int, reason: str) -> None: ...

    ledger._fail = fail


def blind_replay() -> None:
    """A result that was left on the disk is told without a look at what has become of its trial and slot."""

    def replay(shared: Shared, outcome: Outcome) -> str:
        def act(connection: sa.Connection) -> str:
            trial = shared.optuna._storage.get_trial(outcome.trial)
            number = outcome.trial
            if trial.state.is_finished():
                number = ledger._copied(shared, trial, outcome)
            else:
                ledger._tell(shared, outcome)
            slots.overrule(connection, slots.Slot(outcome.study, outcome.slot, outcome.token), number)
            return ledger.COUNTED

        return ledger._step(shared, act)

    ledger.replay = replay


def replaced_in_two() -> None:
    """A refused candidate's trial is closed first, and the next one begun then."""

    def replace(shared: Shared, turn: ledger.Turn, owner: str, refused: Refused) -> ledger.Turn | None:
        def begin(connection: sa.Connection) -> int:
            begun = ledger._begin(shared, owner, turn.slot, None)
            slots.attach(connection, turn.slot, begun)
            return begun

        ledger._step(shared, lambda _: ledger._refuse(shared, turn.trial, refused))
        return ledger.Turn(turn.slot, optuna.Trial(shared.optuna, ledger._step(shared, begin)), None)

    ledger.replace = replace


MUTANTS = {
    "no_token": Mutant(no_token, "a_sleeper_fails_late", ("zombies",)),
    "two_transactions": Mutant(two_transactions, "killed_as_it_tells", ("lost", "zombies", "lost results")),
    "no_outbox": Mutant(no_outbox, "killed_before_it_tells", ("lost results",)),
    "no_expiry": Mutant(no_expiry, "killed_in_its_trial", ("lost", "zombies", "dead workers")),
    "counted_budget": Mutant(counted_budget, "four_share_a_budget_of_five", ("overshoot",)),
    "lost_left_open": Mutant(lost_left_open, "killed_in_its_trial", ("zombies",)),
    "blind_replay": Mutant(blind_replay, "killed_after_it_told", ("counted twice", "overshoot")),
    "replaced_in_two": Mutant(replaced_in_two, "killed_as_it_replaces", ("lost", "refused")),
    "impatient": Mutant(impatient, "the_database_is_locked_for_a_second", ("dead workers",)),
    "no_grace": Mutant(no_grace, "cut_off_for_a_lease", ("healthy dropped",)),
}
