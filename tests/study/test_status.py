"""A person sees how a study stands."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
import time
from pathlib import Path

import in_process
import optuna
import pytest
import sqlalchemy as sa
from cheap import opened, result, start, until
from rich.console import Console

from harness.record.result import Result
from harness.search.attributes import result_of
from harness.search.duplicates import Duplicate
from harness.search.gate import Refused
from harness.study import ledger, refused, slots, status
from harness.study.study import Shared
from harness.study.worker import work


def finish(shared: Shared, trials: int, folder: Path) -> None:
    """Run some trials of the budget; the second is pruned."""
    whole, shared.settings.trials = shared.settings.trials, trials

    def run(trial: optuna.Trial, earlier: int | None) -> Result:
        if trial.number == 1:
            raise optuna.TrialPruned("gate: too dear")
        return result(trial)

    work(shared, run, lambda number: folder / str(number))
    shared.settings.trials = whole


def ended_ago(shared: Shared, *seconds: float) -> None:
    """Move the finished trials into the past."""
    with shared.engine.begin() as connection:
        now = slots.clock(connection)
        for number, ago in enumerate(seconds):
            mine = slots.SLOTS.c.number == number
            connection.execute(sa.update(slots.SLOTS).where(mine).values(ended=now - ago))


def text(shown: status.Status) -> str:
    """The page as plain text."""
    console = Console(width=120)
    with console.capture() as captured:
        console.print(status.page(shown))
    return captured.get()


def test_rate_and_end_follow_from_the_last_trials(url: str, tmp_path: Path) -> None:
    """Three trials, the oldest 60 s ago: two more a minute; six are left."""
    shared = opened(url, 9)
    finish(shared, 3, tmp_path)
    ended_ago(shared, 60, 40, 20)
    seen = status.look(shared)
    assert seen.slots == {"free": 6, "leased": 0, "done": 3, "given_up": 0}
    assert seen.trials == {"complete": 2, "pruned": 1}
    assert seen.rate_per_h == pytest.approx(120, rel=0.05) and seen.remaining_s == pytest.approx(180, rel=0.05)
    best = min((t for t in shared.optuna.get_trials() if t.value is not None and t.number != 1), key=lambda t: t.value)
    assert seen.best == {"trial": best.number, "points": best.value, "f1": result_of(best).f1, "sessions": 1}
    page = text(seen)
    assert "3 of 9 trials finished; 0 running, 6 to go" in page and "expected end in 0:0" in page
    assert "no worker is running" in page


def test_refused_candidates_are_counted_apart(url: str, tmp_path: Path) -> None:
    """By kind, on the page, for machines and in the summary; they are no trials that were pruned or failed."""
    shared = opened(url, 3)

    def run(trial: optuna.Trial, earlier: int | None) -> Result:
        if trial.number in (1, 2):
            raise Refused("too dear", "gate: macs 2 over the limit 1", 1.0)
        if trial.number == 4:
            raise Duplicate(0, result_of(trial.study.get_trials()[0]), None)
        return result(trial)

    assert work(shared, run, lambda number: tmp_path / str(number)) == 3
    seen = status.look(shared)
    assert seen.trials == {"complete": 3} and seen.refused == {"too dear": 2, "duplicate": 1}
    assert seen.to_dict()["refused"] == seen.refused
    words = "3 candidates refused before training: 2 too dear, 1 duplicate"
    page = text(seen)
    assert words in page and "trials so far: 3 complete\n" in page
    assert words == refused.words(refused.counts(shared.optuna.get_trials()))
    assert refused.words({"too dear": 9, "duplicate": 3}) == (
        "12 candidates refused before training: 9 too dear, 3 duplicates"
    )
    assert refused.words({}) == ""


def test_who_is_at_work_who_is_silent_and_who_is_dead(url: str, tmp_path: Path) -> None:
    """Each with its trial and its lease: a silent one gets a grace, a dead one's trial is to go; looking ends none."""
    busy = start(url, 3, tmp_path, 60, "suggest_then_hang")
    until((tmp_path / "inside").exists)
    shared = opened(url, 3)
    (lease,) = status.look(shared).leases
    assert lease.worker.endswith(f"-{busy.pid}") and lease.trial == 0 and 0 < lease.left_s <= 60
    assert "1 running, 2 to go" in text(status.look(shared)) and "no worker" not in text(status.look(shared))
    busy.kill()
    busy.join()
    lasts(shared, -10, of_s=60)
    assert [(found.dead, found.left_s < 0) for found in status.look(shared).leases] == [(False, True)]
    assert "1 running, 2 to go" in text(status.look(shared)) and "silent" in text(status.look(shared))
    lasts(shared, -31, of_s=60)
    assert [found.dead for found in status.look(shared).leases] == [True]
    page = text(status.look(shared))
    assert "0 running, 3 to go" in page and "no worker is running" in page and "dead: the next worker" in page
    assert status.look(shared).trials == {"running": 1}  # whoever looks changes nothing


def lasts(shared: Shared, left_s: float, of_s: float) -> None:
    """Let the one lease end so many seconds from now."""
    with shared.engine.begin() as connection:
        until_s = slots.clock(connection) + left_s
        held = slots.SLOTS.c.state == "leased"
        connection.execute(sa.update(slots.SLOTS).where(held).values(until=until_s, lease_s=of_s))


def test_nothing_is_promised_where_nothing_is_known(tmp_path: Path) -> None:
    """No rate without two finished trials; a finished study has no end to expect."""
    shared = opened(f"sqlite:///{tmp_path}/x.db", 2)
    empty = status.look(shared)
    assert (empty.rate_per_h, empty.remaining_s, empty.best, empty.over) == (None, None, None, False)
    assert "rate" not in text(empty) and "trials so far: none" in text(empty)
    finish(shared, 2, tmp_path)
    done = status.look(shared)
    assert done.over and done.remaining_s == 0 and "expected end" not in text(done)


def command(url: str, *more: str) -> list[str]:
    """The verb as a person types it."""
    return [sys.executable, "-m", "harness", "status", "study=cheap", f"storage.url={url}", *more]


def test_the_verb_prints_once_into_a_pipe_and_json_for_machines(tmp_path: Path) -> None:
    """A pipe is what isn't a terminal."""
    url = f"sqlite:///{tmp_path}/x.db"
    finish(opened(url, 3), 2, tmp_path)
    assert "2 of 3 trials finished" in in_process.run(tmp_path, *command(url)[1:]).stdout
    raw = json.loads(in_process.run(tmp_path, *command(url, "--json")[1:]).stdout)
    assert raw["slots"]["done"] == 2 and raw["leases"] == []


def plain(seen: str) -> str:
    """What a terminal was sent, without colours and movements."""
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", seen)


def test_in_a_terminal_it_is_live_until_the_study_is_over(tmp_path: Path) -> None:
    """A real terminal; the study goes on while somebody looks. Over 5 s: a Python starts, and it looks every 2 s."""
    url = f"sqlite:///{tmp_path}/x.db"
    shared = opened(url, 3)
    finish(shared, 2, tmp_path)
    ours, theirs = pty.openpty()
    looking = subprocess.Popen(command(url), stdout=theirs, stderr=theirs, env=os.environ | {"TERM": "xterm"})
    os.close(theirs)
    seen = ""
    begin = time.monotonic()
    while time.monotonic() - begin < 60:
        try:
            seen += os.read(ours, 4096).decode(errors="replace")
        except OSError:  # the terminal's other end is closed
            break
        if "2 of 3" in plain(seen) and ledger.counts(shared)["free"]:
            finish(shared, 3, tmp_path)
    assert looking.wait(60) == 0
    assert "3 of 3 trials finished" in plain(seen)
