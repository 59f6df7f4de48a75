"""Of 64 submissions at once from eight processes, when a team may have one more, exactly one is accepted.

The short form of `long_last_place.py`.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from last_place import CAP, rounds
from queue_mutants import check_then_insert


@pytest.mark.parametrize("kind", ["sqlite", "postgres", "mariadb"])
def test_of_64_at_once_from_eight_processes_one_is_accepted(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """Whatever the database. Takes some seconds: 64 connections wait for one another."""
    url = f"sqlite:///{tmp_path}/x.db" if kind == "sqlite" else request.getfixturevalue(f"{kind}_url")
    assert rounds(url, 1) == [CAP]


def test_a_look_before_the_insert_lets_more_in(tmp_path: Path) -> None:
    """The control: the quota is looked at in one transaction, and the entry inserted in another."""
    assert max(rounds(f"sqlite:///{tmp_path}/x.db", 1, check_then_insert)) > CAP
