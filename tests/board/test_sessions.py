"""Entries whose ranks touch are timed again while judges are idle: ranks part and stay, and nothing else changes."""

from __future__ import annotations

import io
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sqlalchemy as sa
from hosting import CONTEST, RULES, content, host, squares, submit, twice, verdict
from rich.console import Console
from sqlalchemy import Engine
from test_judges import pids
from test_migrations import upgrade

from harness import database
from harness.board import (
    audit,
    competitions,
    entries,
    idle,
    ladder,
    log,
    picks,
    queue,
    rivals,
    sessions,
    standings,
    store,
    tables,
    teams,
    terminal,
    worker,
)
from harness.board.competitions import Hosted
from harness.board.rescore import rescore
from harness.board.tables import Entry, Judgement
from harness.board.tables import Session as Row
from harness.database import lease
from harness.errors import HarnessError
from harness.judge.bootstrap import f1_to_text
from harness.launch import judges
from harness.measure.latency import Latency
from harness.record.verdict import Session, Verdict
from harness.sandbox.refused import Refused

HERE = {"cpu": "x", "system": "y", "versions": {"onnxruntime": "1"}}
THERE = HERE | {"cpu": "z"}
LEASE_S, T0 = 60.0, 2
"""And the number of the first team, after that of those who score for themselves."""
LONG_AGO, MINUTES = "2020-01-31T12:34:56+00:00", count(1)
SURE = f1_to_text(np.clip(0.8 + 0.005 * np.random.default_rng(0).standard_normal(1000), 0, 1))
"""Draws of an F1 of which the same images are right in every entry: so time alone tells them apart."""
KEPT = {"f1_public_draws": SURE, "f1_private_draws": SURE}


@pytest.fixture(autouse=True)
def this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Be the machine that verdicts here are of."""
    monkeypatch.setattr(idle, "machine", lambda: dict(HERE))
    monkeypatch.setattr(idle, "versions", lambda: HERE["versions"])


def latency(ratio: float, error: float = 0.01) -> Latency:
    """Make up a measurement that errs by such a share, and says so."""
    return Latency.of([[[[ratio] * 6, [ratio] * 6, [1.0] * 6, [1.0] * 6]]] * 3, apart=error)


def figures(found: Latency) -> dict[str, Any]:
    """Return what a verdict and a session have of a measurement."""
    return {
        "ratio": found.ratio, "ratio_low": found.ratio_low, "ratio_high": found.ratio_high, "latency_ms": found.ms,
        "latency_low_ms": found.low_ms, "latency_high_ms": found.high_ms,
        "samples": {"runtime": "onnx"} | found.to_dict(),
    }  # fmt: skip


def session(ratio: float, error: float = 0.01, machine: dict[str, Any] = HERE) -> Session:
    """Make up what a judge found when it timed an entry again."""
    created = datetime.fromisoformat(LONG_AGO) + timedelta(minutes=next(MINUTES))
    return Session(
        **figures(latency(ratio, error)), checks={"outside": {"share": 0.01}}, machine=machine,
        created=created.isoformat(), seconds=3.0,
    )  # fmt: skip


def timed(name: str, f1: float, ratio: float, error: float = 0.01, **other: Any) -> Verdict:
    """Make up a verdict of long ago, with such a measurement."""
    kept = {"kept": KEPT} | other
    of_time = figures(latency(ratio, error))
    return replace(verdict(name, f1, ratio, **kept), **of_time, machine=HERE, created=LONG_AGO)


def judge(engine: Engine, hosted: Hosted, team: str, found: Verdict) -> int:
    """Let a team, which is added where there is none of this name, have an entry with this verdict."""
    known = {t.name: t.id for t in teams.listed(engine)}
    number = known[team] if team in known else teams.add(engine, team)[0].id
    entry = submit(engine, number, hosted, found.entry)
    assert queue.finish(engine, queue.claim(engine, f"judge of {found.entry}", LEASE_S, hosted.id), found)
    return entry


def board(engine: Engine, *ratios: float, f1: float = 0.8, error: float = 0.01, **terms: Any) -> Hosted:
    """Host a competition of teams t0, t1, .. of one F1, with such times; entries have the numbers 1, 2, .."""
    hosted = host(engine, **({"ladder": False, "images": 4000} | terms))
    for number, ratio in enumerate(ratios):
        judge(engine, hosted, f"t{number}", timed(f"e{number}", f1, ratio, error))
    return hosted


def ranks(engine: Engine, hosted: Hosted) -> dict[int, int]:
    """Return the rank of each entry on the public board."""
    return {place.entry: place.rank for place in standings.public(engine, hosted)}


def worth(engine: Engine, hosted: Hosted, machine: dict[str, Any] = HERE, sandbox: str = "strict") -> list[int]:
    """List the entries worth timing again."""
    return [rival.entry for rival in rivals.rivals(engine, hosted, machine, sandbox)]


def claim(engine: Engine, hosted: Hosted, worker: str = "w", host: str = "h") -> sessions.Claim | None:
    """Begin a session of what is worth it."""
    found = rivals.rivals(engine, hosted, HERE, "strict")
    return sessions.claim(engine, worker, host, LEASE_S, hosted.id, found)


def age(engine: Engine, seconds: float = sessions.GAP_S) -> None:
    """Let so much time go by."""
    older = sa.update(Row).values(begun=Row.begun - seconds)
    store.transact(engine, lambda c: c.execute(older))


def silence(engine: Engine) -> None:
    """Let the lease of every session run out, with its grace."""
    store.transact(engine, lambda c: c.execute(sa.update(Row).values(lease_until=0.0, warned=True)))


def again(engine: Engine, hosted: Hosted, ratio: Callable[[int], float], times: int, error: float = 0.01) -> list[int]:
    """Time up to so many entries again; return which."""
    done = []
    for _ in range(times):
        held = claim(engine, hosted)
        if held is None:
            break
        assert sessions.finish(engine, held, session(ratio(held.entry), error))
        done.append(held.entry)
        age(engine)
    return done


def rows(engine: Engine, of: type[tables.Base] = Row) -> list[dict[str, Any]]:
    """Read a table."""
    query = sa.select(of.__table__).order_by(of.__table__.c.id)
    return store.look(engine, lambda c: [dict(row) for row in c.execute(query).mappings()])


def test_entries_whose_ranks_touch_are_timed_again_until_they_part(engine: Engine) -> None:
    """The least timed first; their figures are of all measurements; verdicts, F1 and its draws stay as they were."""
    hosted = board(engine, 1.0, 1.02, 2.0)
    assert ranks(engine, hosted) == {1: 1, 2: 1, 3: 3} and worth(engine, hosted) == [1, 2]
    before, f1 = rows(engine, Judgement), {p.entry: p.f1 for p in standings.public(engine, hosted)}
    times = again(engine, hosted, {1: 1.0, 2: 1.02}.__getitem__, 30)
    assert times[:4] == [1, 2, 1, 2] and 3 not in times and ranks(engine, hosted) == {1: 1, 2: 2, 3: 3}
    assert worth(engine, hosted) == [] and rows(engine, Judgement) == before
    first, second, third = standings.public(engine, hosted)
    assert {p.entry: p.f1 for p in (first, second, third)} == f1
    assert [p.timed for p in (first, second, third)] == [times.count(1) + 1, times.count(2) + 1, 1]
    pooled = Latency.pooled([latency(1.0)] * first.timed)
    assert (first.ratio, first.ratio_low, first.latency_high_ms) == (pooled.ratio, pooled.ratio_low, pooled.high_ms)
    assert first.ratio_high - first.ratio_low < 0.7 * (latency(1.0).ratio_high - latency(1.0).ratio_low)
    assert audit.audit(engine).wrong == []


SEEDS = 5
TRUE = {1: 1.0, 2: 1.02}


def lives(engine: Engine, monkeypatch: pytest.MonkeyPatch, forget: bool) -> tuple[list[int], list[dict[int, int]]]:
    """Let two entries that are 2 % apart be timed 14 times with errors of 1 %, in so many competitions.

    forget: let the newest measurement alone count. Return how often the ranks changed in each, and how they ended.
    """
    if forget:
        monkeypatch.setattr(Latency, "pooled", classmethod(lambda cls, all_: all_[-1]))
        monkeypatch.setattr(standings, "_past", lambda created, figures: None)
        monkeypatch.setattr(standings.comparison, "ranked", lambda rules, entries, points: comparison_groups(points))
        monkeypatch.setattr(rivals.comparison, "touching", lambda rules, entries: [(1, 0)])
    changes, ends = [], []
    for seed in range(SEEDS):
        random = np.random.default_rng(seed)
        hosted = host(engine, f"life-{seed}-{forget}".lower(), ladder=False, images=4000)
        of = {
            judge(engine, hosted, f"t{number}", timed(f"e{number} {seed}{forget}", 0.8, drawn(random, number))): number
            for number in TRUE
        }
        seen = [ranks(engine, hosted)]
        for _ in range(14):
            if not again(engine, hosted, lambda entry, of=of, random=random: drawn(random, of[entry]), 1):
                break
            seen.append(ranks(engine, hosted))
        changes.append(sum(a != b for a, b in zip(seen, seen[1:], strict=False)))
        ends.append({of[entry]: rank for entry, rank in seen[-1].items()})
    return changes, ends


comparison_groups = standings.comparison.groups


def drawn(random: np.random.Generator, number: int) -> float:
    """Draw what a measurement of an entry says."""
    return TRUE[number] * float(np.exp(0.01 * random.standard_normal()))


def test_ranks_part_as_time_goes_by_and_dont_flip(monkeypatch: pytest.MonkeyPatch) -> None:
    """They change once at most, and nearly all end right. The control is a board by the newest measurement alone.

    Takes some seconds: 10 competitions, of up to 15 measurements each.
    """
    engine = store.open("sqlite://")
    changes, ends = lives(engine, monkeypatch, forget=False)
    assert max(changes) <= 1 and ends.count({1: 1, 2: 2}) >= 0.8 * SEEDS and {1: 2, 2: 1} not in ends
    changes, ends = lives(engine, monkeypatch, forget=True)
    assert np.mean(changes) >= 2 and ends.count({1: 1, 2: 2}) < 0.8 * SEEDS


def test_of_the_touching_ones_the_highest_go_first_and_then_the_least_timed(lite: Engine) -> None:
    """Two pairs; the upper one is done before the lower one is begun, but for the time that its entries must rest."""
    hosted = board(lite, 1.0, 1.005, 1.5, 1.505)
    assert worth(lite, hosted) == [1, 2, 3, 4]
    rested = claim(lite, hosted), claim(lite, hosted, "w2", "another host")
    assert [held.entry for held in rested] == [1, 2]
    for held in rested:
        assert sessions.finish(lite, held, session({1: 1.0, 2: 1.005}[held.entry]))
    assert [claim(lite, hosted, f"w{n}", f"host {n}").entry for n in (3, 4)] == [3, 4]
    assert claim(lite, hosted, "w5", "host 5") is None
    age(lite, sessions.GAP_S - 1)
    assert claim(lite, hosted, "w5", "host 5") is None
    age(lite, 1)
    assert claim(lite, hosted, "w5", "host 5").entry == 1


@pytest.mark.parametrize(
    ("ratios", "terms", "why"),
    [
        ((1.0, 1.2), {}, "they are apart, and would be were their times half as sure"),
        (
            (1.0, 1.01),
            {"f1": 0.8, "ladder": True, "images": 200},
            "F1 of 100 images is too uncertain for time to matter",
        ),
        ((1.0,), {}, "it is alone"),
        ((), {}, "there is none"),
    ],
)
def test_what_timing_cant_change_isnt_timed(
    lite: Engine, ratios: Sequence[float], terms: dict[str, Any], why: str
) -> None:
    """It would only tire the machine."""
    assert worth(lite, board(lite, *ratios, **terms)) == [], why


def test_a_baseline_and_who_is_far_below_arent_timed(lite: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """One has no rank; of the others time matters near the top."""
    hosted = board(lite, 1.0, 1.005, 1.5, 1.505)
    monkeypatch.setattr(rivals, "TOP", 3)
    assert worth(lite, hosted) == [1, 2]
    baseline = sa.update(tables.Team).where(tables.Team.name == "t1").values(baseline=True)
    store.transact(lite, lambda c: c.execute(baseline))
    assert worth(lite, hosted) == [3, 4]


def test_only_times_of_one_kind_of_machine_are_pooled(lite: Engine) -> None:
    """Another processor, system, engine or sandbox measures something else: it leaves them alone."""
    hosted = board(lite, 1.0, 1.005)
    others = (THERE, HERE | {"system": "z"}, HERE | {"versions": {"onnxruntime": "2"}})
    assert [worth(lite, hosted, other) for other in others] == [[]] * 3
    assert worth(lite, hosted, sandbox="unsafe") == []
    assert worth(lite, hosted, HERE | {"load": 3.0, "cores": 4}) == [1, 2]
    before = standings.public(lite, hosted)
    assert not sessions.finish(lite, claim(lite, hosted), session(0.9, machine=THERE))
    assert [row["reason"] for row in rows(lite)] == ["machine"] and standings.public(lite, hosted) == before


def test_an_entry_that_waits_goes_first(engine: Engine) -> None:
    """While one does, no session begins; nor does a second one on a host."""
    hosted = board(engine, 1.0, 1.005)
    number = submit(engine, T0, hosted, "new")
    assert claim(engine, hosted) is None
    held = queue.claim(engine, "judge", LEASE_S, hosted.id)
    assert held.entry == number and queue.finish(engine, held, timed("new", 0.3, 1.0))
    assert claim(engine, hosted, "w1").entry == 1
    assert claim(engine, hosted, "w2") is None
    assert claim(engine, hosted, "w3", "another host").entry == 2


def test_after_so_many_measurements_no_more_is_learnt(lite: Engine) -> None:
    """Equal ones are left in peace, on one rank."""
    hosted = board(lite, 1.0, 1.0)
    assert len(again(lite, hosted, lambda entry: 1.0, 99)) == 2 * (sessions.MOST - 1)
    assert ranks(lite, hosted) == {1: 1, 2: 1}


def test_a_judge_that_dies_loses_its_session_and_nothing_else(engine: Engine) -> None:
    """The entry stands as it stood; it is another's after the gap; what the dead one sends late doesn't count."""
    hosted = board(engine, 1.0, 1.005)
    before = standings.public(engine, hosted)
    late = claim(engine, hosted)
    assert sessions.beat(engine, late, LEASE_S)
    silence(engine)
    assert claim(engine, hosted, "w2").entry == 2
    assert not sessions.beat(engine, late, LEASE_S)
    assert not sessions.finish(engine, late, session(0.5))
    assert not sessions.fail(engine, late, "judge")
    assert not sessions.give_back(engine, late)
    assert [(row["state"], row["reason"]) for row in rows(engine)] == [("FAIL", "lost"), ("RUNNING", None)]
    assert standings.public(engine, hosted) == before and audit.audit(engine).wrong == []
    age(engine)
    assert claim(engine, hosted, "w3", "another host").entry == 1


def test_without_the_fence_what_comes_late_would_count(lite: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """The control."""
    hosted = board(lite, 1.0, 1.005)
    late = claim(lite, hosted)
    silence(lite)
    claim(lite, hosted, "w2")
    monkeypatch.setattr(lease, "fence", lambda leases, token: sa.true())
    assert sessions.finish(lite, late, session(0.5))


def test_an_entry_that_its_judges_die_of_is_left_alone(lite: Engine) -> None:
    """After three; it keeps its verdict, and the other one is still timed."""
    hosted = board(lite, 1.0, 1.005)
    begun = []
    for number in range(8):
        held = claim(lite, hosted, f"w{number}")
        begun.append(held.entry)
        if held.entry == 2:
            assert sessions.finish(lite, held, session(1.005))
        silence(lite)
        age(lite)
    assert begun.count(1) == sessions.TRIES and begun[-1] == 2
    assert [p.entry for p in standings.public(lite, hosted)] == [1, 2]


def test_a_session_that_comes_to_nothing_changes_nothing_and_is_noted(lite: Engine) -> None:
    """Noise or a refusal: in its row, in the log, and for its team; the others don't see it."""
    hosted = board(lite, 1.0, 1.005)
    before = standings.public(lite, hosted)
    assert sessions.fail(lite, claim(lite, hosted), "judge")
    assert [row["reason"] for row in rows(lite)] == ["judge"]
    assert standings.public(lite, hosted) == before
    assert log.rows(lite, 1)[0].to_dict()["detail"] == {"entry": 1, "verdict": 1, "session": 1, "reason": "judge"}
    assert [timing.reason for timing in entries.one(lite, hosted, 1).sessions] == [None, "judge"]
    age(lite)
    assert claim(lite, hosted).entry == 1  # noise is no fault of its own


def test_what_is_given_back_never_was(lite: Engine) -> None:
    """So another judge can begin at once."""
    hosted = board(lite, 1.0, 1.005)
    assert sessions.give_back(lite, claim(lite, hosted)) and rows(lite) == []
    assert claim(lite, hosted).entry == 1


def test_a_call_whose_answer_was_lost_may_be_made_again(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """One session, counted once."""
    hosted = board(engine, 1.0, 1.005)
    monkeypatch.setattr(store, "transact", twice)
    held = claim(engine, hosted)
    assert sessions.finish(engine, held, session(1.0))
    age(engine)
    assert sessions.fail(engine, claim(engine, hosted), "judge")
    monkeypatch.undo()
    assert [row["state"] for row in rows(engine)] == ["COMPLETE", "FAIL"]
    assert [line.action for line in log.rows(engine)].count("retime") == 1
    assert entries.one(engine, hosted, 1).timed == 2


def test_many_judges_at_once_hold_each_entry_once(engine: Engine) -> None:
    """On one host one, on eight hosts as many as there are entries to time. Takes some seconds: threads."""
    hosted = board(engine, 1.0, 1.005, 1.01)
    found = rivals.rivals(engine, hosted, HERE, "strict")
    assert [rival.entry for rival in found] == [1, 2, 3]

    def one(number: int) -> sessions.Claim | None:
        host = "a" if number < 8 else f"host {number}"
        return sessions.claim(engine, f"w{number}", host, LEASE_S, hosted.id, found)

    with ThreadPoolExecutor(16) as pool:
        begun = [claim for claim in pool.map(one, range(16)) if claim]
    assert 0 < len(begun) == len({claim.entry for claim in begun})
    for number in range(16):  # who met another one at that moment was sent away, and asks again
        one(number)
    running = [(row["verdict_id"], row["host"]) for row in rows(engine)]
    assert len(running) == 3 == len({verdict for verdict, _ in running}) == len({host for _, host in running})


def test_a_new_verdict_begins_anew(lite: Engine) -> None:
    """What was measured for the one before is kept, and counts no more; nor does a session that was under way."""
    hosted = board(lite, 1.0, 1.005)
    again(lite, hosted, lambda entry: 1.0, 2)
    late = claim(lite, hosted)
    queue.requeue(lite, late.entry)
    held = queue.claim(lite, "judge", LEASE_S, hosted.id)
    assert queue.finish(lite, held, timed("e0", 0.8, 1.1))
    assert not sessions.finish(lite, late, session(1.0))
    view = entries.one(lite, hosted, late.entry)
    assert (view.timed, view.ratio, len(view.sessions)) == (1, latency(1.1).ratio, 1)
    assert rows(lite)[-1]["reason"] == "other verdict" and audit.audit(lite).wrong == []


def shown(engine: Engine, of: Hosted) -> list[tuple[Any, ...]]:
    """Read what the Ladder has decided."""
    columns = sa.select(Entry.id, Entry.f1_shown, Entry.placed).where(Entry.competition_id == of.id)
    return store.look(engine, lambda c: [tuple(row) for row in c.execute(columns.order_by(Entry.id)).all()])


def laddered(engine: Engine) -> Hosted:
    """Let two teams touch under the Ladder; the first has an entry that was just not shown."""
    hosted = board(engine, 1.0, 1.002, ladder=True, ladder_step=0.001, images=100_000)
    judge(engine, hosted, "t0", timed("hidden", 0.801, 1.0005))
    assert shown(engine, hosted) == [(1, pytest.approx(0.8), True), (2, pytest.approx(0.8), True), (3, None, False)]
    return hosted


def test_timing_again_asks_the_ladder_nothing(lite: Engine) -> None:
    """What it has shown, and who stands, stays, however the times move; so it does when all is gone through anew."""
    hosted = laddered(lite)
    before = shown(lite, hosted)
    times = again(lite, hosted, {1: 1.05, 2: 1.0}.__getitem__, 4)
    assert {1, 2} == set(times) and shown(lite, hosted) == before
    assert entries.one(lite, hosted, 3).f1 is None
    store.transact(lite, lambda c: ladder.again(c, hosted, T0))
    assert shown(lite, hosted) == before
    first, second = standings.public(lite, hosted)
    assert (first.entry, second.entry) == (2, 1) and first.points < second.points  # points and ranks do change


def test_were_the_ladder_asked_again_the_hidden_entry_would_show(lite: Engine) -> None:
    """The control: by the time that counts now, what was hidden of F1 comes out, and nothing was submitted."""
    hosted = laddered(lite)
    before = shown(lite, hosted)
    again(lite, hosted, {1: 1.05, 2: 1.0}.__getitem__, 4)
    pooled = entries.one(lite, hosted, 1).ratio
    store.transact(lite, lambda c: c.execute(sa.update(Judgement).where(Judgement.id == 1).values(ratio=pooled)))
    store.transact(lite, lambda c: ladder.again(c, hosted, T0))
    assert shown(lite, hosted) != before and entries.one(lite, hosted, 3).f1 is not None


def test_who_is_timed_again_tells_nothing_that_isnt_shown(lite: Engine) -> None:
    """Before the close other exact and private figures make no other choice; after it the private board makes it."""
    hosted = board(lite, 1.0, 1.002, ladder=True, images=100_000)
    assert worth(lite, hosted) == [1, 2]
    other = {
        "f1": 0.3, "f1_public": 0.3, "f1_private": Judgement.ratio / 2, "f1_public_draws": None,
        "f1_private_draws": None,
    }  # fmt: skip
    store.transact(lite, lambda c: c.execute(sa.update(Judgement).values(other)))
    assert worth(lite, hosted) == [1, 2]
    competitions.close(lite, hosted.name)
    far = sa.update(Judgement).where(Judgement.id == 2).values(f1_private=0.9)
    store.transact(lite, lambda c: c.execute(far))
    assert worth(lite, hosted) == []


def test_after_the_close_the_private_ranks_part_too(lite: Engine) -> None:
    """Those of the picks, by the private images."""
    hosted = board(lite, 1.0, 1.02)
    better = judge(lite, hosted, "t0", timed("picked", 0.7, 1.03, private=0.8))
    picks.choose(lite, T0, hosted.id, [better])
    competitions.close(lite, hosted.name)
    assert [(p.entry, p.rank) for p in standings.private(lite, hosted)] == [(2, 1), (better, 1)]
    assert set(again(lite, hosted, {2: 1.02, better: 1.05}.__getitem__, 30)) == {2, better}
    assert [(p.entry, p.rank) for p in standings.private(lite, hosted)] == [(2, 1), (better, 2)]


def test_other_rules_rank_what_was_measured_since(lite: Engine) -> None:
    """No figure is lost by `rescore`, and entries are timed again under any formula; the audit is content."""
    hosted = board(lite, 1.0, 1.02)
    again(lite, hosted, {1: 1.0, 2: 1.02}.__getitem__, 4)
    before = {p.entry: (p.ratio, p.timed) for p in standings.public(lite, hosted)}
    for formula in ("f1_squared_fps", "rank_mean"):
        rescore(lite, competitions.find(lite, hosted.name), formula=formula)
        assert {p.entry: (p.ratio, p.timed) for p in standings.public(lite, hosted)} == before
        assert worth(lite, hosted)
    assert audit.audit(lite).wrong == []


@pytest.mark.parametrize(
    ("statement", "wrong"),
    [
        (sa.update(Row).values(ratio=0.5), "session 1: was changed"),
        (sa.update(Row).values(pooled={"ratio": 0.5}), "session 1: was changed"),
        (sa.update(Row).values(verdict_id=2), "session 1: was changed"),
        (sa.delete(Row), "session 1: was counted and is missing"),
        (sa.update(Entry).where(Entry.id == 1).values(session_id=None), "entry 1: counts another session"),
    ],
)
def test_a_time_that_was_changed_is_found(lite: Engine, statement: sa.Executable, wrong: str) -> None:
    """As with verdicts, the log says what was counted."""
    hosted = board(lite, 1.0, 1.02)
    again(lite, hosted, lambda entry: 1.0, 1)
    assert audit.audit(lite).wrong == []
    store.transact(lite, lambda c: c.execute(statement))
    assert wrong in audit.audit(lite).wrong[0]


def test_a_board_from_before_stands_as_it_stood_and_is_timed_again(url: str) -> None:
    """Its verdicts have one measurement each, without rulers; they are pooled with what is measured since."""
    engine = database.connect(url)
    upgrade(engine, "0004")
    old = latency(1.0).to_dict()
    for load in (load for loads in old["processes"] for load in loads):
        del load["chain_ms"], load["vector_ms"]
    del old["best"], old["apart"]
    engine.dispose()
    before(url, {"runtime": "onnx"} | old)
    engine = store.open(url)
    hosted = competitions.find(engine, "squares")
    assert [(p.entry, p.rank, p.timed, p.ratio) for p in standings.public(engine, hosted)] == [
        (1, 1, 1, 1.0), (2, 1, 1, 1.001)
    ]  # fmt: skip
    assert [e.timed for e in entries.of(engine, hosted)] == [1, 1]
    assert audit.audit(engine).wrong == ["entry 1: isn't in the log", "entry 2: isn't in the log",
                                         "verdict 1: isn't in the log", "verdict 2: isn't in the log"]  # fmt: skip
    assert again(engine, hosted, lambda entry: 1.0, 2) == [1, 2]
    assert [p.timed for p in standings.public(engine, hosted)] == [2, 2]
    rescore(engine, hosted, formula="f1_squared_fps")
    engine.dispose()


def before(url: str, samples: dict[str, Any]) -> None:
    """Write a hosted competition with two teams and a verdict on an entry of each, as schema 0004 had them."""
    engine, data = database.connect(url), squares(100_000)
    contest = CONTEST | {"ladder": False, "split_seed": 7}
    competition = {
        "id": 1, "handle": "squares", "hosted": True, "rules": RULES.rules(), "digest": RULES.digest(),
        "contest": contest, "terms": "t" * 64, "data_name": "squares", "data_fingerprint": data.fingerprint(),
        "judge_fingerprint": data.judge_fingerprint(), "classes": list(data.classes), "public_images": 50_000,
        "created": 1.0,
    }  # fmt: skip
    values = {table: [] for table in ("competitions", "teams", "entries", "verdicts")}
    values["competitions"].append(competition)
    for number, ratio in ((1, 1.0), (2, 1.001)):
        team = {"id": 10 + number, "name": f"t{number}", "handle": f"t{number}", "url": "", "baseline": False}
        values["teams"].append(team | {"created": 1.0})
        values["entries"].append({
            "id": number, "competition_id": 1, "team_id": 10 + number, "name": f"e{number}", "kind": "scored",
            "content": content(f"e{number}"), "model_sha256": "0" * 64, "manifest": {}, "sizes": {}, "created": 1.0,
            "day": "2026-01-01", "charged": True, "state": "COMPLETE", "tries": 1, "fence": 1, "warned": False,
            "picked": False, "placed": True, "verdict_id": number, "f1_shown": 0.8,
        })  # fmt: skip
        found = verdict(f"e{number}", 0.8, ratio, kept=KEPT)
        figures = {name: getattr(found, name) for name in tables.FIGURES}
        row = {"id": number, "entry_id": number, "terms": "t" * 64} | figures
        values["verdicts"].append(row | {"samples": samples, "machine": HERE, "created": LONG_AGO})
    kinds = dict.fromkeys(("rules", "contest", "classes", "manifest", "sizes", "checks", "samples", "machine"), sa.JSON)
    with engine.begin() as connection:
        for name, new in values.items():
            table = sa.table(name, *(sa.column(column, kinds.get(column)) for column in new[0]))
            connection.execute(sa.insert(table), new)
    engine.dispose()


def test_how_often_and_when_it_was_timed_is_told(lite: Engine) -> None:
    """On the board, in the csv, in a terminal, and of the entry each session."""
    hosted = board(lite, 1.0, 1.02)
    again(lite, hosted, {1: 1.01, 2: 1.02}.__getitem__, 2)
    view = entries.one(lite, hosted, 1)
    assert view.timed == 2 and [timing.ratio for timing in view.sessions] == pytest.approx([1.0, 1.01])
    assert [(timing.cpu, timing.engine) for timing in view.sessions] == [("x", "onnx")] * 2
    assert view.ratio == pytest.approx(1.005, abs=1e-3) == standings.public(lite, hosted)[0].ratio
    table = standings.to_csv(standings.public(lite, hosted)).splitlines()
    assert table[0].endswith(",timed") and table[1].endswith(",2")
    drawn = text(terminal.standings(hosted, standings.public(lite, hosted), "public"))
    assert drawn.count("2 times") == 2
    told = text(terminal.sessions(entries.of(lite, hosted)))
    assert told.count("x, onnx") == 4 and "1.01" in told


def test_who_was_timed_once_has_no_table(lite: Engine) -> None:
    """Nothing is told of what didn't happen."""
    hosted = board(lite, 1.0, 1.02)
    assert terminal.sessions(entries.of(lite, hosted)) is None
    assert "times" not in text(terminal.standings(hosted, standings.public(lite, hosted), "public"))


def text(drawn: Any) -> str:
    """Print a table."""
    console = Console(width=200, record=True, file=io.StringIO())
    console.print(drawn)
    return console.export_text()


def run(
    engine: Engine, hosted: Hosted, tmp_path: Path, retime: Callable[..., Session], stop: threading.Event, **how: Any
) -> list[str]:
    """Be a judge until the event is set; return what was said."""
    lines: list[str] = []
    data = squares(hosted.public_images * 2)
    worker.work(
        engine, tmp_path, hosted, data, tmp_path, retime=retime, stop=stop, report=lines.append,
        **({"judge": lambda *rest, **how: timed("new", 0.3, 1.0)} | how),
    )  # fmt: skip
    return lines


def test_a_judge_without_work_times_again_and_an_entry_that_comes_in_goes_first(lite: Engine, tmp_path: Path) -> None:
    """It is told the engine that the entry was timed by, and the contest's limits; nothing of labels."""
    hosted, stop = board(lite, 1.0, 1.005), threading.Event()
    done: list[Any] = []

    def retime(folder: Path, *rest: Any, runtime: str, limits: Any, sandbox: str, published: Any) -> Session:
        done.append((folder.name, runtime, limits.wall_s, sandbox))
        if len(done) == 1:
            submit(lite, T0, hosted, "new")  # while a session is under way
        else:
            stop.set()
        return session(1.0)

    def judging(*rest: Any, **how: Any) -> Verdict:
        done.append("judged")
        return timed("new", 0.3, 1.0)

    said = run(lite, hosted, tmp_path, retime, stop, judge=judging)
    assert done == [(content("e0"), "onnx", 600, "strict"), "judged", (content("e1"), "onnx", 600, "strict")]
    assert said[0].startswith("entry 1 (e0), timed again: ratio 1.0000") and "F1 0.3000" in said[1]
    assert [p.timed for p in standings.public(lite, hosted)] == [2, 2]


@pytest.mark.parametrize(
    ("fault", "reason", "words"),
    [
        (HarnessError("the machine is too noisy", "wait"), "judge", "came to nothing: the machine is too noisy"),
        (Refused("outside", "worked outside of the timed runs", "don't"), "outside", "refused: outside"),
        (ZeroDivisionError("division"), "judge", "the judge failed"),
    ],
)
def test_whatever_timing_ends_in_the_judge_goes_on(
    lite: Engine, tmp_path: Path, fault: Exception, reason: str, words: str
) -> None:
    """And the board stands; entries that came to nothing in a row don't stop a judge, as those to be judged would."""
    hosted, stop, calls = board(lite, 1.0, 1.005, 1.0, 1.005), threading.Event(), []
    before = standings.public(lite, hosted)

    def retime(*rest: Any, **how: Any) -> Session:
        calls.append(1)
        if len(calls) == 4:
            stop.set()
            return session(1.0)
        raise fault

    said = run(lite, hosted, tmp_path, retime, stop)
    assert [row["reason"] for row in rows(lite)] == [reason] * 3 + [None]
    assert words in said[0] and len(said) == 4
    assert {(p.entry, p.f1) for p in standings.public(lite, hosted)} == {(p.entry, p.f1) for p in before}


def test_a_judge_that_finds_nothing_to_time_leaves_the_board_alone_for_a_while() -> None:
    """It asks the queue each second, but looks at the board twice a minute at most."""
    stop, now, looks = threading.Event(), [0.0], []
    stop.set()  # it doesn't sleep
    turn = idle.turns(lambda: bool(looks.append(now[0])), stop, lambda: now[0])
    for second in range(100):
        now[0] = float(second)
        turn()
    assert looks == [0.0, 30.0, 60.0, 90.0]
    busy = idle.turns(lambda: looks.append(now[0]) is None, stop, lambda: now[0])
    busy(), busy()
    assert looks[4:] == [99.0, 99.0]  # one that found something looks again at once


def test_who_is_asked_not_to_wait_times_nothing_again(lite: Engine, tmp_path: Path) -> None:
    """It ends when nothing waits: that is no idle time."""
    hosted = board(lite, 1.0, 1.005)
    assert run(lite, hosted, tmp_path, lambda *_, **__: session(1.0), threading.Event(), wait=False) == []


def test_an_interrupt_gives_the_session_back(lite: Engine, tmp_path: Path) -> None:
    """As an entry."""
    hosted = board(lite, 1.0, 1.005)

    def retime(*_: Any, **__: Any) -> Session:
        signal.raise_signal(signal.SIGINT)
        raise AssertionError("was interrupted")

    with pytest.raises(KeyboardInterrupt):
        run(lite, hosted, tmp_path, retime, threading.Event())
    assert rows(lite) == []


def slow_judges(url: str, tmp_path: Path, mark: Path) -> None:
    """Be a judge whose timings take long; the process that a test kills."""

    def judging(stop: threading.Event) -> None:
        engine = store.open(url)
        hosted = competitions.find(engine, "squares")

        def retime(*_: Any, **__: Any) -> Session:
            with mark.open("a") as marks:
                marks.write(f"{os.getpid()}\n")
            stop.wait(60)
            return session(1.0)

        run(engine, hosted, tmp_path, retime, stop, lease_s=0.4)

    judges.run(1, judging)


def test_a_judge_that_is_killed_in_the_middle_loses_nothing(
    lite: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another takes its place, and goes on with the other entry. Takes some seconds: processes."""
    hosted = board(lite, 1.0, 1.005)
    before = standings.public(lite, hosted)
    monkeypatch.setattr(idle, "LOOK_S", 0.1)
    place = (lite.url.render_as_string(), tmp_path, tmp_path / "mark")
    process = multiprocessing.get_context("fork").Process(target=slow_judges, args=place)
    process.start()
    os.kill(pids(tmp_path / "mark", 1)[0], signal.SIGKILL)
    pids(tmp_path / "mark", 2)
    assert [(row["verdict_id"], row["reason"]) for row in rows(lite)] == [(1, "lost"), (2, None)]
    assert standings.public(lite, hosted) == before
    process.terminate()
    process.join(300)
    assert process.exitcode is not None
    assert [row["verdict_id"] for row in rows(lite)] == [1]  # the other one was given back
