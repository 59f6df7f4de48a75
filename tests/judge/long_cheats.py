"""All cheats and all honest networks before the judge, as a table: `make chaos` (3 minutes)."""

from __future__ import annotations

from pathlib import Path

import cheats
import pytest
from rich.console import Console
from rich.table import Table
from test_cheats import digits, expected, name_of, reason

from harness.data.split import Dataset
from harness.rules.competition import Competition
from harness.sandbox.remote import Mode

__all__ = ["digits"]


def test_all_cheats_are_caught_and_no_honest_network_is(
    digits: tuple[Dataset, Competition], tmp_path: Path, mode: Mode, capsys: pytest.CaptureFixture[str]
) -> None:
    """By the check that each is meant for; the last lines count."""
    cases = [*cheats.HONEST, *cheats.GRAPHS, *cheats.PROGRAMS]
    table = Table("case", "what it does", "expected", "found", title=f"cheats and honest controls ({mode})")
    found = {}
    for case in cases:
        folder = tmp_path / name_of(case)
        folder.mkdir()
        found[case] = reason(case, digits, folder, mode)
        wanted = " or ".join(expected(case)) or "passes"
        table.add_row(name_of(case), cheats.told(case), wanted, found[case] or "passes")
    caught = [case for case in cases[len(cheats.HONEST) :] if found[case]]
    alarms = [name_of(case) for case in cheats.HONEST if found[case]]
    with capsys.disabled():
        Console(width=140).print(table)
        print(f"caught {len(caught)} of {len(cases) - len(cheats.HONEST)} cheats; false alarms on "
              f"{len(alarms)} of {len(cheats.HONEST)} honest networks", flush=True)  # fmt: skip
    assert not alarms and len(caught) == len(cases) - len(cheats.HONEST)
    assert all(found[case] in expected(case) for case in cases)
