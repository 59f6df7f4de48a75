"""How a study stands: its budget, who is at work, how fast it goes and when it will be finished."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from rich.console import Group
from rich.table import Table

from harness.database.lease import GRACE
from harness.search.attributes import result_of
from harness.study import ledger, refused, slots
from harness.study.ending import word
from harness.study.history import EVERY_SLOT
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


@dataclass(frozen=True)
class Status:
    """A study at one moment.

    slots: by state. trials: by state, but for the refused. refused: candidates refused before training, by kind.
    rate_per_h: of the last finished trials, None before the second. remaining_s: until the budget is finished at that
    rate. best: number, points and F1 of the best trial.
    """

    study: str
    slots: dict[str, int]
    trials: dict[str, int]
    refused: dict[str, int]
    rate_per_h: float | None
    remaining_s: float | None
    best: dict[str, Any] | None
    leases: list[Lease]

    @property
    def over(self) -> bool:
        """Tell whether the budget is finished."""
        return not self.slots["free"] and not self.slots["leased"]

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return asdict(self)


def look(shared: Shared) -> Status:
    """Read how a study stands; nothing is changed by it."""
    name = shared.settings.name
    slots.check(shared.engine, name)

    def act(connection: sa.Connection) -> tuple[Any, list[float]]:
        return slots.leased(connection, name), slots.endings(connection, name)

    leased, ago = step(shared.optuna, shared.engine, shared.patience_s, act)
    states = ledger.counts(shared, EVERY_SLOT)
    found = shared.optuna.get_trials(deepcopy=False)
    numbers = {t._trial_id: t.number for t in found}
    leases = [_lease(row, numbers.get(row["trial"], -1)) for row in leased]
    rate = _rate(ago[:RECENT])
    left = states["free"] + states["leased"]
    remaining = left / rate if rate and left else (0.0 if not left else None)
    trials = Counter(word(t) for t in found if not refused.is_refused(t))
    return Status(
        study=name, slots=states, trials=dict(trials), refused=refused.counts(found), rate_per_h=rate and 3600 * rate,
        remaining_s=remaining, best=_best(shared), leases=leases,
    )  # fmt: skip


def _lease(row: Any, trial: int) -> Lease:
    # its lease, and the grace that whoever sees it first would give it
    dead = row["left_s"] < (0 if row["warned"] else -GRACE * row["lease_s"])
    return Lease(row["owner"].partition("/")[0], row["number"], trial, row["age_s"], row["left_s"], dead)


def _rate(ago: list[float]) -> float | None:
    """Return trials a second: from the oldest of the last ones until now, so that a study that stands still slows."""
    return (len(ago) - 1) / ago[-1] if len(ago) > 1 and ago[-1] > 0 else None


def _best(shared: Shared) -> dict[str, Any] | None:
    if len(shared.optuna.directions) > 1 or not shared.definition.is_whole:  # an earlier version's has no `Result`
        return None
    for trial in finished(shared.optuna)[:1]:
        result = result_of(trial)
        return {"trial": trial.number, "points": result.points, "f1": result.f1}
    return None


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
        lines.append(f"best: trial {b['trial']}, {points}F1 {b['f1']:.4f}")
    if dead == len(status.leases) and not status.over:
        lines.append("no worker is running: `python tune.py` with this study.name goes on")
    table = Table("worker", "trial", "slot", "running for", "lease")
    for lease in status.leases:
        gone = "[red]dead: the next worker goes on with it[/red]" if lease.dead else "[red]silent[/red]"
        silent = f"ends in {lease.left_s:.0f} s" if lease.left_s > 0 else gone
        table.add_row(lease.worker, str(lease.trial), str(lease.slot), _time(lease.running_s), silent)
    return Group(*lines, *([table] if status.leases else []))


def _end(status: Status) -> str:
    if not status.remaining_s:
        return ""
    at = datetime.now() + timedelta(seconds=status.remaining_s)
    return f"; expected end in {_time(status.remaining_s)}, {at:%a %H:%M}"


def _time(seconds: float) -> str:
    return str(timedelta(seconds=round(seconds)))
