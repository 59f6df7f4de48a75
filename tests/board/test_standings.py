"""Ranks are shared by those that can't be told apart; the private part decides; a formula switches at one moment."""

from __future__ import annotations

import csv
import io
import json
import threading
from dataclasses import replace

import numpy as np
import pytest
import sqlalchemy as sa
from hosting import RULES, host, judged, submit, twice, verdict
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Engine

from harness.board import competitions, log, picks, queue, standings, store, tables, teams
from harness.board.rescore import Change, preview, rescore
from harness.board.standings import Place, ranked
from harness.errors import HarnessError
from harness.judge.bootstrap import f1_to_text
from harness.judge.comparison import apart
from harness.rules.competition import Competition


def place(team: str, points: float, half: float = 0.1, created: float = 0.0, baseline: bool = False) -> Place:
    """Make up a team's place."""
    return Place(
        rank=None, team=team, team_id=0, url="", baseline=baseline, entry=sum(map(ord, team)), name="e", points=points,
        low=points - half, high=points + half, f1=0.5, latency_ms=1.0, latency_low_ms=1.0, latency_high_ms=1.0,
        ratio=1.0, ratio_low=1.0, ratio_high=1.0, macs=1, size_bytes=1, created=created, entries=1,
    )  # fmt: skip


def given_ranks(places: list[Place], rules: Competition = RULES) -> list[Place]:
    """Rank places whose points err by as much as their intervals say."""
    errors = {p.entry: np.random.default_rng(p.entry).standard_normal(1000) for p in places}
    return ranked(places, {p.entry: p.points + (p.high - p.low) / 2 / 1.96 * errors[p.entry] for p in places}, rules)


def test_who_cant_be_told_from_the_leader_of_a_group_shares_its_rank() -> None:
    """A chain of near ones isn't one rank; a baseline has none and moves nobody."""
    chain = [place("a", 1.0, 0.06), place("b", 1.1, 0.06), place("base", 1.15, 0, baseline=True), place("c", 1.2, 0.06)]
    assert [(p.team, p.rank) for p in given_ranks(chain)] == [("a", 1), ("b", 1), ("base", None), ("c", 3)]


def test_equal_points_are_in_the_order_they_came() -> None:
    """And where higher points are better, the order turns."""
    places = [place("late", 1.0, 0.1, created=2.0), place("early", 1.0, 0.1, created=1.0), place("more", 2.0, 0.1)]
    assert [p.team for p in given_ranks(places)] == ["early", "late", "more"]
    higher = replace(RULES, formula="f1_squared_fps")
    assert [(p.team, p.rank) for p in given_ranks(places, higher)] == [("more", 1), ("early", 2), ("late", 2)]


@given(st.lists(st.tuples(st.floats(0, 10), st.floats(0, 2)), max_size=12))
def test_ranks_are_places_and_groups_are_those_that_cant_be_told_from_their_leader(
    values: list[tuple[float, float]],
) -> None:
    """Whatever the intervals are."""
    places = [replace(place(str(i), p, h, created=i), entry=i) for i, (p, h) in enumerate(values)]
    errors = np.random.default_rng(0).standard_normal((len(values), 1000))
    drawn = {p.entry: p.points + (p.high - p.low) / 4 * errors[p.entry] for p in places}
    found = ranked(places, drawn, RULES)
    assert sorted(found, key=lambda p: (p.points, p.created)) == found
    for number, p in enumerate(found):
        leader = found[p.rank - 1]
        assert leader.rank == p.rank <= number + 1
        assert not apart(drawn[p.entry], drawn[leader.entry])
        if p.rank == number + 1 and number:
            before = found[found[number - 1].rank - 1]
            assert apart(drawn[p.entry], drawn[before.entry])


def test_the_private_part_decides_by_the_picks(lite: Engine) -> None:
    """The best of the picks; without picks, the entry that stands on the public board."""
    hosted = host(lite, ladder=False, images=4000)
    (anna, _), (ben, _) = teams.add(lite, "anna"), teams.add(lite, "ben")
    judged(lite, anna.id, hosted, "lucky", 0.9, private=0.5)
    steady = judged(lite, anna.id, hosted, "steady", 0.8, private=0.8)
    judged(lite, ben.id, hosted, "other", 0.7, private=0.7)
    judged(lite, ben.id, hosted, "unseen", 0.6, private=0.95)
    assert [(p.team, p.name) for p in standings.public(lite, hosted)] == [("anna", "lucky"), ("ben", "other")]
    assert [(p.team, p.f1) for p in standings.private(lite, hosted)] == [("ben", 0.7), ("anna", 0.5)]
    picks.choose(lite, anna.id, hosted.id, [steady])
    found = standings.private(lite, hosted)
    assert [(p.rank, p.team, p.name, p.entries) for p in found] == [(1, "anna", "steady", 2), (2, "ben", "other", 2)]


def test_debug_entries_and_failed_ones_stand_nowhere(lite: Engine) -> None:
    """Nor do those that wait."""
    hosted, (team, _) = host(lite), teams.add(lite, "anna")
    submit(lite, team.id, hosted, "a", "debug")
    claim = queue.claim(lite, "w", 60)
    assert queue.finish(lite, claim, verdict("a", 0.9))
    submit(lite, team.id, hosted, "b")
    assert standings.public(lite, hosted) == standings.private(lite, hosted) == []


def test_no_cell_of_the_csv_is_a_formula(lite: Engine) -> None:
    """A team's name may begin with a minus; figures stay figures."""
    hosted, (team, _) = host(lite), teams.add(lite, "-cmd")
    judged(lite, team.id, hosted, "a", 0.8)
    places = standings.public(lite, hosted)
    (row,) = csv.DictReader(io.StringIO(standings.to_csv([replace(places[0], name="=1+1", url="@x", points=-1.5)])))
    assert (row["team"], row["name"], row["url"], row["points"]) == ("'-cmd", "'=1+1", "'@x", "-1.5")
    assert json.loads(json.dumps(standings.plain(places)))[0]["team"] == "-cmd"


def nearly_equal(engine: Engine, **terms: object) -> competitions.Hosted:
    """Let two teams have the same time and F1 0.80 and 0.85 on both parts, with errors that go together image by image.

    So nearly the same images are right in both: the second is better, though each F1 alone is uncertain by 0.03.
    """
    hosted = host(engine, **terms)
    error = 0.03 * np.random.default_rng(0).standard_normal(1000)
    for name, f1 in (("near", 0.80), ("ahead", 0.85)):
        team, _ = teams.add(engine, name)
        draws = f1_to_text(np.clip(f1 + error, 0, 1))
        judged(engine, team.id, hosted, name, f1, kept={"f1_public_draws": draws, "f1_private_draws": draws})
    return hosted


def forget_draws(engine: Engine) -> None:
    """Make all verdicts such as an older harness gave."""
    judgement = tables.Judgement
    forgotten = sa.update(judgement).values(f1_public_draws=None, f1_private_draws=None)
    store.transact(engine, lambda c: c.execute(forgotten))


def test_two_entries_are_compared_image_by_image(lite: Engine) -> None:
    """What the same images say of both tells them apart; without the judge's draws F1 alone, of 100 images, can't."""
    hosted = nearly_equal(lite, ladder=False)
    for board in (standings.public, standings.private):
        assert [(p.rank, p.team) for p in board(lite, hosted)] == [(1, "ahead"), (2, "near")]
    forget_draws(lite)
    for board in (standings.public, standings.private):
        assert [(p.rank, p.team) for p in board(lite, hosted)] == [(1, "ahead"), (1, "near")]


def test_an_interval_of_points_holds_the_error_of_f1_too(lite: Engine) -> None:
    """With timing alone it was 0.01 wide: a ratio of 1 within 1 %, of which half counts."""
    place = standings.public(lite, nearly_equal(lite, ladder=False))[0]
    assert place.low < place.points < place.high
    assert place.high - place.low > 0.1


@pytest.mark.parametrize("ladder", [True, False])
def test_with_the_ladder_on_the_public_board_hangs_on_what_it_has_told_alone(lite: Engine, ladder: bool) -> None:
    """Other draws and another exact F1 behind the F1 shown make no other board; without the Ladder, the control, do."""
    hosted = nearly_equal(lite, ladder=ladder)
    before = standings.plain(standings.public(lite, hosted))
    other = {"f1": 0.3, "f1_public": 0.3, "f1_public_draws": f1_to_text(np.random.default_rng(1).random(1000))}
    store.transact(lite, lambda c: c.execute(sa.update(tables.Judgement).values(other)))
    assert (standings.plain(standings.public(lite, hosted)) == before) is ladder


def two_teams(engine: Engine, **changes: object) -> competitions.Hosted:
    """Let a quick and an exact team compete."""
    hosted = host(engine, ladder=False, images=4000, **changes)
    for name, f1, ratio in (("quick", 0.6, 0.5), ("exact", 0.9, 2.0)):
        team, _ = teams.add(engine, name)
        judged(engine, team.id, hosted, name, f1, ratio)
    return hosted


def test_another_formula_makes_another_board_without_a_model_being_run(engine: Engine) -> None:
    """The changed ranks are told; the terms are others; the verdicts stay; and it can be turned back."""
    hosted = two_teams(engine)
    assert [p.team for p in standings.public(engine, hosted)] == ["exact", "quick"]
    changes = rescore(engine, hosted, formula="f1_squared_fps")
    assert changes == [Change("quick", 2, 1, 2, 1), Change("exact", 1, 2, 1, 2)]
    now = competitions.find(engine, hosted.name)
    assert (now.competition.formula, now.digest) == ("f1_squared_fps", hosted.digest)
    assert now.terms != hosted.terms
    assert [p.team for p in standings.public(engine, hosted)] == ["quick", "exact"]
    rescore(engine, now, formula=RULES.formula)
    assert competitions.find(engine, hosted.name).terms == hosted.terms
    assert [p.team for p in standings.private(engine, hosted)] == ["exact", "quick"]


def test_what_another_formula_would_change_is_shown_and_nothing_changed(engine: Engine) -> None:
    """The same as is told afterwards; board, terms and log are as before, and a mistake is refused alike."""
    hosted = two_teams(engine)
    before = standings.plain(standings.public(engine, hosted)), log.rows(engine)
    changes = preview(engine, hosted, formula="f1_squared_fps")
    assert (standings.plain(standings.public(engine, hosted)), log.rows(engine)) == before
    assert competitions.find(engine, hosted.name).terms == hosted.terms
    with pytest.raises(HarnessError, match="ranked by these rules already"):
        preview(engine, hosted, formula=RULES.formula)
    with pytest.raises(HarnessError, match="threads: entries were measured by it"):
        preview(engine, hosted, threads=2)
    assert rescore(engine, hosted, formula="f1_squared_fps") == changes != []


def test_a_board_of_mean_ranks_can_be_had_too(lite: Engine) -> None:
    """Its points come from the whole board."""
    hosted = two_teams(lite)
    rescore(lite, hosted, formula="rank_mean")
    assert [(p.team, p.points) for p in standings.private(lite, hosted)] == [("quick", 1.5), ("exact", 1.5)]


def test_a_board_whose_formula_has_changed_its_meaning_is_ranked_anew_by_the_same_one(lite: Engine) -> None:
    """Its stored terms are of before; afterwards they are today's, and a second time is refused."""
    hosted = two_teams(lite, rules=replace(RULES, formula="f1_squared_fps"))
    old = sa.update(tables.Competition).values(terms="0" * 64)
    store.transact(lite, lambda c: c.execute(old))
    rescore(lite, competitions.find(lite, hosted.name), formula="f1_squared_fps")
    assert competitions.find(lite, hosted.name).terms == hosted.terms
    with pytest.raises(HarnessError, match="ranked by these rules already"):
        rescore(lite, competitions.find(lite, hosted.name), formula="f1_squared_fps")


@pytest.mark.parametrize(
    ("rules", "reason"),
    [
        ({"threads": 2}, "threads: entries were measured by it"),
        ({"formula": "boostcamp2021c"}, "unknown 'boostcamp2021c'"),
        ({"formula": Competition().formula}, "ranked by these rules already"),
        ({"formula": "boostcamp2021b", "f1_target": float("nan")}, "competition.f1_target=nan: allowed: 0 to 1"),
        ({"formula": "boostcamp2021a", "macs_base": 0.0}, "competition.macs_base=0.0: allowed: above 0"),
    ],
)
def test_what_would_need_the_models_again_is_refused(lite: Engine, rules: dict[str, object], reason: str) -> None:
    """As is a formula that isn't known, or no change."""
    with pytest.raises(HarnessError, match=reason):
        rescore(lite, two_teams(lite), **rules)


def test_a_board_is_ranked_anew_once_though_the_answer_is_lost(lite: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """The changes that were made are told; who asks for them again is refused as ever."""
    hosted = two_teams(lite)
    monkeypatch.setattr(store, "transact", twice)
    changes = rescore(lite, hosted, formula="f1_squared_fps")
    assert changes == [Change("quick", 2, 1, 2, 1), Change("exact", 1, 2, 1, 2)]
    now = competitions.find(lite, hosted.name)
    with pytest.raises(HarnessError, match="ranked by these rules already"):
        rescore(lite, now, formula="f1_squared_fps")
    monkeypatch.undo()
    assert [line.action for line in log.rows(lite)].count("rescore") == 1


def test_a_reader_sees_the_old_board_or_the_new_one(engine: Engine) -> None:
    """Never the ranks of one with the points of the other. Takes some seconds: the formula changes to and fro."""
    hosted = two_teams(engine)
    boards = {}
    for formula in ("f1_squared_fps", RULES.formula):
        rescore(engine, competitions.find(engine, hosted.name), formula=formula)
        boards[formula] = standings.to_csv(standings.public(engine, hosted))
    seen, over = set(), threading.Event()

    def read() -> None:
        while not over.is_set():
            seen.add(standings.to_csv(standings.public(engine, hosted)))

    reader = threading.Thread(target=read)
    reader.start()
    for turn in range(10):
        formula = ("f1_squared_fps", RULES.formula)[turn % 2]
        rescore(engine, competitions.find(engine, hosted.name), formula=formula)
    over.set()
    reader.join()
    assert seen <= set(boards.values())
