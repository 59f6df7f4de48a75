"""The journal: complete after a kill, whatever was torn."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.record.journal import Journal

WRITER = """
import sys
from pathlib import Path
from harness.record.journal import Journal
journal = Journal(Path(sys.argv[1]))
for epoch in range(1, 10**9):
    journal.log(epoch=epoch, loss=1 / epoch, note="x" * 2000)
    print(epoch, flush=True)
"""


def test_every_row_that_was_logged_is_there_after_a_kill(tmp_path: Path):
    """Ten writers killed at random moments: all rows that `log` returned from, in order, and at most one more."""
    draw = random.Random(0)
    for number in range(10):
        folder = tmp_path / str(number)
        with subprocess.Popen([sys.executable, "-c", WRITER, str(folder)], stdout=subprocess.PIPE, text=True) as writer:
            writer.stdout.readline()
            time.sleep(draw.uniform(0, 0.05))
            writer.kill()
            told = [1, *map(int, writer.stdout.read().split("\n")[:-1])]
        found = [row["epoch"] for row in Journal(folder).rows()]
        assert found == list(range(1, len(found) + 1))
        assert told[-1] <= len(found) <= told[-1] + 1


@given(cut=st.integers(0, 400))
def test_a_torn_last_line_is_left_out(tmp_path_factory: pytest.TempPathFactory, cut: int):
    """Cut the file at any byte: what is read are the rows whose whole line is left."""
    journal = Journal(tmp_path_factory.mktemp("run"))
    written = [journal.log(epoch=epoch, loss=0.5 / epoch) for epoch in range(1, 8)]
    torn = journal.path.read_bytes()[:cut]
    journal.path.write_bytes(torn)
    assert journal.rows() == written[: torn.count(b"\n")]


def test_rewind_drops_later_epochs_and_the_torn_line(tmp_path: Path):
    """After a rewind the next row stands on a line of its own, and each epoch is there once."""
    journal = Journal(tmp_path)
    for epoch in (1, 2, 3, 4):
        journal.log(epoch=epoch)
    with journal.path.open("a") as file:
        file.write('{"epoch": 5, "lo')
    journal.rewind(2)
    journal.log(epoch=3)
    assert [row["epoch"] for row in journal.rows()] == [1, 2, 3]
    assert all(json.loads(line) for line in journal.path.read_text().splitlines())


def test_a_rewind_of_nothing_is_an_empty_journal(tmp_path: Path):
    """A run that starts has no rows, and rewinding it makes none."""
    journal = Journal(tmp_path / "new" / "run")
    assert journal.rows() == []
    journal.rewind(0)
    assert journal.rows() == []


def test_rows_carry_the_time(tmp_path: Path):
    """Seconds since 1970, to the millisecond, first in the row."""
    before = time.time() - 0.001
    row = Journal(tmp_path).log(epoch=1)
    assert list(row) == ["time", "epoch"] and before <= row["time"] <= time.time() + 0.001
