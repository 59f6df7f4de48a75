"""Judges and clients of a real queue are killed, stopped and cut off: nothing is lost and nothing counts twice.

The short form of `long_queue.py`; over 5 s as leases have to run out.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from queue_drive import Plan
from queue_storm import storm


@pytest.mark.parametrize("kind", ["sqlite", "postgres", "mariadb"])
def test_a_short_storm_on_the_queue_breaks_nothing(kind: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    """The long one's seeds are others."""
    url = f"sqlite:///{tmp_path}/x.db" if kind == "sqlite" else request.getfixturevalue(f"{kind}_url")
    plan = Plan(kills=6, stops=1, outages=1, seed=1, entries=50, asked=1, clients=2, judges=4, lease_s=1.0)
    code, told = storm(kind, url, tmp_path, plan, quiet=True)
    assert code == 0, told
