"""How a study stands: its budget, who is at work, how fast it goes and when it will be finished."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from rich.console import Group
from rich.table import Table

from harness.database.lease import GRACE
from harness.search.attributes import result_of
from harness.search.gate import Known
from harness.study import ledger, progress, refused, slots
from harness.study.ending import word
from harness.study.history import EVERY_SLOT
from harness.study.progress import Progress
from harness.study.storage import step
from harness.study.study import Shared, finished

RECENT = 20  # finished trials that the rate is of


@dataclass(frozen=True)
class Lease:
    """A trial that is running. left_s: below 0 its worker is silent for longer than its lease.

    dead: silent for so long that the next worker takes the trial up.
    """

    worker: str
    slot: int
    trial: int
    running_s: float
    left_s: float
    dead: bool = False
    progress: Progress | None = None


@dataclass(frozen=True)
class Status:
    """A study at one moment.

    slots: by state. trials: by state, but for the refused. refused: candidates refused before training, by kind.
    rate_per_h: of the last finished trials, None before the second. remaining_s: until the budget is finished at that
    rate. best: number, points and F1 of the best trial, and how many measurements its time is pooled of. timed_again:
    how many trials were timed again, as they may be the best.
    """

    study: str
    slots: dict[str, int]
    trials: dict[str, int]
    refused: dict[str, int]
    rate_per_h: float | None
    remaining_s: float | None
    best: dict[str, Any] | None
    timed_again: int
    leases: list[Lease]

    @property
    def over(self) -> bool:
        """Tell whether the budget is finished."""
        return not self.slots["free"] and not self.slots["leased"]

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return asdict(self)


def look(shared: Shared, folder: Path | None = None) -> Status:
    """Read how a study stands; nothing is changed by it.

    folder: of the study's runs on this machine, whose journals say of its own workers how far they are this moment.
    """
    name = shared.settings.name
    slots.check(shared.engine, name)

    def act(connection: sa.Connection) -> tuple[Any, list[float]]:
        return slots.leased(connection, name), slots.endings(connection, name)

    leased, ago = step(shared.optuna, shared.engine, shared.patience_s, act)
    states = ledger.counts(shared, EVERY_SLOT)
    found = shared.optuna.get_trials(deepcopy=False)
    at_work = {p.trial: p for p in progress.running(shared.optuna, found, folder)}
    numbers = {t._trial_id: t.number for t in found}
    at = [numbers.get(row["trial"], -1) for row in leased]
    leases = [_lease(row, trial, at_work.get(trial)) for row, trial in zip(leased, at, strict=True)]
    rate = _rate(ago[:RECENT])
    left = states["free"] + states["leased"]
    remaining = left / rate if rate and left else (0.0 if not left else None)
    done = [Known(t.number, result_of(t)) for t in finished(shared.optuna)] if shared.definition.is_whole else []
    trials = Counter(word(t) for t in found if not refused.is_refused(t))
    timed_again = sum(k.result.cost.sessions > 1 for k in done)
    return Status(
        study=name, slots=states, trials=dict(trials), refused=refused.counts(found), rate_per_h=rate and 3600 * rate,
        remaining_s=remaining, best=_best(shared, done), timed_again=timed_again, leases=leases,
    )  # fmt: skip


def _lease(row: Any, trial: int, progress: Progress | None) -> Lease:
    # its lease, and the grace that whoever sees it first would give it
    dead = row["left_s"] < (0 if row["warned"] else -GRACE * row["lease_s"])
    return Lease(row["owner"].partition("/")[0], row["number"], trial, row["age_s"], row["left_s"], dead, progress)


def _rate(ago: list[float]) -> float | None:
    """Return trials a second: from the oldest of the last ones until now, so that a study that stands still slows."""
    return (len(ago) - 1) / ago[-1] if len(ago) > 1 and ago[-1] > 0 else None


def _best(shared: Shared, done: list[Known]) -> dict[str, Any] | None:
    if len(shared.optuna.directions) > 1 or not done:
        return None
    result = done[0].result
    return {"trial": done[0].number, "points": result.points, "f1": result.f1, "sessions": result.cost.sessions}


def page(status: Status) -> Group:
    """Draw a status for a terminal."""
    s, total = status.slots, sum(status.slots.values())
    dead = sum(lease.dead for lease in status.leases)
    states = ", ".join(f"{n} {name}" for name, n in sorted(status.trials.items()) if name not in ("running", "waiting"))
    lines = [
        f"study {status.study}: {s['done']} of {total} trials finished; "
        f"{s['leased'] - dead} running, {s['free'] + dead} to go"
        + (f", {s['given_up']} given up after failures" if s["given_up"] else ""),
        f"trials so far: {states or 'none'}",
        *filter(None, [refused.words(status.refused)]),
    ]
    if status.rate_per_h is not None:
        lines.append(
            f"rate: {status.rate_per_h:.1f} trials an hour, by the last {min(RECENT, s['done'])}{_end(status)}"
        )
    if status.best:
        b = status.best
        points = "" if b["points"] is None else f"{b['points']:.4f} points, "
        times = f", timed {b['sessions']} times" if b["sessions"] > 1 else ""
        lines.append(f"best: trial {b['trial']}, {points}F1 {b['f1']:.4f}{times}")
    if status.timed_again:
        lines.append(f"timed again, in other minutes, as they may be the best: {status.timed_again} trials")
    if dead == len(status.leases) and not status.over:
        lines.append("no worker is running: `python tune.py` with this study.name goes on")
    table = Table("worker", "trial", "slot", "running for", *progress.COLUMNS, "lease")
    for lease in status.leases:
        table.add_row(lease.worker, str(lease.trial), str(lease.slot), _time(lease.running_s), *_now(lease))
    return Group(*lines, *([table] if status.leases else []))


def _now(lease: Lease) -> list[str]:
    """Return how far a running trial is, and whether its worker is heard of."""
    far = progress.cells(lease.progress) if lease.progress else [""] * len(progress.COLUMNS)
    silent = "[red]dead: the next worker takes it up[/red]" if lease.dead else "[red]silent[/red]"
    return [*far, f"ends in {lease.left_s:.0f} s" if lease.left_s > 0 else silent]


def _end(status: Status) -> str:
    if not status.remaining_s:
        return ""
    at = datetime.now() + timedelta(seconds=status.remaining_s)
    return f"; expected end in {_time(status.remaining_s)}, {at:%a %H:%M}"


def _time(seconds: float) -> str:
    return str(timedelta(seconds=round(seconds)))
