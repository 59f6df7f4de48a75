"""The picture of F1 against latency shows what the board holds."""

from __future__ import annotations

from dataclasses import fields

import httpx
from hypothesis import given
from hypothesis import strategies as st
from staged import Staged, judged

from harness.board.standings import Place
from harness.web import picture

figures = st.tuples(st.integers(0, 100), st.integers(1, 100))


def place(number: int, f1: float, ms: float) -> Place:
    """Make a place with such figures."""
    known = {"rank": number, "team": f"t{number}", "team_id": number, "url": "", "baseline": False, "entry": number}
    known |= {"f1": f1, "latency_ms": ms, "latency_low_ms": ms * 0.99, "latency_high_ms": ms * 1.01}
    return Place(**{f.name: known.get(f.name, 0) for f in fields(Place)})


@given(st.lists(figures, min_size=1, max_size=30))
def test_the_line_joins_those_that_nobody_beats(pairs: list[tuple[int, int]]) -> None:
    """By brute force: none is at least as good and as fast, and better in one of the two."""
    places = [place(i, f1 / 100, ms / 10) for i, (f1, ms) in enumerate(pairs)]

    def beaten(p: Place) -> bool:
        return any(
            q.f1 >= p.f1 and q.latency_ms <= p.latency_ms and (q.f1, -q.latency_ms) != (p.f1, -p.latency_ms)
            for q in places
        )

    expected = {(p.f1, p.latency_ms) for p in places if not beaten(p)}
    assert {(p.f1, p.latency_ms) for p in picture.front(places)} == expected


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
