"""What a storm on the queue is made of: where it rages, what awaits a process, and what each entry is to become.

It imports nothing of the harness: the checker reads it, too.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

KINDS = ("sound", "refused", "fault", "poison")
"""An entry that is judged; one that the gate refuses; one that its judge can't judge; one that kills its judge."""
SHARES = (92, 6, 1, 1)
COMPETITION = "squares"
REFUSED = "gate"


@dataclass(frozen=True)
class Ground:
    """Where a storm rages. teams: with two clients each. cap: entries of a team a day; offered: what it tries to send.

    study, trials: what the crew of studies calls them.
    """

    url: str = field(repr=False)
    folder: Path
    lease_s: float
    teams: int = 1
    cap: int = 1000
    offered: int = 10
    study: str = "queue"

    @property
    def trials(self) -> int:
        return self.teams * self.offered


@dataclass(frozen=True)
class Fate:
    """What awaits one process. point: where it is struck, at its nth passing, by SIGKILL or, if it stops, SIGSTOP.

    cut_off_s: how long its beats don't reach the database, from the first on. oversleeps_s: how much longer than lease
    and grace it sleeps, if it is stopped.
    """

    point: str = ""
    nth: int = 1
    stops: bool = False
    mutant: str = ""
    cut_off_s: float = 0.0
    oversleeps_s: float = 0.0


@dataclass(frozen=True)
class Task:
    """What an entry is. seconds: of judging. f1: that it has coming."""

    kind: str
    seconds: float
    f1: float


def content(text: str, kind: str, seconds: float) -> str:
    """Return a content (64 hex digits) that says what is to become of its entry."""
    return f"{KINDS.index(kind):02x}{round(1000 * seconds):06x}{sha256(text.encode()).hexdigest()[:56]}"


def task(content: str) -> Task:
    """Read what is to become of an entry."""
    f1 = 0.3 + 0.6 * int(content[8:16], 16) / 16**8
    return Task(KINDS[int(content[:2], 16)], int(content[2:8], 16) / 1000, f1)


def drawn(ground: Ground, team: int, number: int) -> str:
    """Return the content of a team's entry in a storm: mostly a matter of milliseconds, some of over a lease."""
    draw = random.Random(f"{team} {number}")
    (kind,) = draw.choices(KINDS, SHARES)
    long = draw.random() < 0.01
    seconds = draw.uniform(0.3, 1.6) * ground.lease_s if long else draw.uniform(0.001, 0.006)
    return content(f"{team} {number}", kind, seconds)
