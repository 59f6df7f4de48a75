"""Kill, stop and restart the workers of one study after another, until there was enough of it.

Run it as `python tests/chaos/drive.py FOLDER URL SEED KILLS STOPS OUTAGES`.
"""

from __future__ import annotations

import os
import random
import sys
import time
from collections import Counter
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from crew import POLL_S, Crew, crew, process_name
from points import POINTS
from tqdm import tqdm
from victim import Fate, Ground, die_with_parent

REPLAYING = ("in_replay", "after_replay")
UNTOLD = ("before_tell", "settled_not_told", "before_tell_commits")
"""Where a worker leaves a result that is to be replayed."""
ONCE = (*REPLAYING, "joining", "counting_for_the_lost", "closing_the_lost", "in_give_back", "in_replace", "in_beat")
"""Points that a worker seldom passes."""


@dataclass(frozen=True)
class Plan:
    """How much of it. kills, stops, outages: in all. trials: the budget of each study. pause_s: between random blows.

    study_s: a study that takes longer hangs.
    """

    kills: int
    stops: int
    outages: int
    seed: int
    trials: int = 80
    workers: int = 12
    lease_s: float = 1.5
    pause_s: float = 0.35
    study_s: float = 180.0


class Storm:
    """What befalls the crews: spread evenly over the points, at random times, from a seed."""

    def __init__(self, plan: Plan, ground: Ground, bar: tqdm) -> None:
        self._plan, self._ground, self._bar = plan, ground, bar
        self._draw = random.Random(plan.seed)
        self._kills = self._stops = self._outages = 0  # in the studies before this one
        self._fated: Counter[tuple[str, bool]] = Counter()

    def run(self) -> None:
        """Run studies until there was enough."""
        for number in count():
            with crew(Ground(**self._ground.__dict__ | {"study": f"chaos-{number}"})) as workers:
                self._study(workers)
            self._kills += len(workers.died)
            self._stops += workers.woken
            self._outages += workers.outages
            if self._enough():
                return

    def _study(self, workers: Crew) -> None:
        """Run one study to its end: whoever dies has an heir, and who comes after the storm is spared."""
        end, blow, heirs = time.monotonic() + self._plan.study_s, time.monotonic() + 0.5, 0
        for _ in range(self._plan.workers):
            workers.start(self._fate(workers))
        while workers.live and time.monotonic() < end:
            workers.poll()
            while heirs < len(workers.died):
                told = self._draw.random() < 0.3
                dead = workers.died[heirs]
                workers.start(self._fate(workers, process_name(dead) if told else "", dead.fate.point))
                heirs += 1
            if time.monotonic() > blow and workers.live and not self._enough(workers):
                self._strike(workers)
                blow = time.monotonic() + self._draw.expovariate(1 / self._plan.pause_s)
            self._bar.update(self._done(workers) - self._bar.n)
            time.sleep(POLL_S)

    def _fate(self, workers: Crew, heir_of: str = "", left: str = "") -> Fate:
        """Draw what awaits a worker: most are struck at a point, at the one that has had the fewest so far."""
        # who wakes while slots are free still has its own: those are taken before one of the dead
        oversleeps_s = self._draw.choice((0.0, self._draw.uniform(2, 8)))
        if self._enough(workers) or self._draw.random() < 0.3:
            return Fate(heir_of=heir_of, oversleeps_s=oversleeps_s)
        stops = self._draw.random() < 2 * self._left(workers)[1]
        points = REPLAYING if left in UNTOLD and self._draw.random() < 0.5 else POINTS
        fewest = min(self._fated[point, stops] for point in points)
        point = self._draw.choice([p for p in points if self._fated[p, stops] == fewest])
        self._fated[point, stops] += 1
        nth = 1 if point in ONCE else self._draw.randint(1, 3)
        return Fate(point, nth, stops, heir_of=heir_of, oversleeps_s=oversleeps_s)

    def _strike(self, workers: Crew) -> None:
        """Kill or stop somebody, or take the database away for longer than a lease."""
        awake = [m for m in workers.live.values() if m.wakes is None]
        planned, had = self._plan.outages, self._outages + workers.outages
        if had < planned and self._done(workers) > (had + 0.5) / planned * self._bar.total:
            workers.outage(self._plan.lease_s * self._draw.uniform(1.1, 1.6))
            return
        if self._draw.random() < self._left(workers)[1]:
            if len(awake) > 3:
                workers.stop(self._draw.choice(awake))
        elif self._draw.random() < 0.2:
            workers.kill(self._draw.choice(list(workers.live.values())))  # one that is stopped, too
        elif pointless := [m for m in awake if not m.fate.point]:  # the others shall mostly come to their point
            workers.kill(self._draw.choice(pointless))

    def _left(self, workers: Crew) -> tuple[int, float]:
        """Return how many blows are to come, and the share of stops in them."""
        kills = max(0, self._plan.kills - self._kills - len(workers.died))
        stops = max(0, self._plan.stops - self._stops - workers.woken)
        return kills + stops, stops / max(1, kills + stops)

    def _enough(self, workers: Crew | None = None) -> bool:
        kills, stops = (len(workers.died), workers.woken) if workers else (0, 0)
        return self._kills + kills >= self._plan.kills and self._stops + stops >= self._plan.stops

    def _done(self, workers: Crew) -> int:
        return self._bar.total - self._left(workers)[0]


def drive(folder: Path, url: str, plan: Plan, title: str = "", quiet: bool = False) -> None:
    """Run a storm; the history and the run folders are in `folder`."""
    die_with_parent(os.getppid())
    tqdm.monitor_interval = 0  # a thread beside forks
    ground = Ground(url, "", plan.trials, plan.lease_s, folder)
    with tqdm(total=plan.kills + plan.stops, desc=title, unit="blow", disable=quiet, dynamic_ncols=True) as bar:
        Storm(plan, ground, bar).run()


if __name__ == "__main__":
    folder, url, *numbers = sys.argv[1:]
    seed, kills, stops, outages = map(int, numbers)
    drive(Path(folder), url, Plan(kills, stops, outages, seed), url.partition(":")[0])
