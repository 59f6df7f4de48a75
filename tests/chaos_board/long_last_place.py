"""200 rounds of 64 submissions at once on each kind of database, for `make chaos`."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from last_place import CAP, rounds
from queue_mutants import check_then_insert

ROUNDS, CONTROLS = 200, 20


@pytest.mark.parametrize("kind", ["sqlite", "postgres", "mariadb"])
def test_200_times_exactly_one_is_accepted(kind: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    """And beside it the control, which lets more in."""
    url = f"sqlite:///{tmp_path}/x.db" if kind == "sqlite" else request.getfixturevalue(f"{kind}_url")
    there = rounds(url, ROUNDS)
    over = Counter(n - CAP for n in there)
    print(f"\n{kind}: {ROUNDS} rounds of 64 at quota - 1: too many or too few by {dict(over)}")
    assert there == [CAP] * ROUNDS


def test_the_control_of_200_rounds(tmp_path: Path) -> None:
    """A look before the insert."""
    there = rounds(f"sqlite:///{tmp_path}/x.db", CONTROLS, check_then_insert)
    print(f"\ncontrol: {CONTROLS} rounds: too many by {dict(Counter(n - CAP for n in there))}")
    assert max(there) > CAP
