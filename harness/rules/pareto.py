"""The Pareto set: what nothing beats in F1 and time at once. One function for tables, pictures and boards."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeVar

T = TypeVar("T")


def front(items: Iterable[T], key: Callable[[T], tuple[float, float]]) -> list[T]:
    """Return the items that no other beats, the fastest first; of equal ones the first that was given.

    key: F1 and the time in times of the reference network's. An item beats another if it is no worse in both and better
    in one. Each item returned has more F1 than the one before it.
    """
    kept: list[T] = []
    for item in sorted(items, key=lambda i: (key(i)[1], -key(i)[0])):
        if not kept or key(item)[0] > key(kept[-1])[0]:
            kept.append(item)
    return kept
