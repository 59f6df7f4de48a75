"""Read a kill test's history and database when all is over, and count what must not have been.

Run it as `python tests/chaos/check.py FOLDER URL`. It knows the tables and the history, and shares no code with what it
judges but the parsing of a url.
"""

from __future__ import annotations

import json
import math
import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from history import read
from scipy.stats import beta

from harness import database

GRACE, TRIES = 0.5, 3
FINISHED = ("COMPLETE", "PRUNED")
DIED = ("its worker died", "its worker was killed by signal 9")
PLANNED = "ValueError: planned"
AFTER_ALL = "has a result after all"
FACTORS = 1 + 2 + 3 + 4
"""A complete trial's value is its candidate times this."""


@dataclass
class Trial:
    """A trial in the database."""

    id: int
    number: int
    state: str
    x: float | None = None
    value: float | None = None
    notes: dict[str, Any] = field(default_factory=dict)

    @property
    def finished(self) -> bool:
        """A candidate that was refused and replaced may be pruned, and counts for nothing."""
        return self.state in FINISHED and "refused" not in self.notes


class Study:
    """All that is known of one study. Lines of the history are in the order in which they were written."""

    def __init__(self, name: str, lines: list[dict[str, Any]], engine: sa.Engine) -> None:
        self.name, self.lines = name, lines
        (self.head,) = [line for line in lines if line["event"] == "study"]
        self.budget, self.lease_s = self.head["trials"], self.head["lease_s"]
        with engine.connect() as connection:
            self.trials = _trials(connection, name)
            query = sa.text("SELECT number, state, token, trial FROM harness_slots WHERE study = :name")
            self.slots = connection.execute(query, {"name": name}).mappings().all()
        self.by_number = {t.number: t for t in self.trials.values()}
        self.finished = [t for t in self.trials.values() if t.finished]
        # the last line that begins a trial is the one whose transaction lasted: an id that was undone comes back
        self.begun = {line["id"]: line for line in self.of("begin")}
        self.claimed = {}
        for line in self.of("claim"):
            self.claimed[line["slot"], line["token"]] = line["t"]
        self.killed = {line["who"]: line["t"] for line in self.of("dying")}
        self.killed |= {line["worker"]: line["t"] for line in self.of("killed")}
        self.asleep = defaultdict(list)  # of each worker: when it was stopped and woken
        for line in lines:
            if line["event"] in ("stopped", "stopping"):
                self.asleep[line.get("worker", line["who"])].append([line["t"], math.inf])
            elif line["event"] == "woken" and self.asleep[line["worker"]]:
                self.asleep[line["worker"]][-1][1] = line["t"]

    def of(self, *events: str) -> list[dict[str, Any]]:
        return [line for line in self.lines if line["event"] in events]

    def slot_of(self, trial: Trial) -> int | None:
        """Return the slot in which a trial, or the one whose result it is, was begun."""
        if (origin := trial.notes.get("result_of")) is not None:
            trial = self.by_number[origin]
        line = self.begun.get(trial.id)
        return line["slot"] if line else None

    def taken_over(self, slot: int, token: int) -> float:
        """Return when somebody claimed a slot after this holder."""
        later = [t for (number, other), t in self.claimed.items() if number == slot and other > token]
        return min(later, default=math.inf)

    def healthy(self) -> Iterator[tuple[Trial, dict[str, Any]]]:
        """Yield the trials during which nothing befell their worker, each with the line of its beginning."""
        ended = {line["id"]: line["t"] for line in reversed(self.of("told", "gave-back"))}
        ended |= {line["old"]: line["t"] for line in self.of("replaced")}
        for t in self.trials.values():
            if (begun := self.begun.get(t.id)) is None:
                continue
            end = min(ended.get(t.id, math.inf), self.taken_over(begun["slot"], begun["token"]))
            struck = [[self.killed.get(begun["who"], math.inf)] * 2, *self.asleep.get(begun["who"], [])]
            if not any(since <= end and begun["t"] <= until for since, until in struck):
                yield t, begun


def _trials(connection: sa.Connection, study: str) -> dict[int, Trial]:
    mine = "SELECT t.trial_id {} FROM trials t JOIN studies s ON s.study_id = t.study_id {} WHERE s.study_name = :name"

    def rows(columns: str, join: str = "") -> Any:
        return connection.execute(sa.text(mine.format(columns, join)), {"name": study})

    found = {row[0]: Trial(*row) for row in rows(", t.number, t.state")}
    for id_, x in rows(", p.param_value", "JOIN trial_params p ON p.trial_id = t.trial_id"):
        found[id_].x = x
    for id_, value in rows(", v.value", "JOIN trial_values v ON v.trial_id = t.trial_id"):
        found[id_].value = value
    notes = "JOIN trial_user_attributes a ON a.trial_id = t.trial_id"
    for id_, key, value in rows(", a.key, a.value_json".replace("a.key", _quoted(connection, "key")), notes):
        found[id_].notes[key] = json.loads(value)
    return found


def _quoted(connection: sa.Connection, column: str) -> str:
    return f"a.{connection.dialect.identifier_preparer.quote(column)}"


# Each of these returns how many things it looked at, and a sentence for each that is wrong.
Found = tuple[int, list[str]]


def executed_twice(study: Study) -> Found:
    """A trial that two processes ran; or a candidate that was run again though its result lay on the disk."""
    runs, wrong = defaultdict(set), []
    for line in study.of("execute-begin"):
        runs[line["number"]].add(line["who"])
    wrong += [f"trial {number} was run by {', '.join(sorted(who))}" for number, who in runs.items() if len(who) > 1]
    written = {line["id"]: line for line in study.of("outcome")}
    numbers = {t.number: t.id for t in study.trials.values()}
    for line in study.of("execute-begin"):
        earlier = written.get(numbers.get(line["earlier"]))
        mine = study.begun.get(line["id"])
        if earlier and mine and earlier["t"] < study.claimed[mine["slot"], mine["token"]]:
            wrong.append(f"trial {line['number']} computed again what trial {line['earlier']} had on the disk")
    return len(runs), wrong


def counted_twice(study: Study) -> Found:
    """A slot, or a candidate, with more than one finished trial; a slot that two workers took for their own."""
    slots = Counter(study.slot_of(t) for t in study.finished)
    candidates = Counter(t.x for t in study.finished)
    told = defaultdict(set)
    for line in study.of("told"):
        if line["ok"]:
            told[line["slot"]].add(line["id"])
    wrong = [f"slot {slot} has {n} finished trials" for slot, n in slots.items() if n > 1 or slot is None]
    wrong += [f"candidate {x} has {n} finished trials" for x, n in candidates.items() if n > 1]
    wrong += [f"slot {slot} was told by trials {sorted(ids)}" for slot, ids in told.items() if len(ids) > 1]
    return len(study.finished), wrong


def lost(study: Study) -> Found:
    """A slot that is neither done, by a trial that finished, nor given up after its tries."""
    there, wrong = {slot["number"]: slot for slot in study.slots}, []
    for number in range(study.budget):
        slot = there.get(number)
        state = slot["state"] if slot else "missing"
        if state == "done":
            trial = study.trials.get(slot["trial"])
            state = "done" if trial and trial.finished else "done by a trial that didn't finish"
        if state == "given_up" and _failures(study, number) < TRIES:
            state = "given up too early"
        if state not in ("done", "given_up"):
            wrong.append(f"slot {number} is {state}")
    return study.budget, wrong


def _failures(study: Study, slot: int) -> int:
    """Return how many candidates failed in a slot; three dead workers are a failed candidate."""
    reasons = [str(t.notes.get("reason")) for t in study.trials.values() if study.slot_of(t) == slot]
    return reasons.count(PLANNED) + sum(reason.startswith(DIED) for reason in reasons) // TRIES


def overshoot(study: Study) -> Found:
    """A finished trial beyond the budget."""
    over = len(study.finished) - study.budget
    return study.budget, [f"a finished trial beyond the budget of {study.budget}"] * max(0, over)


def zombies(study: Study) -> Found:
    """A trial that is still running or waiting, or a slot still leased."""
    wrong = [f"trial {t.number} is {t.state}" for t in study.trials.values() if t.state in ("RUNNING", "WAITING")]
    wrong += [f"slot {slot['number']} is leased" for slot in study.slots if slot["state"] == "leased"]
    return len(study.trials), wrong


def lost_results(study: Study) -> Found:
    """An outcome on the disk, before anybody took the slot over, that isn't in the database; or a wrong value."""
    counted = {t.id for t in study.finished}
    counted |= {study.by_number[t.notes["result_of"]].id for t in study.finished if "result_of" in t.notes}
    written = {line["id"]: line for line in study.of("outcome")}
    wrong = [
        f"the result of trial id {id_} was on the disk and isn't counted" for id_, line in written.items()
        if id_ not in counted and line["t"] < study.taken_over(line["slot"], line["token"])
    ]  # fmt: skip
    for t in study.finished:
        if t.state == "COMPLETE" and not math.isclose(t.value or 0, FACTORS * (t.x or 0), rel_tol=1e-9):
            wrong.append(f"trial {t.number} has value {t.value} for candidate {t.x}")
    return len(written), wrong


def dead_workers(study: Study) -> Found:
    """A worker that nobody killed and that ended badly, or had to be ended."""
    wrong = [f"{line['worker']} hung" for line in study.of("hung")]
    wrong += [
        f"{line['worker']} ended with {line['code']}" for line in study.of("ended")
        if line["code"] != 0 and line["worker"] not in study.killed and f"{line['worker']} hung" not in wrong
    ]  # fmt: skip
    return sum(line["worker"] not in study.killed for line in study.of("started")), wrong


def wrong_reason(study: Study) -> Found:
    """A failed trial without a reason, or with one that the history doesn't bear out."""
    planned = {line["id"]: line["why"] for line in study.of("gave-back")}
    wrong, failed = [], [t for t in study.trials.values() if t.state == "FAIL"]
    for t in failed:
        reason, begun = str(t.notes.get("reason", "")), study.begun.get(t.id)
        who = begun["who"] if begun else None
        if reason.startswith(DIED):
            fits = begun is not None  # whether it had died, the next column tells
        elif reason.endswith(AFTER_ALL):
            fits = any(other.notes.get("result_of") is not None or other.x == t.x for other in study.finished)
        elif reason == PLANNED:  # a kill may hide the line, not the commit
            fits = planned.get(t.id) == PLANNED or who in study.killed
        else:
            fits = reason.startswith("duplicate of trial") and t.notes.get("refused") == "duplicate"
        if not fits:
            wrong.append(f"trial {t.number} of {who} failed with {reason!r}")
    return len(failed), wrong


def refused(study: Study) -> Found:
    """A refused candidate whose slot got no other by the same transaction, or whose state tells samplers the wrong."""
    wrong, found = [], [t for t in study.trials.values() if "refused" in t.notes]
    for t in found:
        later = [line for line in study.begun.values() if line["slot"] == study.slot_of(t) and line["id"] > t.id]
        if not later:
            wrong.append(f"trial {t.number} was refused, and its slot got no other")
        if t.state != ("FAIL" if t.notes["refused"] == "duplicate" else "PRUNED") or t.value is not None:
            wrong.append(f"trial {t.number}, refused as {t.notes['refused']}, is {t.state} with value {t.value}")
    return len(found), wrong


def healthy_dropped(study: Study) -> Found:
    """A trial that was taken from a worker that lived, ran, and was never silent for a lease."""
    wrong, healthy = [], 0
    for t, begun in study.healthy():
        healthy += 1
        reason = str(t.notes.get("reason", ""))
        if t.state == "FAIL" and reason.startswith(DIED) and _silent_s(study, t.id) <= study.lease_s:
            wrong.append(f"trial {t.number} was taken from {begun['who']}, which had never been silent for a lease")
    return healthy, wrong


def _silent_s(study: Study, trial: int) -> float:
    """Return the longest time in which a trial's worker didn't try to speak to the database, until it lost it."""
    begun = study.begun[trial]
    end = study.taken_over(begun["slot"], begun["token"])
    quiet_since, longest, trying = begun["t"], 0.0, False
    for line in study.lines:
        if line["who"] != begun["who"] or not begun["t"] <= line["t"] <= end:
            continue
        if line["event"] == "beat-begin":
            longest, trying = max(longest, line["t"] - quiet_since), True
        elif line["event"] == "beat-end":
            quiet_since, trying = line["t"], False
    return longest if trying else max(longest, end - quiet_since)


COLUMNS: dict[str, tuple[Callable[[Study], Found], str]] = {
    "executed twice": (executed_twice, "trials run"),
    "counted twice": (counted_twice, "trials finished"),
    "lost": (lost, "slots"),
    "overshoot": (overshoot, "slots"),
    "zombies": (zombies, "trials"),
    "lost results": (lost_results, "results on disk"),
    "dead workers": (dead_workers, "workers not killed"),
    "wrong reason": (wrong_reason, "failed trials"),
    "refused": (refused, "refused candidates"),
    "healthy dropped": (healthy_dropped, "trials of healthy workers"),
}


def bound(k: int, n: int) -> float:
    """Return the upper end of a one-sided 95 % interval for k of n (Clopper and Pearson); for k = 0 it is near 3/n."""
    return float(beta.ppf(0.95, k + 1, n - k)) if k < n else 1.0


def damaged_file(engine: sa.Engine) -> dict[str, Found]:
    """Ask SQLite whether its file is sound; a server has none."""
    if engine.dialect.name != "sqlite":
        return {}
    with engine.connect() as connection:
        sound = connection.exec_driver_sql("PRAGMA integrity_check").scalar()
    return {"damaged file": (1, [] if sound == "ok" else [f"SQLite: {sound}"])}


def check(folder: Path, url: str) -> dict[str, Found]:
    """Count over all studies of a history."""
    engine, lines = sa.create_engine(database.address(url)), read(folder)
    of_study = defaultdict(list)
    for line in lines:
        of_study[line["study"]].append(line)
    studies = [Study(name, its, engine) for name, its in of_study.items()]
    found: dict[str, Found] = {}
    for column, (count, _) in COLUMNS.items():
        parts = [count(study) for study in studies]
        told = [f"{s.name}: {words}" for s, (_, wrong) in zip(studies, parts, strict=True) for words in wrong]
        found[column] = sum(n for n, _ in parts), told
    found |= damaged_file(engine)
    engine.dispose()
    return found


def blows(lines: list[dict[str, Any]]) -> dict[str, int]:
    """Count what befell the workers. A stop counts where the worker slept past its lease and the grace."""
    counts: Counter[str] = Counter()
    lease_s = {line["study"]: line["lease_s"] for line in lines if line["event"] == "study"}
    dying = {line["who"]: line["point"] for line in lines if line["event"] == "dying"}
    asleep: dict[str, tuple[float, str]] = {}
    for line in lines:
        if line["event"] == "ended" and line["code"] == -9:
            counts[f"kill -9 {dying.get(line['worker'], 'at a random time')}"] += 1
        elif line["event"] in ("stopped", "stopping"):
            who = line.get("worker", line["who"])
            asleep[who] = line["t"], line.get("point", "at a random time")
        elif line["event"] == "woken" and line["worker"] in asleep:
            since, where = asleep.pop(line["worker"])
            if line["t"] - since > lease_s[line["study"]] * (1 + GRACE):
                counts[f"SIGSTOP {where}"] += 1
        elif line["event"] == "away-end":
            counts["database away"] += 1
        elif line["event"] == "replayed" and line["words"] == "counted now":
            counts["replayed"] += 1
        elif line["event"] in ("told", "gave-back") and not line["ok"]:
            counts["came too late, refused"] += 1
        elif line["event"] == "claim" and line["lost"] is not None:
            counts["taken over"] += 1
    return dict(sorted(counts.items()))


def table(found: dict[str, Found], columns: Mapping[str, tuple[Any, str]]) -> str:
    """Lay the counts out; `columns` says of what each is a count."""
    rows = [f"{'':20} {'count':>6} {'of':>7}  {'95 % bound':>10}"]
    for column, (n, wrong) in found.items():
        what = columns[column][1] if column in columns else "file"
        rows.append(f"{column:20} {len(wrong):6d} {n:7d}  {bound(len(wrong), n):10.3%}  {what}")
    return "\n".join(rows)


if __name__ == "__main__":
    folder, url = Path(sys.argv[1]), sys.argv[2]
    struck, found = blows(read(folder)), check(folder, url)
    kinds = {kind: sum(n for what, n in struck.items() if what.startswith(kind)) for kind in ("kill -9", "SIGSTOP")}
    print("\n".join(f"{n:5d}  {what}" for what, n in (kinds | struck).items()))
    print(table(found, COLUMNS))
    wrong = [f"{column}: {words}" for column, (_, told) in found.items() for words in told]
    print("\n".join(wrong))
    sys.exit(bool(wrong))
