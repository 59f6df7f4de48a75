"""What a judge does while no entry waits: it times again those whose ranks touch, so that they part as time goes by."""

from __future__ import annotations

import socket
import threading
import time
import traceback
from collections.abc import Callable

from sqlalchemy import Engine

from harness.board import sessions
from harness.board.competitions import Hosted
from harness.board.heartbeat import beating
from harness.board.rivals import rivals
from harness.board.sessions import Claim
from harness.errors import HarnessError
from harness.measure.machine import machine, versions
from harness.record.verdict import Session
from harness.sandbox.refused import Refused

POLL_S = 1.0
"""How often a judge asks for an entry."""
LOOK_S = 30.0
"""How long the board is left alone after a look at it that found nothing to do."""
PATIENT_S = 600.0
"""How long a session waits to be counted where the database is away; then it is lost."""

Timing = Callable[[Claim], Session]
Report = Callable[[str], None]


def turns(
    spend: Callable[[], bool], stop: threading.Event, clock: Callable[[], float] = time.monotonic
) -> Callable[[], None]:
    """Return what a judge does each time that no entry waits: it times one again, or rests. spend: as the next one."""
    rest_until = clock()

    def turn() -> None:
        nonlocal rest_until
        if clock() < rest_until:
            stop.wait(POLL_S)
        elif not spend():
            rest_until = clock() + LOOK_S

    return turn


def spend(
    engine: Engine,
    hosted: Hosted,
    worker: str,
    timing: Timing,
    *,
    lease_s: float,
    sandbox: str,
    stop: threading.Event,
    report: Report,
) -> bool:
    """Time one entry again, if one is worth it now; False where there was nothing to do.

    timing: times a claimed entry once more. Whatever it ends in, the entry keeps its verdict and what it was timed
    before; what comes of it is noted. An interrupt gives the session back: see `worker.work`.

    Raises:
        Away: the database was away for long; a session that was in hand is lost, and nothing else.
    """
    worth = rivals(engine, hosted, machine() | {"versions": versions()}, sandbox)
    claim = sessions.claim(engine, worker, socket.gethostname(), lease_s, hosted.id, worth) if worth else None
    if claim is None:
        return False
    head = f"entry {claim.entry} ({claim.name}), timed again"
    try:
        with beating(lambda: sessions.beat(engine, claim, lease_s), lease_s, head):
            found = timing(claim)
    except Refused as e:
        sessions.fail(engine, claim, e.reason, PATIENT_S)
        report(f"{head}: refused: {e.reason}: {e.what}; its verdict stands")
    except HarnessError as e:
        sessions.fail(engine, claim, "judge", PATIENT_S)
        report(f"{head}: came to nothing: {e.what}")
    except Exception:  # a fault of ours
        if stop.is_set():  # the interrupt, which a driver has made an error of its own
            raise KeyboardInterrupt from None
        sessions.fail(engine, claim, "judge", PATIENT_S)
        report(f"{head}: the judge failed:\n{traceback.format_exc()}")
    else:
        counted = sessions.finish(engine, claim, found, PATIENT_S)
        report(f"{head}: ratio {found.ratio:.4f}, {found.seconds:.1f} s{'' if counted else ' (doesn’t count)'}")
    return True


def hand_back(engine: Engine, worker: str, report: Report) -> None:
    """Let go of the session that this worker holds."""
    claim = sessions.held(engine, worker)
    if claim is not None and sessions.give_back(engine, claim):
        report(f"entry {claim.entry} ({claim.name}): its timing is given back")
