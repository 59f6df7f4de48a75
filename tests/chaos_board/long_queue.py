"""The long storm on the queue, for `make chaos`: 10,000 entries, 1,000 kill -9 and 100 SIGSTOPs; minutes each."""

from __future__ import annotations

import os
import platform
from pathlib import Path

import pytest
from queue_drive import Plan
from queue_storm import storm

ENTRIES, KILLS, STOPS, OUTAGES = 10_000, 1_000, 100, 8
SEED = int(os.environ.get("CHAOS_SEED", "7"))


@pytest.mark.parametrize("kind", ["sqlite", "postgres", "mariadb"])
def test_a_long_storm_on_the_queue_breaks_nothing(kind: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    """What is printed in the end is the result; a count that isn't 0 fails it."""
    url = f"sqlite:///{tmp_path}/x.db" if kind == "sqlite" else request.getfixturevalue(f"{kind}_url")
    code, told = storm(kind, url, tmp_path, Plan(KILLS, STOPS, OUTAGES, SEED, ENTRIES), quiet=False)
    print(f"\nPython {platform.python_version()}, Linux {platform.release()}, {os.cpu_count()} cores; {told}")
    assert code == 0
