"""N trials are N over all workers, whatever becomes of the workers."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from harness import database
from harness.database import lease
from harness.errors import HarnessError
from harness.study import slots
from harness.study.slots import SLOTS, Slot

Settle = Callable[[sa.Connection, Slot], bool]


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A new database of either kind."""
    return f"sqlite:///{tmp_path}/x.db" if request.param == "sqlite" else request.getfixturevalue("postgres_url")


@pytest.fixture
def engine(url: str) -> Iterator[sa.Engine]:
    """An open database with one slot."""
    engine = database.connect(url)
    slots.open_slots(engine, "s", 1)
    yield engine
    engine.dispose()


def on(engine: sa.Engine, act: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
    """Do one thing in a transaction of its own."""
    with engine.begin() as connection:
        return act(connection, *arguments, **options)


def work(url: str, study: str, trials: int, stall_s: float = 0.0) -> int:
    """Be a worker that settles all it can get; return how often a settlement counted.

    The first holder of every fifth slot stalls beyond its lease, as a paused machine does.
    """
    engine, counted = database.connect(url), 0
    slots.open_slots(engine, study, trials)
    while True:
        slot = on(engine, slots.claim, study, "me", lease_s=stall_s / 2 or 60.0, trials=trials)
        if slot is None:
            left = slots.counts(engine, study, trials)
            if not left["free"] and not left["leased"]:
                engine.dispose()
                return counted
            time.sleep(0.02)
            continue
        on(engine, slots.attach, slot, slot.number)
        if slot.number % 5 == 0 and slot.token == 1:
            time.sleep(stall_s)
        counted += on(engine, slots.settle, slot)


def test_eight_threads_settle_exactly_the_budget(url: str) -> None:
    """They create the slots at the same moment, too."""
    with ThreadPoolExecutor(8) as pool:
        counted = list(pool.map(lambda _: work(url, "s", 20), range(8)))
    assert sum(counted) == 20
    assert slots.counts(database.connect(url), "s", 20) == {"free": 0, "leased": 0, "done": 20, "given_up": 0}


def crew(url: str) -> int:
    """Be a process of two workers."""
    with ThreadPoolExecutor(2) as pool:
        return sum(pool.map(lambda _: work(url, "s", 40), range(2)))


def test_workers_in_four_processes_settle_exactly_the_budget(url: str) -> None:
    """As on a team's machines. Starting the Pythons takes most of the time: over 5 s on two busy cores."""
    with ProcessPoolExecutor(4, mp_context=multiprocessing.get_context("spawn")) as pool:
        counted = list(pool.map(crew, [url] * 4))
    assert sum(counted) == 40
    assert slots.counts(database.connect(url), "s", 40)["done"] == 40


def test_stalled_workers_neither_lose_nor_double_a_trial(url: str) -> None:
    """Leases run out, others take the slots up, the late ones don't count."""
    with ThreadPoolExecutor(8) as pool:
        counted = list(pool.map(lambda _: work(url, "s", 15, stall_s=2.0), range(8)))
    assert sum(counted) == 15
    assert slots.counts(database.connect(url), "s", 15)["done"] == 15


def age(engine: sa.Engine, by_s: float) -> None:
    """Let so many seconds of every lease go by."""
    on(engine, lambda c: c.execute(sa.update(SLOTS).values(until=SLOTS.c.until - by_s)))


def late(engine: sa.Engine, owner: str, trials: int = 1) -> Slot | None:
    """Claim a slot whose lease, of 60 s, has run out: seen once, and again after the grace."""
    age(engine, 61)
    assert on(engine, slots.claim, "s", owner, lease_s=60, trials=trials) is None
    age(engine, 31)
    return on(engine, slots.claim, "s", owner, lease_s=60, trials=trials)


def twice_held(engine: sa.Engine) -> tuple[Slot, Slot]:
    """Let a lease run out and another worker take the slot; return both holders' slots."""
    first = on(engine, slots.claim, "s", "first", lease_s=60, trials=1)
    assert first is not None and on(engine, slots.attach, first, 7)
    second = late(engine, "second")
    assert second is not None
    return first, second


def after_an_outage(engine: sa.Engine) -> tuple[Slot | None, bool]:
    """Let a holder be away for longer than its lease, and another come first, twice; return what each gets."""
    holder = on(engine, slots.claim, "s", "holder", lease_s=60, trials=1)
    age(engine, 65)
    taken = on(engine, slots.claim, "s", "other", lease_s=60, trials=1)
    age(engine, 5)
    taken = taken or on(engine, slots.claim, "s", "other", lease_s=60, trials=1)
    return taken, on(engine, slots.renew, holder, 60)


def test_a_holder_that_could_not_reach_the_database_keeps_its_slot(engine: sa.Engine) -> None:
    """It beats again soon after the outage, within the grace."""
    assert after_an_outage(engine) == (None, True)
    assert on(engine, slots.claim, "s", "other", lease_s=60, trials=1) is None


def test_without_the_grace_it_would_lose_it(engine: sa.Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """The negative control."""
    monkeypatch.setattr(lease, "GRACE", 0.0)
    taken, kept = after_an_outage(engine)
    assert taken is not None and not kept


def test_an_expired_lease_is_taken_up_and_the_late_holder_is_refused(engine: sa.Engine) -> None:
    """The second learns which trial was lost; the first can do nothing any more."""
    first, second = twice_held(engine)
    assert (first.lost, second.lost) == (None, 7)
    assert (second.number, second.token) == (first.number, first.token + 1)
    assert not on(engine, slots.renew, first, 60)
    assert not on(engine, slots.attach, first, 8)
    assert not on(engine, slots.release, first, failed=True)
    assert not on(engine, slots.settle, first)
    assert on(engine, slots.settle, second) is True
    assert on(engine, slots.settle, second) is None  # it was ours already: a commit whose answer was lost
    assert on(engine, slots.settle, first) is False


def settle_without_token(connection: sa.Connection, slot: Slot) -> bool:
    """Settle as one would at first: by the slot's number alone."""
    mine = (SLOTS.c.study == slot.study) & (SLOTS.c.number == slot.number)
    return connection.execute(sa.update(SLOTS).where(mine).values(state="done")).rowcount == 1


@pytest.mark.parametrize(("settle", "counted"), [(slots.settle, 1), (settle_without_token, 2)])
def test_it_is_the_token_that_keeps_a_late_writer_out(engine: sa.Engine, settle: Settle, counted: int) -> None:
    """The negative control: without it one slot counts twice, and this test sees it."""
    assert sum(on(engine, settle, slot) for slot in twice_held(engine)) == counted


def test_a_renewed_lease_stays(engine: sa.Engine) -> None:
    """A worker that beats is not taken for dead."""
    slot = on(engine, slots.claim, "s", "first", lease_s=60, trials=1)
    assert slot is not None and on(engine, slots.renew, slot, 600)
    assert late(engine, "second") is None
    assert on(engine, slots.settle, slot)


def test_three_failures_give_a_slot_up(engine: sa.Engine) -> None:
    """A trial that fails is tried again twice, with another candidate; an interrupted one costs nothing."""
    for failed in (False, True, False, True, True):
        slot = on(engine, slots.claim, "s", "me", lease_s=60, trials=1)
        assert slot is not None and slot.lost is None
        assert on(engine, slots.release, slot, failed=failed)
    assert on(engine, slots.claim, "s", "me", lease_s=60, trials=1) is None
    assert slots.counts(engine, "s", 1)["given_up"] == 1


def test_an_interrupted_trial_is_left_to_the_next_holder(engine: sa.Engine) -> None:
    """And counts as no death of its."""
    for number in range(5):
        slot = on(engine, slots.claim, "s", "me", lease_s=60, trials=1)
        assert slot is not None and slot.again and slot.lost == (number - 1 if number else None)
        on(engine, slots.attach, slot, number)
        assert on(engine, slots.release, slot, failed=False)


def test_a_candidate_that_kills_three_workers_is_set_aside_and_after_three_of_them_the_slot(engine: sa.Engine) -> None:
    """Each holder learns of the trial before its own, and whether to run its candidate again."""
    slot, seen = on(engine, slots.claim, "s", "doomed", lease_s=60, trials=1), []
    for number in range(9):
        on(engine, slots.attach, slot, number)
        slot = late(engine, "doomed")
        assert slot is not None and slot.lost == number
        seen.append((slot.again, slot.given_up))
    assert seen == [(True, False), (True, False), (False, False)] * 2 + [(True, False), (True, False), (False, True)]
    assert on(engine, slots.claim, "s", "me", lease_s=60, trials=1) is None
    assert slots.counts(engine, "s", 1) == {"free": 0, "leased": 0, "done": 0, "given_up": 1}


def test_a_worker_known_to_be_dead_is_taken_up_at_once(engine: sa.Engine) -> None:
    """Its name is no other's: a process 12 isn't 123."""
    slots.open_slots(engine, "s", 2)
    held = [on(engine, slots.claim, "s", f"host-{n}/ab", lease_s=60, trials=2) for n in (12, 123)]
    for slot in held:
        on(engine, slots.attach, slot, 70 + slot.number)
    assert on(engine, slots.expire, "s", "host-12/") == [70]
    taken = on(engine, slots.claim, "s", "me", lease_s=60, trials=2)
    assert taken is not None and (taken.number, taken.lost) == (0, 70)
    assert on(engine, slots.claim, "s", "me", lease_s=60, trials=2) is None


def test_a_claim_whose_answer_was_lost_is_found_again(engine: sa.Engine) -> None:
    """By its owner, with its trial; nobody else's is."""
    slot = on(engine, slots.claim, "s", "me", lease_s=60, trials=1)
    assert on(engine, slots.held, "s", "me") is None  # its trial wasn't begun: no such commit
    on(engine, slots.attach, slot, 5)
    assert on(engine, slots.held, "s", "me") == (Slot("s", slot.number, slot.token), 5)
    assert on(engine, slots.held, "s", "you") is None


def test_tables_of_an_earlier_version_are_told_of(url: str) -> None:
    """Instead of a crash in the middle of a study."""
    engine = database.connect(url)
    with engine.begin() as connection:
        connection.execute(sa.text("CREATE TABLE harness_slots (study VARCHAR(200), number INTEGER)"))
    with pytest.raises(HarnessError, match="made by an earlier version"):
        slots.open_slots(engine, "s", 1)
    engine.dispose()


def test_a_budget_can_grow_and_is_never_cut(engine: sa.Engine) -> None:
    """Slots that were settled stay; a smaller budget only looks at the first slots."""
    slot = on(engine, slots.claim, "s", "me", 60, trials=1)
    assert slot is not None and on(engine, slots.settle, slot)
    slots.open_slots(engine, "s", 3)
    slots.open_slots(engine, "s", 2)
    assert slots.counts(engine, "s", 3) == {"free": 2, "leased": 0, "done": 1, "given_up": 0}
    assert on(engine, slots.claim, "s", "me", 60, trials=1) is None
    assert slots.counts(engine, "other", 3)["free"] == 0


def test_what_failed_waits_behind_what_was_not_tried(engine: sa.Engine) -> None:
    """A trial that kills its worker must not hold up the others."""
    slots.open_slots(engine, "s", 3)
    order = []
    for _ in range(4):
        slot = on(engine, slots.claim, "s", "me", 60, trials=3)
        assert slot is not None
        order.append(slot.number)
        on(engine, slots.release, slot, failed=False)
    assert order == [0, 1, 2, 0]
