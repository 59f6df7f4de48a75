"""How far running trials are: seen at once on their own machine, after some seconds on others."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import optuna
import pytest
from cheap import COST, opened, result, until
from optuna.trial import FrozenTrial, TrialState, create_trial
from rich.console import Console

from harness import database
from harness.record.journal import Journal, last_row
from harness.record.result import Result
from harness.search import attributes
from harness.study import ledger, own_folder, progress, status, worker
from harness.study.study import Shared
from harness.study.worker import work

CANDIDATE = {"recipe": {"epochs": 10}}


def at_work(**attributes: object) -> FrozenTrial:
    """A trial that runs, with what its worker has noted."""
    trial = create_trial(state=TrialState.RUNNING, user_attrs={"worker": "host-1", **attributes})
    trial.number = 3
    return trial


def told(trial: FrozenTrial) -> str:
    """What is said of it where no run folder is."""
    (one,) = progress.running(optuna.create_study(), [trial])
    return progress.words(one)


def test_what_is_known_is_said_from_the_first_moment() -> None:
    """Before its first epoch has ended, too."""
    drawn, timed = {"candidate": CANDIDATE}, {"candidate": CANDIDATE, "cost": COST.to_dict()}
    rows = {"progress": {"epoch": 4, "loss": 1.25}, "rungs": {"4": 0.5}}
    assert told(at_work()) == "trial 3: starting"
    assert told(at_work(**drawn)) == "trial 3: timing"
    assert told(at_work(**timed)) == "trial 3: epoch 0 of 10, 1.0000 ms"
    assert told(at_work(**timed, **rows)) == "trial 3: epoch 4 of 10, loss 1.2500, F1 0.5000, 1.0000 ms"
    assert told(at_work(**timed, progress={"epoch": 10, "loss": 1.0})) == "trial 3: scoring, loss 1.0000, 1.0000 ms"


def test_the_last_rung_is_the_one_of_the_most_epochs() -> None:
    """Keys of JSON are text: 10 comes after 9."""
    assert "F1 0.9000" in told(at_work(candidate=CANDIDATE, rungs={"9": 0.1, "10": 0.9}))


def test_finished_trials_are_not_among_them() -> None:
    """Nor those that wait."""
    others = [create_trial(state=TrialState.COMPLETE, value=1.0), create_trial(state=TrialState.WAITING)]
    assert progress.running(optuna.create_study(), others) == []


def test_on_its_own_machine_the_journal_is_ahead(lite: str, tmp_path: Path) -> None:
    """But not that of another study's trial with the same number; and looking makes no folder."""
    shared = opened(lite, 2)
    ours, other = tmp_path / "ours", tmp_path / "other"
    own_folder.claim(shared.optuna, ours)
    trial = at_work(candidate=CANDIDATE, cost=COST.to_dict(), progress={"epoch": 1, "loss": 2.0})
    for folder in (ours, other):
        Journal(folder / "00003").log(epoch=6, loss=0.5)
    assert [p.epoch for p in progress.running(shared.optuna, [trial], ours)] == [6]
    assert [p.epoch for p in progress.running(shared.optuna, [trial], other)] == [1]
    assert [p.epoch for p in progress.running(shared.optuna, [trial], tmp_path / "none")] == [1]
    assert not (tmp_path / "none").exists() and not (other / own_folder.NAME).exists()


def test_the_last_whole_row_is_read(tmp_path: Path) -> None:
    """Of a file that is being written; a damaged one tells nothing."""
    assert last_row(tmp_path / "none") is None
    journal = Journal(tmp_path)
    journal.log(epoch=1)
    journal.path.open("a").write('{"epoch": 2, "lo')
    assert last_row(tmp_path)["epoch"] == 1
    journal.path.write_text("\x00\n")
    assert last_row(tmp_path) is None


def test_a_worker_notes_it_for_other_machines(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beside its lease's renewal; `status` shows it without the run folder, on the page and to machines."""
    monkeypatch.setattr(worker, "NOTE_S", 0.0)
    shared, seen = opened(url, 1, lease_s=2.0), threading.Event()

    def run(trial: optuna.Trial, earlier: int | None) -> Result:
        trial.set_user_attr(attributes.CANDIDATE, CANDIDATE)
        trial.set_user_attr(attributes.COST, COST.to_dict())
        Journal(tmp_path / "0").log(epoch=3, loss=0.75)
        assert seen.wait(120)
        return result(trial)

    thread = threading.Thread(target=work, args=(shared, run, lambda number: tmp_path / str(number)))
    thread.start()
    try:
        other = opened(url, 1)
        until(lambda: [lease.progress and lease.progress.epoch for lease in status.look(other).leases] == [3])
        found = status.look(other)
    finally:
        seen.set()
        thread.join()
    assert found.to_dict()["leases"][0]["progress"]["loss"] == 0.75
    console = Console(width=120)
    with console.capture() as page:
        console.print(status.page(found))
    row = next(line for line in page.get().splitlines() if "3 of 10" in line)
    assert "0.7500" in row and "1.0000" in row


@pytest.fixture
def counted(lite: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Shared, list[dict]]:
    """A study, and the notes that are written."""
    notes: list[dict] = []
    monkeypatch.setattr(ledger, "note", lambda shared, turn, row: notes.append(row))
    return opened(lite, 1), notes


def test_a_trial_writes_one_note_in_some_seconds(
    counted: tuple[Shared, list[dict]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However often it is asked and however fast its epochs are; and none where there is nothing new."""
    shared, notes = counted
    now = 1000.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    note, journal = worker._noting(shared, None, tmp_path), Journal(tmp_path)
    for second in range(101):
        now = 1000.0 + second
        if second < 50:
            journal.log(epoch=second + 1)
        note()
    assert [row["epoch"] for row in notes] == [11, 21, 31, 41, 50]


def test_a_note_that_fails_disturbs_nobody(lite: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The database is away, or somebody has ended the trial by hand: the lease's thread goes on, and notes later."""
    wrong = [database.Away("away", "wait"), optuna.exceptions.UpdateFinishedTrialError("ended")]
    notes: list[dict] = []

    def fail(_shared: Shared, _turn: object, row: dict) -> None:
        if wrong:
            raise wrong.pop()
        notes.append(row)

    monkeypatch.setattr(ledger, "note", fail)
    monkeypatch.setattr(worker, "NOTE_S", 0.0)
    Journal(tmp_path).log(epoch=1)
    note = worker._noting(opened(lite, 1), None, tmp_path)
    for _ in range(4):
        note()
    assert [row["epoch"] for row in notes] == [1]


def test_a_note_waits_for_no_database(lite: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is tried once, not for the worker's patience."""
    shared = opened(lite, 1, patience_s=300.0)
    turn = ledger.take(shared, "w/1", lambda number: Path("none"))
    tries = []

    def away(*_: object) -> None:
        tries.append(1)
        raise ConnectionResetError

    monkeypatch.setattr(shared.optuna._storage._backend, "transaction", away)
    monkeypatch.setattr(database.patience, "passing", lambda e: True)
    with pytest.raises(database.Away):
        ledger.note(shared, turn, {"epoch": 1})
    assert len(tries) == 1
