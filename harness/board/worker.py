"""The judge's loop: claim an entry, judge it, have it counted; whatever ends this process, no entry is lost by it.

A debug entry goes the same way. What is told of it are the judge's words and the figures of every check; of the labels,
which it is judged by like any other, its team learns nothing.
"""

from __future__ import annotations

import os
import secrets
import socket
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Engine

from harness.board import contest, files, queue
from harness.board.contest import Hosted
from harness.board.entries import LABELLED
from harness.board.queue import Claim
from harness.data.split import Dataset
from harness.errors import HarnessError
from harness.submission.refused import Refused
from harness.submission.verdict import Verdict

LEASE_S = 60.0
BEATS = 3  # in a lease
POLL_S = 1.0
LIMPING = 3
"""Entries in a row that this judge can't judge, after which it is the judge that needs mending, and it stops."""
OURS = "the judge failed on it; it doesn't count against your quota, and the organiser can have it judged again"

Judge = Callable[..., Verdict]
Tell = Callable[[str], None]


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
    lease_s: float = LEASE_S,
    sandbox: str = "strict",
    wait: bool = True,
    stop: threading.Event | None = None,
    tell: Tell = lambda line: print(line, flush=True),
) -> int:
    """Judge a competition's entries until `stop` is set; return how many were judged.

    root: of the files. cache: where the built reference network is kept. worker: another one for each process; made up
    by default. judge: `submission.judge.judge`. wait: for further entries; else end where none waits. tell: is told of
    each entry. A KeyboardInterrupt gives the entry in hand back.

    Raises:
        HarnessError: the data set isn't the competition's, or this judge fails on one entry after the other.
    """
    stop, worker = stop or threading.Event(), worker or name_of_this_worker()
    _check_data(hosted, dataset)
    public = contest.public_mask(dataset.test.labels, hosted.contest.public_share, hosted.contest.split_seed)
    judged, failures = 0, set()
    while not stop.is_set():
        claim = queue.claim(engine, worker, lease_s, hosted.id)
        if claim is None and not wait:
            break
        if claim is None:
            stop.wait(POLL_S)
            continue
        rules = contest.find(engine, hosted.name)  # which may have been changed
        how = {"limits": rules.contest.limits(), "public": public, "sandbox": sandbox}
        folder = files.folder(root, claim.content)

        def once(progress: Tell, rules: Hosted = rules, folder: Path = folder, how: Any = how) -> Verdict:
            return judge(folder, dataset, rules.competition, cache, progress=progress, **how)

        well = _one(engine, claim, once, lease_s, folder, tell)
        judged += 1
        failures = set() if well else failures | {claim.entry}
        if len(failures) >= LIMPING:
            what = f"this judge failed on {LIMPING} entries in a row, by no fault of theirs"
            raise HarnessError(what, "see the lines above; mend it and start it again: the entries wait")
    return judged


def _check_data(hosted: Hosted, dataset: Dataset) -> None:
    found = dataset.fingerprint()
    if found != hosted.fingerprint:
        raise HarnessError(
            f"competition {hosted.name}: is on data {hosted.fingerprint[:16]}; '{dataset.name}' here is {found[:16]}",
            f"give the data that it was created with: {hosted.contest.data}",
        )


def _one(
    engine: Engine, claim: Claim, judge: Callable[[Tell], Verdict], lease_s: float, folder: Path, tell: Tell
) -> bool:
    """Judge one entry; return False where it was the judge that failed."""
    head = f"entry {claim.entry} ({claim.name})"
    well = True
    try:
        with _beating(engine, claim, lease_s):
            verdict = judge(lambda stage: queue.stage(engine, claim, stage) or None)
        counted = queue.finish(engine, claim, verdict)
        told = f"F1 {verdict.f1:.4f}, ratio {verdict.ratio:.4f}, {verdict.seconds:.1f} s"
    except Refused as e:
        counted = queue.fail(engine, claim, e.reason, _words(e, folder))
        told = f"refused: {e.reason}: {e.what}"
    except HarnessError as e:
        well, counted, told = False, queue.fail(engine, claim, "judge", OURS, fault="judge"), f"the judge failed: {e}"
    except KeyboardInterrupt:
        queue.give_back(engine, claim)
        tell(f"{head}: given back")
        raise
    except Exception:  # a fault of ours: the entry isn't to blame, and the queue goes on
        well, counted = False, queue.fail(engine, claim, "judge", OURS, fault="judge")
        told = f"the judge failed:\n{traceback.format_exc()}"
    tell(f"{head}: {told}{'' if counted else ' (too late: another judge has it)'}")
    return well


@contextmanager
def _beating(engine: Engine, claim: Claim, lease_s: float) -> Iterator[None]:
    """Prolong the lease for as long as this lasts, from a thread, though the database be away for a while."""
    over = threading.Event()

    def beat() -> None:
        while not over.wait(lease_s / BEATS):
            try:
                if not queue.beat(engine, claim, lease_s):
                    return  # another judge has it; the fence refuses our verdict
            except HarnessError as e:
                print(f"entry {claim.entry}: no beat: {e.what}", flush=True)

    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _words(e: Refused, folder: Path) -> str:
    """Say to a team what is wrong: without this machine's paths, and without figures that tell of the labels."""
    if e.reason in LABELLED:
        return f"it fails the check '{e.reason}' (docs/competition.md)\n  do: {e.fix}"
    return str(e).replace(f"{folder}{os.sep}", "").replace(str(folder), "the entry")
