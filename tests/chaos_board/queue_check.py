"""Read the history and the database of a storm on the queue when all is over, and count what must not have been.

Run it as `python tests/chaos_board/queue_check.py FOLDER URL`. It knows the tables, the history and what each entry was
to become, and shares no code with what it judges but the parsing of a url.
"""

from __future__ import annotations

import hashlib
import json
import math
import sys
from collections import Counter, defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).parents[1] / "chaos"))

import sqlalchemy as sa
from check import Found, damaged_file, table
from history import read
from queue_plan import KINDS, REFUSED, task

from harness import database

GRACE, TRIES = 0.5, 3
UNCHARGED = ("poison", "judge")
ENDS = {"sound": "COMPLETE", "refused": f"FAIL {REFUSED}", "fault": "FAIL judge", "poison": "FAIL poison"}
Line = dict[str, Any]
Key = tuple[int, int]
"""An entry and its fence: one claim."""


class Storm:
    """All that is known. Lines of the history are in the order in which they were written."""

    def __init__(self, lines: list[Line], engine: sa.Engine) -> None:
        self.lines = lines
        (head,) = self.of("study")
        self.lease_s = head["lease_s"]
        with engine.connect() as connection:

            def rows(query: str) -> list[Any]:
                return list(connection.execute(sa.text(query)).mappings().all())

            self.entries = {row["id"]: dict(row) for row in rows("SELECT * FROM entries ORDER BY id")}
            self.verdicts = rows("SELECT * FROM verdicts ORDER BY id")
            self.log = rows("SELECT * FROM log ORDER BY id")
            (self.contest,) = rows("SELECT * FROM competitions")
        self.by_entry = defaultdict(list)
        for row in self.verdicts:
            self.by_entry[row["entry_id"]].append(row)
        self.held: dict[Key, Line] = {}  # the last line of a claim is the one whose transaction lasted
        for line in self.of("claiming"):
            self.held[_key(line)] = line
        self.claims = defaultdict(dict)
        for (entry, fence), line in self.held.items():
            self.claims[entry][fence] = line
        self.token = {line["token"]: _key(line) for line in self.of("finishing")}
        self.struck = defaultdict(list)  # of each process: from when to when it was dead, stopped, or asked to end
        for line in self.of("dying", "killed", "asked"):
            self.struck[line.get("worker", line["who"])].append([line["t"], math.inf])
        for line in self.of("stopped", "stopping", "woken"):
            who = line.get("worker", line["who"])
            if line["event"] != "woken":
                self.struck[who].append([line["t"], math.inf])
            elif self.struck[who]:
                self.struck[who][-1][1] = line["t"]
        self.done = {_key(line): line["t"] for line in reversed(self.of("finished", "failed", "gave-back"))}
        self.ended = {_key(line) for line in self.of("finished", "failed", "gave-back") if line["ok"]}
        self.begun = defaultdict(list)
        for line in self.of("finishing", "failing", "giving-back"):
            self.begun[_key(line)].append(line)

    def of(self, *events: str) -> list[Line]:
        return [line for line in self.lines if line["event"] in events]

    def befell(self, key: Key) -> bool:
        """Tell whether something befell a claim's holder while it had it."""
        line = self.held[key]
        end = self.done.get(key, math.inf)
        return any(since <= end and line["t"] <= until for since, until in self.struck[line["who"]])

    def kind(self, entry: int) -> str:
        return task(self.entries[entry]["content"]).kind


def _key(line: Line) -> Key:
    return line["entry"], line["fence"]


def _end(row: dict[str, Any]) -> str:
    return f"{row['state']} {row['reason'] or ''}".strip()


# Each of these returns how many things it looked at, and a sentence for each that is wrong.


def lost(storm: Storm) -> Found:
    """An entry that its team was told of and that isn't there; or one without the verdict that ended it."""
    told = {(line["team"], line["content"]): line["entry"] for line in storm.of("submitted")}
    wrong = [
        f"entry {entry} of team {team} isn't there" for (team, content), entry in told.items()
        if (row := storm.entries.get(entry)) is None or (row["team_id"], row["content"]) != (team, content)
    ]  # fmt: skip
    for entry, row in storm.entries.items():
        if row["state"] == "COMPLETE" and row["verdict_id"] not in [v["id"] for v in storm.by_entry[entry]]:
            wrong.append(f"entry {entry} is COMPLETE without a verdict")
    return len(told), wrong


def stuck(storm: Storm) -> Found:
    """An entry that hasn't ended, or has and is still held by somebody."""
    wrong = []
    for entry, row in storm.entries.items():
        if row["state"] not in ("COMPLETE", "FAIL"):
            wrong.append(f"entry {entry} is {row['state']}")
        elif row["owner"] is not None or row["lease_until"] is not None:
            wrong.append(f"entry {entry} is {row['state']} and held by {row['owner']}")
    return len(storm.entries), wrong


def counted_twice(storm: Storm) -> Found:
    """An entry with two verdicts, or with one though it failed; one that two claims were told was counted."""
    wrong = [f"entry {entry} has {len(found)} verdicts" for entry, found in storm.by_entry.items() if len(found) > 1]
    wrong += [f"entry {entry} failed, and has a verdict" for entry, found in storm.by_entry.items()
              if found and storm.entries[entry]["state"] == "FAIL"]  # fmt: skip
    told = defaultdict(set)
    for line in storm.of("finished"):
        if line["ok"]:
            told[line["entry"]].add((line["fence"], line["who"]))
    wrong += [f"entry {entry} was counted for {sorted(who)}" for entry, who in told.items() if len(who) > 1]
    return len(storm.by_entry), wrong


def late_counted(storm: Storm) -> Found:
    """A verdict of a judge whose entry another had claimed since."""
    wrong = []
    for row in storm.verdicts:
        entry, fence = storm.token.get(_plain(row["machine"])["token"], (None, None))
        if (entry, fence) != (row["entry_id"], storm.entries[row["entry_id"]]["fence"]):
            wrong.append(f"verdict {row['id']} on entry {row['entry_id']} is of claim {fence} of entry {entry}")
    return len(storm.verdicts), wrong


def _plain(value: Any) -> Any:
    return json.loads(value) if isinstance(value, str) else value


def held_twice(storm: Storm) -> Found:
    """One claim that two judges were given."""
    holders = defaultdict(set)
    for line in storm.of("claimed"):
        holders[_key(line)].add(line["who"])
    wrong = [f"entry {e}, claim {f}, was given to {sorted(who)}" for (e, f), who in holders.items() if len(who) > 1]
    return len(holders), wrong


def duplicates(storm: Storm) -> Found:
    """A submission that became two entries, or was told to be new twice; an entry that nobody submitted."""
    sent = {(line["team"], line["content"]) for line in storm.of("submitting")}
    there = Counter((row["team_id"], row["content"]) for row in storm.entries.values())
    wrong = [f"content {content[:12]} is there {n} times" for (_, content), n in there.items() if n > 1]
    wrong += [f"content {content[:12]}: nobody submitted it" for _, content in there.keys() - sent]
    ids, new = defaultdict(set), Counter()
    for line in storm.of("submitted"):
        ids[line["team"], line["content"]].add(line["entry"])
        new[line["team"], line["content"]] += line["new"]
    wrong += [f"content {content[:12]} has numbers {sorted(its)}" for (_, content), its in ids.items() if len(its) > 1]
    wrong += [f"content {content[:12]} was new {n} times" for (_, content), n in new.items() if n > 1]
    return len(sent), wrong


def wrong_end(storm: Storm) -> Found:
    """An entry that ended otherwise than it was to, unless three judges died on it as the history tells."""
    wrong = []
    for entry, row in storm.entries.items():
        end, kind = _end(row), storm.kind(entry)
        deaths = sum((entry, fence) not in storm.ended for fence in storm.claims[entry])
        faults = sum(line["event"] == "failing" for f in storm.claims[entry] for line in storm.begun[entry, f])
        unlucky = end == "FAIL poison" and deaths + faults * (kind == "fault") >= TRIES
        if row["state"] in ("COMPLETE", "FAIL") and end != ENDS[kind] and not unlucky:
            wrong.append(f"entry {entry} ({kind}) ended as {end!r}; judges lost on it: {deaths}")
    return len(storm.entries), wrong


def tried_too_often(storm: Storm) -> Found:
    """An entry that was claimed more than three times, without those that were given back."""
    wrong = []
    for entry, claims in storm.claims.items():
        back = sum(any(x["event"] == "giving-back" for x in storm.begun[entry, fence]) for fence in claims)
        if len(claims) - back > TRIES:
            wrong.append(f"entry {entry} was tried {len(claims) - back} times")
    return len(storm.claims), wrong


def wrong_verdict(storm: Storm) -> Found:
    """A verdict other than the entry has coming."""
    wrong = [
        f"entry {row['entry_id']} has F1 {row['f1_public']}" for row in storm.verdicts
        if not math.isclose(row["f1_public"], task(storm.entries[row["entry_id"]]["content"]).f1, rel_tol=1e-12)
    ]  # fmt: skip
    return len(storm.verdicts), wrong


def charged(storm: Storm) -> Found:
    """An entry that failed by no fault of its own and counts against the quota; or one that ought to, and doesn't."""
    wrong = []
    for entry, row in storm.entries.items():
        crash = row["state"] == "FAIL" and row["reason"] in UNCHARGED
        if bool(row["charged"]) == crash:
            wrong.append(f"entry {entry} ended as {_end(row)!r} and is {'' if row['charged'] else 'not '}charged")
    return sum(row["reason"] in UNCHARGED for row in storm.entries.values()), wrong


def over_quota(storm: Storm) -> Found:
    """A team with more entries on a day than it may have."""
    cap = _plain(storm.contest["contest"])["submissions_a_day"]
    used = Counter((row["team_id"], row["day"]) for row in storm.entries.values() if row["charged"])
    return len(used), [f"team {team} has {n} entries of {cap}" for (team, _), n in used.items() if n > cap]


def turned_away(storm: Storm) -> Found:
    """A team that was told that its quota is used up when it had fewer entries than that."""
    cap = _plain(storm.contest["contest"])["submissions_a_day"]
    had = Counter(row["team_id"] for row in storm.entries.values())
    told = Counter(line["team"] for line in storm.of("full"))
    return sum(told.values()), [f"team {t} has only {had[t]} entries of {cap}" for t in told if had[t] < cap]


def board(storm: Storm) -> Found:
    """What is shown of an entry isn't what the Ladder says, going through a team's verdicts one by one."""
    contest = _plain(storm.contest["contest"])
    step = contest["ladder_step"] or storm.contest["public_images"] ** -0.5
    best, shown, place = {}, {}, {}
    for row in storm.verdicts:
        entry, f1 = row["entry_id"], row["f1_public"]
        team = storm.entries[entry]["team_id"]
        if team not in best or f1 - step > best[team]:
            best[team] = shown[entry] = min(1.0, round(f1 / step) * step)
            place[team] = entry
    wrong = []
    for entry, row in storm.entries.items():
        if bool(row["placed"]) != (place.get(row["team_id"]) == entry):
            wrong.append(f"entry {entry} is {'' if row['placed'] else 'not '}its team's place")
        if not math.isclose(row["f1_shown"] or 0, shown.get(entry, 0), abs_tol=1e-9):
            wrong.append(f"entry {entry} is shown with F1 {row['f1_shown']}, not {shown.get(entry)}")
    return len(storm.entries), wrong


def log(storm: Storm) -> Found:
    """A row of the log that doesn't follow the one before; an entry whose coming or end it doesn't tell once."""
    wrong, before, told = [], "0" * 64, Counter()
    for number, row in enumerate(storm.log):
        covered = [row[name] for name in ("id", "at", "actor", "action", "detail", "before")]
        text = json.dumps(covered, sort_keys=True, separators=(",", ":"))
        if (row["id"], row["before"], row["hash"]) != (number, before, hashlib.sha256(text.encode()).hexdigest()):
            wrong.append(f"row {number} of the log doesn't fit")
        before = row["hash"]
        told[json.loads(row["detail"]).get("entry"), row["action"]] += 1
    for entry, row in storm.entries.items():
        ends = told[entry, "finish"], told[entry, "fail"]
        expected = {"COMPLETE": (1, 0), "FAIL": (0, 1)}.get(row["state"], (0, 0))
        if told[entry, "submit"] != 1 or ends != expected:
            wrong.append(f"entry {entry}: {told[entry, 'submit']} times submitted, {ends} times finished and failed")
    return len(storm.log), wrong


def dead_processes(storm: Storm) -> Found:
    """A judge or client that nobody killed and that ended badly, or had to be ended."""
    killed = {line["who"] for line in storm.of("dying")} | {line["worker"] for line in storm.of("killed", "asked")}
    wrong = [f"{line['worker']} hung" for line in storm.of("hung")]
    wrong += [
        f"{line['worker']} ended with {line['code']}" for line in storm.of("ended")
        if line["code"] != 0 and line["worker"] not in killed and f"{line['worker']} hung" not in wrong
    ]  # fmt: skip
    return sum(line["worker"] not in killed for line in storm.of("started")), wrong


def healthy_dropped(storm: Storm) -> Found:
    """An entry that was taken from a judge that lived, ran, and was never silent for a lease.

    A judge that waits to have its verdict counted beats no more: for that long it is silent.
    """
    wrong, healthy, tries = [], 0, defaultdict(list)
    for line in storm.of("beat-begin", "beat-end"):
        tries[line["who"]].append(line)
    for (entry, fence), line in storm.held.items():
        if storm.befell((entry, fence)):
            continue
        healthy += 1
        taken = storm.claims[entry].get(fence + 1)
        end = taken["t"] if taken else storm.done.get((entry, fence), math.inf)
        back = any(x["event"] in ("giving-back", "failing") for x in storm.begun[entry, fence])
        if taken and not back and _silent_s(tries[line["who"]], line["t"], end) <= storm.lease_s:
            wrong.append(f"entry {entry} was taken from {line['who']}, which had never been silent for a lease")
    return healthy, wrong


def _silent_s(lines: list[Line], since: float, end: float) -> float:
    """Return the longest time in which a judge didn't try to speak to the database, until it lost its entry."""
    longest, trying = 0.0, False
    for line in lines:
        if not since <= line["t"] <= end:
            continue
        if line["event"] == "beat-end":
            since, trying = line["t"], False
        else:
            longest, trying = max(longest, 0 if trying else line["t"] - since), True
    return longest if trying else max(longest, end - since)


COLUMNS: dict[str, tuple[Callable[[Storm], Found], str]] = {
    "lost": (lost, "entries accepted"),
    "stuck": (stuck, "entries"),
    "counted twice": (counted_twice, "entries with a verdict"),
    "late counted": (late_counted, "verdicts"),
    "held twice": (held_twice, "claims"),
    "duplicates": (duplicates, "contents sent"),
    "wrong end": (wrong_end, "entries"),
    "tried too often": (tried_too_often, "entries claimed"),
    "wrong verdict": (wrong_verdict, "verdicts"),
    "charged for a crash": (charged, "entries that failed by a judge's fault"),
    "over quota": (over_quota, "teams' days"),
    "turned away": (turned_away, "replies that the quota is used up"),
    "board": (board, "entries"),
    "log": (log, "rows of the log"),
    "dead processes": (dead_processes, "processes not killed"),
    "healthy dropped": (healthy_dropped, "claims of healthy judges"),
}


TOLD = ("healthy dropped",)
"""Columns that are told of a storm, and don't fail it: a storm's grace is half a second, in which a beat must get
SQLite's lock among a dozen others that want it, on a busy machine. An entry that is dropped so is judged again."""


def check(folder: Path, url: str) -> dict[str, Found]:
    """Count all columns of a storm."""
    engine = sa.create_engine(database.address(url))
    storm = Storm(read(folder), engine)
    found = {column: count(storm) for column, (count, _) in COLUMNS.items()}
    found |= damaged_file(engine)
    engine.dispose()
    return found


def blows(lines: list[Line]) -> dict[str, int]:
    """Count what befell judges and clients. A stop counts where one slept past its lease and the grace."""
    counts: Counter[str] = Counter()
    (lease_s,) = (line["lease_s"] for line in lines if line["event"] == "study")
    dying = {line["who"]: line["point"] for line in lines if line["event"] == "dying"}
    asleep: dict[str, tuple[float, str]] = {}
    for line in lines:
        who = line.get("worker", line["who"])
        if line["event"] == "ended" and line["code"] == -9:
            what = "on a poisonous entry" if dying.get(who) == "poison" else dying.get(who, "at a random time")
            kind = "clients killed" if who.startswith("client") else "kill -9"
            counts[f"{'poison: kill -9' if dying.get(who) == 'poison' else kind} {what}"] += 1
        elif line["event"] in ("stopped", "stopping"):
            asleep[who] = line["t"], line.get("point", "at a random time")
        elif line["event"] == "woken" and who in asleep:
            since, where = asleep.pop(who)
            counts[f"SIGSTOP {where}"] += line["t"] - since > lease_s * (1 + GRACE)
        elif line["event"] in EVENTS:
            counts[EVENTS[line["event"]]] += 1
        elif line["event"] in ("finished", "failed", "gave-back") and not line["ok"]:
            counts["late results refused"] += line["event"] != "gave-back"
        elif line["event"] == "submitted":
            counts["submitted again, the same number"] += not line["new"]
    return dict(sorted(counts.items()))


EVENTS = {
    "away-end": "database away", "full": "told that the quota is used up", "asked": "asked to end (SIGTERM)",
    "unopened": "found the database away as they opened it",
    "limping": "judges that stopped as they failed on everything",
}  # fmt: skip


def ends(folder: Path, url: str) -> dict[str, int]:
    """Count how the entries ended, by what they were to become."""
    engine = sa.create_engine(database.address(url))
    storm = Storm(read(folder), engine)
    engine.dispose()
    counts = Counter((storm.kind(entry), _end(row)) for entry, row in storm.entries.items())
    claims = sum(len(its) for its in storm.claims.values())
    told = {f"{kind}: {end}": counts[kind, end] for kind in KINDS for k, end in sorted(counts) if k == kind}
    return {"entries": len(storm.entries), "claims": claims} | told


if __name__ == "__main__":
    folder, url = Path(sys.argv[1]), sys.argv[2]
    struck, found = blows(read(folder)), check(folder, url)
    groups = ("kill -9", "poison: kill -9", "SIGSTOP", "clients killed")
    kinds = {group: sum(n for what, n in struck.items() if what.startswith(group)) for group in groups}
    print("\n".join(f"{n:6d}  {what}" for what, n in (ends(folder, url) | kinds | struck).items()))
    print(table(found, COLUMNS))
    wrong = [f"{column}: {words}" for column, (_, told) in found.items() for words in told]
    print("\n".join(wrong[:200]))
    sys.exit(any(told for column, (_, told) in found.items() if column not in TOLD))
