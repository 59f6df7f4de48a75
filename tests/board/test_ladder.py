"""The Ladder: what many submissions can learn of the public labels."""

from __future__ import annotations

from dataclasses import replace
from itertools import count

import numpy as np
import pytest
import sqlalchemy as sa
from hosting import RULES, host, judged, submit, verdict
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine

from harness.board import entries, ladder, log, queue, standings, store, teams
from harness.board.ladder import climb
from harness.board.tables import Entry, Judgement
from harness.rules.formulas import Figures

STEP = 0.1
ENGINE, EXAMPLES = store.open("sqlite://"), count(1)


def figures(f1: float, ratio: float = 1.0) -> Figures:
    """Make up what was measured."""
    return Figures(f1, ratio, 10**6)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=30))
def test_at_equal_speed_it_is_the_rule_of_blum_and_hardt(values: list[float]) -> None:
    """A value is released if it is better than the last released one by more than a step, rounded to the step."""
    best, released = None, None
    for value in values:
        if released is None or value > released + STEP + 1e-9:
            expected = min(1.0, round(value / STEP) * STEP)
        elif value > released + STEP - 1e-9:
            return  # on the very edge: either will do
        else:
            expected = None
        shown = climb(best, figures(value), RULES, STEP)
        assert (shown and shown.f1) == expected
        best, released = (shown, shown.f1) if shown else (best, released)


def test_a_faster_entry_is_shown_though_its_f1_is_no_better() -> None:
    """By the formula; a slower one isn't."""
    best = climb(None, figures(0.7), RULES, STEP)
    assert climb(best, figures(0.7, 0.9), RULES, 0.05) is None
    assert climb(best, figures(0.7, 0.2), RULES, STEP).ratio == 0.2
    assert climb(best, figures(0.7, 2.0), RULES, STEP) is None


def test_of_an_entry_that_isnt_better_nothing_is_told(lite: Engine) -> None:
    """Neither F1 nor points; its time is no secret. After the close all is told."""
    hosted, (team, _) = host(lite, ladder_step=STEP), teams.add(lite, "anna")
    first, second = judged(lite, team.id, hosted, "a", 0.72), judged(lite, team.id, hosted, "b", 0.79)
    seen = {e.id: e for e in entries.of(lite, hosted)}
    assert (seen[first].f1, seen[first].placed) == (pytest.approx(0.7), True)
    assert (seen[second].f1, seen[second].points, seen[second].placed) == (None, None, False)
    assert seen[second].latency_ms is not None
    assert seen[second].f1_private is None
    assert [p.entry for p in standings.public(lite, hosted)] == [first]


def test_without_the_ladder_the_best_is_shown_exactly(lite: Engine) -> None:
    """It is an option."""
    hosted, (team, _) = host(lite, ladder=False), teams.add(lite, "anna")
    for name, f1 in (("a", 0.721), ("b", 0.722), ("c", 0.7)):
        judged(lite, team.id, hosted, name, f1)
    assert [(p.name, p.f1) for p in standings.public(lite, hosted)] == [("b", 0.722)]
    assert [e.f1 for e in entries.of(lite, hosted)] == [0.7, 0.722, 0.721]


@pytest.mark.parametrize(("step", "gain"), [(0.0, (0.1, 1)), (1000**-0.5, (-0.05, 0.05))])
def test_random_submissions_learn_little(step: float, gain: tuple[float, float]) -> None:
    """Majority vote over those said to be better than chance: it works without the Ladder, which is the control."""
    random = np.random.default_rng(0)
    labels = random.integers(0, 2, 2000)
    public = np.arange(2000) < 1000
    best, kept = None, []
    for _ in range(400):
        guess = random.integers(0, 2, 2000)
        exact = float((guess == labels)[public].mean())
        shown = climb(best, figures(exact), RULES, step)
        told = exact if not step else shown.f1 if shown else best.f1
        kept += [guess] if told > 0.5 and (not step or shown) else []
        best = shown or best
    vote = (np.mean(kept, axis=0) > 0.5).astype(int) if kept else random.integers(0, 2, 2000)
    right = vote == labels
    assert gain[0] <= right[public].mean() - right[~public].mean() <= gain[1]


@settings(max_examples=25)
@given(st.lists(st.tuples(st.sampled_from([0.3, 0.5, 0.6, 0.7, 0.9]), st.sampled_from([0.5, 1.0, 2.0])), max_size=8))
def test_what_stands_is_what_the_verdicts_say(judgements: list[tuple[float, float]]) -> None:
    """Placing entries one by one, as they come, ends as going through all of them anew."""
    engine, number = ENGINE, next(EXAMPLES)
    hosted = host(engine, f"example-{number}", ladder_step=STEP, submissions_a_day=10)
    team, _ = teams.add(engine, f"team {number}")
    for number, (f1, ratio) in enumerate(judgements):
        judged(engine, team.id, hosted, f"e{number}", f1, ratio)

    mine = Entry.competition_id == hosted.id

    def stored() -> list[tuple[object, ...]]:
        query = sa.select(Entry.id, Entry.f1_shown, Entry.placed).where(mine).order_by(Entry.id)
        return [tuple(row) for row in store.look(engine, lambda c: c.execute(query).all())]

    before = stored()
    store.transact(engine, lambda c: c.execute(sa.update(Entry).where(mine).values(f1_shown=None, placed=False)))
    store.transact(engine, lambda c: ladder.again(c, hosted, team.id))
    assert stored() == before


def test_an_entry_that_fails_when_judged_again_leaves_its_place_to_the_next(lite: Engine) -> None:
    """And what is shown of the others is as if it had never been."""
    hosted, (team, _) = host(lite, ladder_step=STEP), teams.add(lite, "anna")
    first, second = judged(lite, team.id, hosted, "a", 0.5), judged(lite, team.id, hosted, "b", 0.9)
    assert [p.entry for p in standings.public(lite, hosted)] == [second]
    queue.requeue(lite, second)
    queue.fail(lite, queue.claim(lite, "w", 60), "repeat", "a cheat")
    assert [p.entry for p in standings.public(lite, hosted)] == [first]


def test_nothing_private_is_in_what_a_team_sees(lite: Engine) -> None:
    """Canaries: exact figures of the labels stand in the database, and in no field before the close."""
    hosted, (team, _) = host(lite), teams.add(lite, "anna")
    entry = submit(lite, team.id, hosted, "a")
    found = replace(
        verdict("a", 0.71234567, private=0.61234567),
        checks={"perturbed": {"f1": 0.51234567, "cost": 0.41234567}, "repeat": {"ratio": 1.0}},
        predicted="canary-31234567",
        f1_draws="canary-31234567",
        f1_private_draws="canary-31234567",
    )
    queue.finish(lite, queue.claim(lite, "w", 60), found)
    seen = repr(entries.one(lite, hosted, entry)) + repr(standings.public(lite, hosted))
    stored = store.look(lite, lambda c: repr(c.execute(sa.select(Judgement.__table__)).all()))
    for canary in ("71234567", "61234567", "51234567", "41234567", "31234567"):
        assert canary in stored
        assert canary not in seen
    assert "'repeat': {'ratio': 1.0}" in seen
    assert "31234567" not in repr(log.rows(lite))
