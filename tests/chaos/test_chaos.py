"""Workers of a real study are killed, stopped and cut off; nothing is lost and nothing counts twice.

The short form of `make chaos`; over 5 s as leases have to run out.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from drive import Plan
from storm import storm


@pytest.mark.parametrize("kind", ["sqlite", "postgres", "mariadb"])
def test_a_short_storm_breaks_nothing(kind: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    """The long one's seeds are others."""
    url = f"sqlite:///{tmp_path}/x.db" if kind == "sqlite" else request.getfixturevalue(f"{kind}_url")
    plan = Plan(kills=5, stops=1, outages=1, seed=1, trials=10, workers=4, lease_s=1.0)
    code, told = storm(kind, url, tmp_path, plan, quiet=True)
    assert code == 0, told
