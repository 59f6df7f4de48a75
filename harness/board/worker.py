"""The judge's loop: claim an entry, judge it, have it counted; whatever ends this process, no entry is lost by it.

While none waits, judged entries whose ranks touch are timed again (`board.idle`).

A debug entry goes the same way, but is scored, timed and audited on the validation images, whose labels everybody has:
so its team learns all that the judge found.
"""

from __future__ import annotations

import os
import secrets
import socket
import threading
import traceback
from collections.abc import Callable
from functools import partial
from pathlib import Path

from sqlalchemy import Engine

from harness.board import competitions, files, idle, queue, sessions
from harness.board.competitions import Hosted
from harness.board.entries import LABELLED
from harness.board.heartbeat import beating
from harness.board.queue import Claim
from harness.data.published import names_of
from harness.data.split import Dataset
from harness.database import Away
from harness.errors import HarnessError
from harness.record.verdict import Session, Verdict
from harness.sandbox.refused import Refused

LEASE_S = 60.0
PATIENT_S = 600.0
"""How long a verdict waits for a database that is away; then the entry is judged again."""
LIMPING = 3
"""Entries in a row that this judge can't judge, after which it is the judge that needs mending, and it stops."""
OURS = "the judge failed on it; it doesn't count against your quota, and the organiser can have it judged again"

Judge = Callable[..., Verdict]
Retime = Callable[..., Session]
Report = Callable[[str], None]
Judging = Callable[[Claim, Report], Verdict]


def name_of_this_worker() -> str:
    """Return a name that no other process has, nor this machine's next one with the same number."""
    return f"{socket.gethostname()}/{os.getpid()}/{secrets.token_hex(4)}"


def work(
    engine: Engine,
    root: Path,
    hosted: Hosted,
    dataset: Dataset,
    cache: Path,
    worker: str = "",
    *,
    judge: Judge,
    retime: Retime | None = None,
    lease_s: float = LEASE_S,
    sandbox: str = "strict",
    wait: bool = True,
    stop: threading.Event | None = None,
    report: Report = lambda line: print(line, flush=True),
) -> int:
    """Judge a competition's entries until `stop` is set; return how many were judged.

    root: of the files. cache: where the built reference network is kept. worker: another one for each process; made up
    by default. judge: `judge.judge.judge`. retime: `judge.judge.retime`; None for no timing again. wait: for further
    entries; else end where none waits. report: gets a line of each entry. A KeyboardInterrupt gives the entry in hand
    back, and so does an error while `stop` is set.

    Raises:
        HarnessError: the rules are such as nobody can judge by today, the data set isn't the competition's, or this
            judge fails on one entry after the other.
    """
    stop, worker = stop or threading.Event(), worker or name_of_this_worker()
    hosted.competition.check()
    check_data(hosted, dataset)
    public, published = hosted.contest.public_mask(dataset.test.labels), names_of(dataset.test.pixels)

    def judging(claim: Claim, progress: Report) -> Verdict:
        rules = competitions.find(engine, hosted.name)  # which may have been changed
        return judge(
            files.folder(root, claim.content), dataset, rules.competition, cache, limits=rules.contest.limits(),
            public=public, published=published, sandbox=sandbox, debug=claim.kind == "debug", progress=progress,
        )  # fmt: skip

    def timing(claim: sessions.Claim) -> Session:
        rules = competitions.find(engine, hosted.name)
        return retime(
            files.folder(root, claim.content), dataset, rules.competition, cache, runtime=claim.runtime,
            limits=rules.contest.limits(), published=published, sandbox=sandbox,
        )  # fmt: skip

    spend = partial(idle.spend, engine, hosted, worker, timing, lease_s=lease_s, sandbox=sandbox, stop=stop)
    nothing_waits = (
        partial(stop.wait, idle.POLL_S) if retime is None else idle.turns(partial(spend, report=report), stop)
    )
    judged, failures = 0, set()
    while not stop.is_set():
        try:
            claim = queue.claim(engine, worker, lease_s, hosted.id)
            if claim is not None:
                well = _one(engine, claim, judging, lease_s, files.folder(root, claim.content), report, stop)
                judged += 1
                failures = set() if well else failures | {claim.entry}
            elif wait:
                nothing_waits()
            else:
                break
        except Away as e:
            report(f"{e.what}; going on")  # the entry, if one was in hand, is judged again
        except KeyboardInterrupt:
            _hand_back(engine, worker, report)
            raise
        if len(failures) >= LIMPING:
            what = f"this judge failed on {LIMPING} entries in a row, by no fault of theirs"
            raise HarnessError(what, "see the lines above; mend it and start it again: the entries wait")
    return judged


def check_data(hosted: Hosted, dataset: Dataset) -> None:
    """Refuse another data set than the competition's, or one without its hidden labels."""
    found = dataset.judge_fingerprint()
    if found != hosted.judge_fingerprint:
        raise HarnessError(
            f"competition {hosted.name}: is on data {hosted.judge_fingerprint[:16]}, by what the judge alone holds; "
            f"'{dataset.name}' here is {found[:16]}",
            f"give the data that it was created with: {hosted.contest.data}",
        )


def _one(
    engine: Engine,
    claim: Claim,
    judging: Judging,
    lease_s: float,
    folder: Path,
    report: Report,
    stop: threading.Event,
) -> bool:
    """Judge one entry; return False where it was the judge that failed."""
    head = f"entry {claim.entry} ({claim.name})"
    well = True
    try:
        with beating(lambda: queue.beat(engine, claim, lease_s), lease_s, f"entry {claim.entry}"):
            verdict = judging(claim, lambda stage: _show(engine, claim, stage))
        counted = queue.finish(engine, claim, verdict, PATIENT_S)
        outcome = f"F1 {verdict.f1:.4f}, ratio {verdict.ratio:.4f}, {verdict.seconds:.1f} s"
    except Refused as e:
        counted = queue.fail(engine, claim, e.reason, _words(e, folder, claim.kind), patience_s=PATIENT_S)
        outcome = f"refused: {e.reason}: {e.what}"
    except Away:
        raise
    except HarnessError as e:
        well, counted = False, queue.fail(engine, claim, "judge", OURS, fault="judge")
        outcome = f"the judge failed: {e}"
    except Exception:  # a fault of ours: the entry isn't to blame, and the queue goes on
        if stop.is_set():  # the interrupt, which a driver has made an error of its own
            raise KeyboardInterrupt from None
        well, counted = False, queue.fail(engine, claim, "judge", OURS, fault="judge")
        outcome = f"the judge failed:\n{traceback.format_exc()}"
    report(f"{head}: {outcome}{'' if counted else ' (too late: another judge has it)'}")
    return well


def _hand_back(engine: Engine, worker: str, report: Report) -> None:
    """Give back what this worker holds, though it had no answer yet that it does."""
    try:
        claim = queue.held(engine, worker)
        if claim is not None and queue.give_back(engine, claim):
            report(f"entry {claim.entry} ({claim.name}): given back")
        idle.hand_back(engine, worker, report)
    except Away as e:
        report(f"{e.what}; an entry that was in hand is judged again once its lease has run out")


def _show(engine: Engine, claim: Claim, stage: str) -> None:
    """Show how far the judgement is; a database that is away must not disturb it."""
    try:
        queue.stage(engine, claim, stage)
    except Away as e:
        print(f"entry {claim.entry}: {stage} isn't shown: {e.what}", flush=True)


def _words(e: Refused, folder: Path, kind: str) -> str:
    """Say to a team what is wrong: without this machine's paths, and without figures that tell of hidden labels."""
    if e.reason in LABELLED and kind != "debug":
        return f"it fails the check '{e.reason}' (docs/competition.md)\n  do: {e.fix}"
    return str(e).replace(f"{folder}{os.sep}", "").replace(str(folder), "the entry")
