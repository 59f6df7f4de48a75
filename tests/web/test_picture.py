"""The picture of F1 against time shows what the board holds."""

from __future__ import annotations

import re
from dataclasses import fields, replace
from random import Random

import httpx
from hypothesis import given
from hypothesis import strategies as st
from staged import Staged, judged

from harness.board.standings import Place
from harness.web import picture

figures = st.tuples(st.integers(0, 100), st.integers(1, 100))


def place(number: int, f1: float, ratio: float) -> Place:
    """Make a place with such figures."""
    known = {"rank": number, "team": f"t{number}", "team_id": number, "url": "", "baseline": False, "entry": number}
    known |= {"f1": f1, "ratio": ratio, "ratio_low": ratio * 0.99, "ratio_high": ratio * 1.01}
    return Place(**{f.name: known.get(f.name, 0) for f in fields(Place)})


@given(st.lists(figures, min_size=1, max_size=30), st.randoms())
def test_the_line_leads_up_and_to_the_right(pairs: list[tuple[int, int]], random: Random) -> None:
    """Whatever the milliseconds are, which another moment's clock makes others: the axis is the one of the set."""
    places = [replace(place(i, f1 / 100, r / 10), latency_ms=random.random()) for i, (f1, r) in enumerate(pairs)]
    drawn = picture.draw(places)
    assert drawn
    steps = [float(value) for value in re.findall(r"H([\d.]+)", drawn.path)]
    heights = [float(value) for value in re.findall(r"V([\d.]+)", drawn.path)]
    assert steps == sorted(steps) and heights == sorted(heights, reverse=True)
    best = {(d.x, d.y) for d in drawn.dots if d.best}
    assert {x for x, _ in best} <= {*steps, float(drawn.path[1:].split()[0])} and {y for _, y in best} == {*heights}


@given(st.lists(figures, min_size=1, max_size=30))
def test_every_mark_is_inside(pairs: list[tuple[int, int]]) -> None:
    """Dots, intervals and ticks; and the axes have at least one tick each."""
    drawn = picture.draw([place(i, f1 / 100, ms / 10) for i, (f1, ms) in enumerate(pairs)], 0.8)
    assert drawn and drawn.xs and drawn.ys and len(drawn.dots) == len(pairs)
    for dot in drawn.dots:
        assert drawn.left <= dot.low <= dot.x <= dot.high <= drawn.right and drawn.top <= dot.y <= drawn.bottom
    assert all(drawn.left <= t.at <= drawn.right for t in drawn.xs)
    assert all(drawn.top <= t.at <= drawn.bottom for t in drawn.ys)


def test_an_empty_board_has_no_picture() -> None:
    """Nor has one without figures."""
    assert picture.draw([]) is None


def test_the_board_says_who_shares_a_rank(staged: Staged, client: httpx.Client) -> None:
    """Overlapping intervals share it; the page, the API and the picture have both teams."""
    judged(staged, "A", 0.9, 0.500)
    judged(staged, "B", 0.9, 0.503)
    assert [p["rank"] for p in client.get("/api/standings").json()["places"]] == [1, 1]
    text = client.get("/").text
    assert text.count('<td class="number rank">1</td>') == 2 and text.count("<circle") == 3  # one in the legend
    assert "2 teams; F1 from" in text and 'aria-labelledby="picture-title picture-told"' in text


def test_a_long_board_has_pages(staged: Staged, client: httpx.Client) -> None:
    """A page that isn't there is 404; the only page has no pager."""
    judged(staged, "A", 0.9, 0.5)
    assert client.get("/?page=2").status_code == 404 and 'class="pager"' not in client.get("/").text
