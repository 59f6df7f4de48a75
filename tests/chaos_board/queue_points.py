"""The named moments at which a judge or a client can be made to die, or to stop: functions of the product, wrapped."""

from __future__ import annotations

import points
from history import History
from points import Point

from harness.board import competitions, ladder, log, queue
from harness.database import lease

JUDGES = {
    # claiming: one transaction
    "after_reaping": Point("queue._reap", within="queue.claim"),
    "before_claim_commits": Point("queue._claimed", within="queue.claim"),
    "after_claim": Point("queue.claim", found=True),
    "poisoning": Point("queue._failed", within="queue.claim"),
    # judging
    "in_judging": Point("judging.step"),
    "after_stage": Point("queue.stage"),
    "before_beat_commits": Point("lease.renew", within="queue.beat"),
    "after_beat": Point("queue.beat"),
    # counting: one transaction
    "before_finish": Point("queue.finish", "before"),
    "team_locked": Point("queue.lock_team", within="queue.finish"),
    "settled_not_counted": Point("competitions.by_id", "before", within="queue.finish"),
    "before_ranking": Point("ladder.place", "before", within="queue.finish"),
    "ranked_not_logged": Point("log.append", "before", within="queue.finish"),
    "before_finish_commits": Point("log.append", within="queue.finish"),
    "after_finish": Point("queue.finish"),
    # refusing
    "before_fail": Point("queue.fail", "before"),
    "before_fail_commits": Point("queue._change", within="queue.fail"),
    "after_fail": Point("queue.fail"),
    # giving back, on SIGTERM
    "before_give_back": Point("queue.give_back", "before"),
    "before_give_back_commits": Point("queue._change", within="queue.give_back"),
    "after_give_back": Point("queue.give_back"),
}
CLIENTS = {
    "before_submit": Point("queue.submit", "before"),
    "before_submit_commits": Point("log.append", within="queue.submit"),
    "after_submit": Point("queue.submit"),
}
SELDOM = ("poisoning", "before_beat_commits", "after_beat", "before_fail", "before_fail_commits", "after_fail")
"""Points that a judge seldom passes."""
HOLDING = (
    "after_reaping", "before_claim_commits", "poisoning", "before_beat_commits", "team_locked", "settled_not_counted",
    "before_ranking", "ranked_not_logged", "before_finish_commits", "before_fail_commits", "before_give_back_commits",
)  # fmt: skip
"""Points within a transaction: who stops there holds its locks."""


class Judging:
    """A moment within the judgement itself, which is ours: it calls this as it passes."""

    @staticmethod
    def step() -> None: ...


def strike(name: str, nth: int, stops: bool, history: History) -> None:
    """Let this process be killed, or stopped, by itself when it comes to a point for the nth time."""
    points.POINTS |= JUDGES | CLIENTS
    points.strike(name, nth, stops, history)


points.ROOMS |= {"queue": queue, "competitions": competitions, "ladder": ladder, "log": log, "lease": lease}
points.ROOMS |= {"judging": Judging}
wrap = points.wrap
