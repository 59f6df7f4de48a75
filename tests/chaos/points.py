"""The named moments at which a worker can be made to die, or to stop: each is a function of the product, wrapped."""

from __future__ import annotations

import os
import signal
import threading
import types
from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from typing import Any

from history import History

from harness.record import files
from harness.study import ledger, pending_results, slots, study

ROOMS: dict[str, types.ModuleType] = {
    "slots": slots,
    "ledger": ledger,
    "pending_results": pending_results,
    "files": files,
    "study": study,
}


@dataclass(frozen=True)
class Point:
    """Before or after a function of the harness, or of the trial.

    within: only while this other function is at work. found: only if the function returned something.
    """

    function: str
    when: str = "after"
    within: str = ""
    found: bool = False


POINTS = {
    # joining
    "joining": Point("slots.open_slots", "before"),
    "in_replay": Point("slots.overrule", within="ledger.replay"),
    "after_replay": Point("ledger.replay"),
    # taking a slot: one transaction, from claim to attach
    "after_claim": Point("slots.claim", within="ledger.take", found=True),
    "closing_the_lost": Point("ledger._fail", within="ledger.take"),
    "counting_for_the_lost": Point("slots.overrule", within="ledger.take"),
    "after_begin": Point("slots.attach", "before", within="ledger.take"),
    "before_take_commits": Point("slots.attach", within="ledger.take"),
    "after_take": Point("ledger.take", found=True),
    # the trial
    "mid_trial": Point("trial.step"),
    "in_checkpoint": Point("trial.half"),
    "after_checkpoint": Point("trial.checkpoint"),
    "in_beat": Point("slots.renew"),
    "in_replace": Point("slots.attach", within="ledger.replace"),
    "in_give_back": Point("ledger._fail", within="ledger.give_back"),
    # the result: on the disk, then one transaction in which the slot is settled and the trial told, then off the disk
    "before_outbox": Point("pending_results.write", "before"),
    "in_outbox": Point("files.write", "before", within="pending_results.write"),
    "before_tell": Point("ledger.count", "before"),
    "settled_not_told": Point("ledger._tell", "before", within="ledger.count"),
    "before_tell_commits": Point("ledger._tell", within="ledger.count"),
    "after_tell": Point("ledger.count"),
    "after_clear": Point("pending_results.clear"),
}


class Trial:
    """Moments within the trial itself, which is ours: it calls them as it passes."""

    @staticmethod
    def step() -> None: ...

    @staticmethod
    def half() -> None: ...

    @staticmethod
    def checkpoint() -> None: ...


def strike(name: str, nth: int, stops: bool, history: History) -> None:
    """Let this process be killed, or stopped, by itself when it comes to a point for the nth time."""
    point, active, passed = POINTS[name], threading.local(), 0

    def hit() -> None:
        nonlocal passed
        passed += 1
        if passed == nth:
            history.write("stopping" if stops else "dying", point=name)
            os.kill(os.getpid(), signal.SIGSTOP if stops else signal.SIGKILL)

    def outer(real: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(real)
        def call(*arguments: Any, **options: Any) -> Any:
            active.here = True
            try:
                return real(*arguments, **options)
            finally:
                active.here = False

        return call

    def inner(real: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(real)
        def call(*arguments: Any, **options: Any) -> Any:
            here = not point.within or getattr(active, "here", False)
            if here and point.when == "before":
                hit()
            result = real(*arguments, **options)
            if here and point.when == "after" and (result is not None or not point.found):
                hit()
            return result

        return call

    if point.within:
        wrap(point.within, outer)
    wrap(point.function, inner)


def wrap(function: str, by: Callable[[Callable[..., Any]], Callable[..., Any]]) -> None:
    """Put a wrapper in the place of a function, in this process alone."""
    room, _, name = function.partition(".")
    owner: Any = Trial if room == "trial" else ROOMS[room]
    setattr(owner, name, by(getattr(owner, name)))
