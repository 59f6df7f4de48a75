"""Ranks are shared where intervals overlap; the private part decides; a changed formula switches at one moment."""

from __future__ import annotations

import csv
import io
import json
import threading
from dataclasses import replace

import pytest
from hosting import RULES, host, judged, submit, verdict
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Engine

from harness.board import competitions, picks, queue, standings, teams
from harness.board.rescore import Change, rescore
from harness.board.standings import Place, ranked
from harness.errors import HarnessError
from harness.rules.competition import Competition


def place(team: str, points: float, half: float, created: float = 0.0, baseline: bool = False) -> Place:
    """Make up a team's place."""
    return Place(
        rank=None, team=team, team_id=0, url="", baseline=baseline, entry=1, name="e", points=points,
        low=points - half, high=points + half, f1=0.5, latency_ms=1.0, latency_low_ms=1.0, latency_high_ms=1.0,
        ratio=1.0, ratio_low=1.0, ratio_high=1.0, macs=1, size_bytes=1, created=created, entries=1,
    )  # fmt: skip


def test_who_overlaps_the_leader_of_a_group_shares_its_rank() -> None:
    """A chain of near ones isn't one rank; a baseline has none and moves nobody."""
    chain = [place("a", 1.0, 0.06), place("b", 1.1, 0.06), place("base", 1.15, 0, baseline=True), place("c", 1.2, 0.06)]
    assert [(p.team, p.rank) for p in ranked(chain, RULES)] == [("a", 1), ("b", 1), ("base", None), ("c", 3)]


def test_equal_points_are_in_the_order_they_came() -> None:
    """And where higher points are better, the order turns."""
    places = [place("late", 1.0, 0.1, created=2.0), place("early", 1.0, 0.1, created=1.0), place("more", 2.0, 0.1)]
    assert [p.team for p in ranked(places, RULES)] == ["early", "late", "more"]
    higher = replace(RULES, formula="f1_squared_fps")
    assert [(p.team, p.rank) for p in ranked(places, higher)] == [("more", 1), ("early", 2), ("late", 2)]


@given(st.lists(st.tuples(st.floats(0, 10), st.floats(0, 2)), max_size=12))
def test_ranks_are_places_and_groups_overlap_their_leader(values: list[tuple[float, float]]) -> None:
    """Whatever the intervals are."""
    found = ranked([place(str(i), p, h, created=i) for i, (p, h) in enumerate(values)], RULES)
    assert sorted(found, key=lambda p: (p.points, p.created)) == found
    for number, p in enumerate(found):
        leader = found[p.rank - 1]
        assert leader.rank == p.rank <= number + 1
        assert leader.low <= p.high
        assert p.low <= leader.high
        if p.rank == number + 1 and number:
            before = found[found[number - 1].rank - 1]
            assert p.low > before.high or p.high < before.low


def test_the_private_part_decides_by_the_picks(lite: Engine) -> None:
    """The best of the picks; without picks, the entry that stands on the public board."""
    hosted = host(lite, ladder=False)
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


def two_teams(engine: Engine, **changes: object) -> competitions.Hosted:
    """Let a quick and an exact team compete."""
    hosted = host(engine, ladder=False, **changes)
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


def test_a_board_of_mean_ranks_can_be_had_too(lite: Engine) -> None:
    """Its points come from the whole board."""
    hosted = two_teams(lite)
    rescore(lite, hosted, formula="rank_mean")
    assert [(p.team, p.points) for p in standings.private(lite, hosted)] == [("quick", 1.5), ("exact", 1.5)]


@pytest.mark.parametrize(
    ("rules", "reason"),
    [
        ({"threads": 2}, "threads: entries were measured by it"),
        ({"formula": "boostcamp2021c"}, "unknown 'boostcamp2021c'"),
        ({"formula": Competition().formula}, "ranked by these rules already"),
    ],
)
def test_what_would_need_the_models_again_is_refused(lite: Engine, rules: dict[str, object], reason: str) -> None:
    """As is a formula that isn't known, or no change."""
    with pytest.raises(HarnessError, match=reason):
        rescore(lite, two_teams(lite), **rules)


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
