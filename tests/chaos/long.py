"""The long storm, `make chaos`: 500 kill -9 and 100 SIGSTOPs on each kind of database, minutes each."""

from __future__ import annotations

import os
import platform
from pathlib import Path

import pytest
from drive import Plan
from storm import storm

KILLS, STOPS, OUTAGES = 500, 100, 8
SEED = int(os.environ.get("CHAOS_SEED", "7"))


@pytest.mark.parametrize("kind", ["sqlite", "postgres", "mariadb"])
def test_a_long_storm_breaks_nothing(kind: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    """What is printed in the end is the result; a count that isn't 0 fails it."""
    url = f"sqlite:///{tmp_path}/x.db" if kind == "sqlite" else request.getfixturevalue(f"{kind}_url")
    code, told = storm(kind, url, tmp_path, Plan(KILLS, STOPS, OUTAGES, SEED), quiet=False)
    print(f"\nPython {platform.python_version()}, Linux {platform.release()}, {os.cpu_count()} cores; {told}")
    assert code == 0
