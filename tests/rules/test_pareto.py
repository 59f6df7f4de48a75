"""The Pareto set, by one function for tables, pictures and boards."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from harness.rules.pareto import front

grid = st.tuples(st.sampled_from([0.5, 0.6, 0.7, 0.8]), st.sampled_from([0.5, 1.0, 2.0, 4.0]))
pairs = st.lists(grid | st.tuples(st.floats(0, 1), st.floats(0.01, 100)), max_size=30)


def beats(a: tuple[float, float], b: tuple[float, float]) -> bool:
    """Say whether a is no worse in both and better in one."""
    return a[0] >= b[0] and a[1] <= b[1] and a != b


@given(pairs)
def test_it_is_what_nothing_beats(points: list[tuple[float, float]]) -> None:
    """By brute force, ties and doubles included; fastest first, and each next one is better."""
    found = front(points, lambda p: p)
    assert set(found) == {p for p in points if not any(beats(o, p) for o in points)}
    assert found == sorted(found, key=lambda p: p[1]) == sorted(set(found))


@given(pairs, st.randoms())
def test_the_order_of_what_is_given_makes_no_difference(points: list[tuple[float, float]], random: object) -> None:
    """But for which of equal ones is taken: the first."""
    mixed = random.sample(points, len(points))
    assert front(points, lambda p: p) == front(mixed, lambda p: p)
    assert front([("a", 0.5, 1.0), ("b", 0.5, 1.0)], lambda i: i[1:]) == [("a", 0.5, 1.0)]
