"""N trials are N over all workers, whatever becomes of the workers."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path

import pytest
import sqlalchemy as sa

from harness import database
from harness.search import budget
from harness.search.budget import Slot

Settle = Callable[[sa.Engine, Slot], bool]


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A new database of either kind."""
    return f"sqlite:///{tmp_path}/x.db" if request.param == "sqlite" else request.getfixturevalue("postgres_url")


@pytest.fixture
def engine(url: str) -> Iterator[sa.Engine]:
    """An open database with one slot."""
    engine = database.connect(url)
    budget.open_slots(engine, "s", 1)
    yield engine
    engine.dispose()


def work(url: str, study: str, trials: int, stall_s: float = 0.0) -> int:
    """Be a worker that settles all it can get; return how often a settlement counted.

    The first holder of every fifth slot stalls beyond its lease, as a paused machine does.
    """
    engine, counted = database.connect(url), 0
    budget.open_slots(engine, study, trials)
    while True:
        slot = budget.claim(engine, study, "me", lease_s=stall_s / 2 or 60.0, trials=trials)
        if slot is None:
            left = budget.counts(engine, study, trials)
            if not left["free"] and not left["leased"]:
                engine.dispose()
                return counted
            time.sleep(0.02)
            continue
        budget.attach(engine, slot, slot.number)
        if slot.number % 5 == 0 and slot.token == 1:
            time.sleep(stall_s)
        counted += budget.settle(engine, slot)


def test_eight_threads_settle_exactly_the_budget(url: str) -> None:
    """They create the slots at the same moment, too."""
    with ThreadPoolExecutor(8) as pool:
        counted = list(pool.map(lambda _: work(url, "s", 20), range(8)))
    assert sum(counted) == 20
    assert budget.counts(database.connect(url), "s", 20) == {"free": 0, "leased": 0, "done": 20, "given_up": 0}


def crew(url: str) -> int:
    """Be a process of two workers."""
    with ThreadPoolExecutor(2) as pool:
        return sum(pool.map(lambda _: work(url, "s", 40), range(2)))


def test_workers_in_four_processes_settle_exactly_the_budget(url: str) -> None:
    """As on a team's machines. Starting the Pythons takes most of the time: over 5 s on two busy cores."""
    with ProcessPoolExecutor(4, mp_context=multiprocessing.get_context("spawn")) as pool:
        counted = list(pool.map(crew, [url] * 4))
    assert sum(counted) == 40
    assert budget.counts(database.connect(url), "s", 40)["done"] == 40


def test_stalled_workers_neither_lose_nor_double_a_trial(url: str) -> None:
    """Leases run out, others take the slots up, the late ones don't count."""
    with ThreadPoolExecutor(8) as pool:
        counted = list(pool.map(lambda _: work(url, "s", 15, stall_s=2.0), range(8)))
    assert sum(counted) == 15
    assert budget.counts(database.connect(url), "s", 15)["done"] == 15


def twice_held(engine: sa.Engine) -> tuple[Slot, Slot]:
    """Let a lease run out and another worker take the slot; return both holders' slots."""
    first = budget.claim(engine, "s", "first", lease_s=0.05, trials=1)
    assert first is not None and budget.attach(engine, first, 7)
    assert budget.claim(engine, "s", "second", lease_s=60, trials=1) is None
    time.sleep(0.1)
    second = budget.claim(engine, "s", "second", lease_s=60, trials=1)
    assert second is not None
    return first, second


def test_an_expired_lease_is_taken_up_and_the_late_holder_is_refused(engine: sa.Engine) -> None:
    """The second learns which trial was lost; the first can do nothing any more."""
    first, second = twice_held(engine)
    assert (first.lost, second.lost) == (None, 7)
    assert (second.number, second.token) == (first.number, first.token + 1)
    assert not budget.renew(engine, first, 60)
    assert not budget.attach(engine, first, 8)
    assert not budget.release(engine, first, failed=True)
    assert not budget.settle(engine, first)
    assert budget.settle(engine, second)
    assert not budget.settle(engine, second)


def settle_without_token(engine: sa.Engine, slot: Slot) -> bool:
    """Settle as one would at first: by the slot's number alone."""
    mine = (budget.SLOTS.c.study == slot.study) & (budget.SLOTS.c.number == slot.number)
    with engine.begin() as connection:
        return connection.execute(sa.update(budget.SLOTS).where(mine).values(state="done")).rowcount == 1


@pytest.mark.parametrize(("settle", "counted"), [(budget.settle, 1), (settle_without_token, 2)])
def test_it_is_the_token_that_keeps_a_late_writer_out(engine: sa.Engine, settle: Settle, counted: int) -> None:
    """The negative control: without it one slot counts twice, and this test sees it."""
    assert sum(settle(engine, slot) for slot in twice_held(engine)) == counted


def test_a_renewed_lease_stays(engine: sa.Engine) -> None:
    """A worker that beats is not taken for dead."""
    slot = budget.claim(engine, "s", "first", lease_s=0.05, trials=1)
    assert slot is not None and budget.renew(engine, slot, 60)
    time.sleep(0.1)
    assert budget.claim(engine, "s", "second", lease_s=60, trials=1) is None
    assert budget.settle(engine, slot)


def test_three_failures_give_a_slot_up(engine: sa.Engine) -> None:
    """A trial that fails is tried again twice; an interrupted one costs nothing."""
    for failed in (False, True, False, True, True):
        slot = budget.claim(engine, "s", "me", lease_s=60, trials=1)
        assert slot is not None and slot.lost is None
        assert budget.release(engine, slot, failed=failed)
    assert budget.claim(engine, "s", "me", lease_s=60, trials=1) is None
    assert budget.counts(engine, "s", 1)["given_up"] == 1
    assert budget.abandoned(engine, "s") == []


def test_three_dead_workers_give_a_slot_up(engine: sa.Engine) -> None:
    """Each holder learns of the trial before its own; the last one's is left for `abandoned`."""
    for number in range(3):
        slot = budget.claim(engine, "s", "doomed", lease_s=0.05, trials=1)
        assert slot is not None and slot.lost == (number - 1 if number else None)
        budget.attach(engine, slot, number)
        time.sleep(0.1)
    assert budget.claim(engine, "s", "me", lease_s=60, trials=1) is None
    assert budget.counts(engine, "s", 1) == {"free": 0, "leased": 0, "done": 0, "given_up": 1}
    assert budget.abandoned(engine, "s") == [2]


def test_a_budget_can_grow_and_is_never_cut(engine: sa.Engine) -> None:
    """Slots that were settled stay; a smaller budget only looks at the first slots."""
    slot = budget.claim(engine, "s", "me", 60, trials=1)
    assert slot is not None and budget.settle(engine, slot)
    budget.open_slots(engine, "s", 3)
    budget.open_slots(engine, "s", 2)
    assert budget.counts(engine, "s", 3) == {"free": 2, "leased": 0, "done": 1, "given_up": 0}
    assert budget.claim(engine, "s", "me", 60, trials=1) is None
    assert budget.counts(engine, "other", 3)["free"] == 0


def test_what_failed_waits_behind_what_was_not_tried(engine: sa.Engine) -> None:
    """A trial that kills its worker must not hold up the others."""
    budget.open_slots(engine, "s", 3)
    order = []
    for _ in range(4):
        slot = budget.claim(engine, "s", "me", 60, trials=3)
        assert slot is not None
        order.append(slot.number)
        budget.release(engine, slot, failed=False)
    assert order == [0, 1, 2, 0]
