"""Kill, stop and restart judges and clients until all entries have ended.

Run it as `python tests/chaos_board/queue_drive.py FOLDER URL SEED KILLS STOPS OUTAGES ENTRIES`.
"""

from __future__ import annotations

import os
import random
import re
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[1] / room) for room in ("chaos", "board")]

from crew import POLL_S, Member  # noqa: E402
from history import NAME  # noqa: E402
from queue_crew import Benches, benches  # noqa: E402
from queue_plan import Fate, Ground  # noqa: E402
from queue_points import CLIENTS, HOLDING, JUDGES, SELDOM  # noqa: E402
from queue_victims import PAUSE  # noqa: E402
from tqdm import tqdm  # noqa: E402
from victim import die_with_parent  # noqa: E402

TEAMS = 5
BEYOND = 1.05
"""Share of its quota that a team tries to submit."""
AT_POINTS = 0.65
"""Share of the blows that fall at a point, the others at a random time."""
IMPATIENT_S = 5.0
"""After which a judge that hasn't come to its point may be struck elsewhere."""
IDLE_S, HANGS_S = 0.5, 90.0
"""After so long without a line in the history no entry waits, and the storm is taken to hang."""
ENDED = (b'"event": "finished"', b'"event": "failed"')
POISONED = b'"point": "poison"'
READY = re.compile(rb'"event": "ready", "who": "([^"]+)"')
LAG = 0.05
"""Share of the blows by which they may lag behind before the clients are held up."""


@dataclass(frozen=True)
class Plan:
    """How much of it. kills, stops, asked: of judges, in all. entries: the teams' quotas together."""

    kills: int
    stops: int
    outages: int
    seed: int
    entries: int = 10_000
    asked: int = 100
    clients: int = 100
    judges: int = 8
    lease_s: float = 1.0

    def ground(self, url: str, folder: Path) -> Ground:
        cap = self.entries // TEAMS
        return Ground(url, folder, self.lease_s, TEAMS, cap, round(cap * BEYOND))


class Storm:
    """What befalls the crew: in step with the entries that have ended, at points and at random, from a seed."""

    def __init__(self, plan: Plan, crew: Benches, bar: tqdm) -> None:
        self._plan, self._crew, self._bar = plan, crew, bar
        self._draw = random.Random(plan.seed)
        self._fated: Counter[tuple[str, bool]] = Counter()
        self._born: dict[int, float] = {}
        self._ready: set[str] = set()
        self._struck: Counter[str] = Counter()
        self._routes: dict[str, tuple[int, int, int]] = {}
        self._ended, self._read, self._heirs = 0, 0, 0
        self._moved = time.monotonic()

    def run(self) -> None:
        """Rage until all entries have ended, or nothing moves any more."""
        for team in range(TEAMS):
            offered = self._crew.ground.offered
            self._client(team, 0, round(0.6 * offered))
            self._client(team, round(0.4 * offered), offered)  # some entries are sent by both
        looked = 0.0
        while time.monotonic() < self._moved + HANGS_S:
            self._crew.poll()
            self._look()
            self._replace()
            self._strike()
            self._hold_up()
            if not self._routes_open() and time.monotonic() > looked + IDLE_S:
                looked = time.monotonic()
                if self._crew.idle():
                    break
            time.sleep(POLL_S)
        self._crew.dismiss()

    def _share(self) -> float:
        """Return how much of the storm should be over by now, a little ahead of the entries."""
        return min(1.0, 1.15 * self._ended / self._plan.entries + 0.01)

    def _look(self) -> None:
        """Count the entries that have ended, as the history tells."""
        with (self._crew.ground.folder / NAME).open("rb") as file:
            file.seek(self._read)
            new = file.read()
        whole = new[: new.rfind(b"\n") + 1]
        self._read += len(whole)
        ended = sum(whole.count(mark) for mark in ENDED)
        self._struck["killed"] -= whole.count(POISONED)  # those come on top
        self._ready |= {found.decode() for found in READY.findall(whole)}
        if whole:
            self._moved = time.monotonic()
        self._ended += ended
        self._bar.update(ended)

    def _hold_up(self) -> None:
        """Let clients wait while the blows lag behind; not when all stands still, for most blows fall on entries."""
        plan, mark = self._plan, self._crew.ground.folder / PAUSE
        lags = self._struck["killed"] < plan.kills * (self._share() - LAG) or self._crew.woken < plan.stops * (
            self._share() - 3 * LAG
        )
        if lags and time.monotonic() < self._moved + IDLE_S:
            mark.touch()
        else:
            mark.unlink(missing_ok=True)

    def _replace(self) -> None:
        """Give each that died an heir."""
        died = self._crew.died
        for dead in died[self._heirs :]:
            if dead.name.startswith("client"):
                self._client(*self._routes.pop(dead.name))
            self._struck["killed"] += dead.name.startswith("judge")
        self._heirs = len(died)
        while len(self._crew.judges()) < self._plan.judges:
            member = self._crew.judge(self._fate())
            self._born[member.pid] = time.monotonic()

    def _client(self, team: int, first: int, last: int) -> None:
        struck = self._struck["clients"] < self._plan.clients
        self._struck["clients"] += struck
        fate = (
            Fate(self._draw.choice([*CLIENTS]), self._draw.randint(1, self._crew.ground.offered // 8))
            if struck
            else Fate()
        )
        self._routes[self._crew.client(team, first, last, fate).name] = team, first, last

    def _routes_open(self) -> bool:
        return any(member.name in self._routes for member in self._crew.live.values())

    def _fate(self) -> Fate:
        """Draw what awaits a judge: the point that has had the fewest so far, if a blow is due."""
        oversleeps_s = self._draw.choice((0.0, self._draw.uniform(0, 2)))
        for stops in (True, False):
            planned = self._plan.stops if stops else self._plan.kills
            awaited = sum(bool(m.fate.point) and m.fate.stops == stops for m in self._crew.judges())
            had = self._crew.woken if stops else self._struck["killed"]
            if had + awaited < planned * self._share() and self._draw.random() < AT_POINTS:
                point = self._point(stops)
                nth = 1 if point in SELDOM else self._draw.randint(1, 4)
                return Fate(point, nth, stops, oversleeps_s=oversleeps_s)
        return Fate(oversleeps_s=oversleeps_s)

    def _point(self, stops: bool) -> str:
        seldom = sum(m.fate.point in SELDOM for m in self._crew.judges())
        fine = [p for p in JUDGES if not (p in SELDOM and seldom > 1) and not (stops and p in HOLDING[::2])]
        fewest = min(self._fated[point, stops] for point in fine)
        point = self._draw.choice([p for p in fine if self._fated[p, stops] == fewest])
        self._fated[point, stops] += 1
        return point

    def _strike(self) -> None:
        """Kill, stop or ask somebody, or take the database away for longer than a lease: whatever is due."""
        share, plan, crew, now = self._share(), self._plan, self._crew, time.monotonic()
        if crew.outages < plan.outages * share - 0.5:
            crew.outage(plan.lease_s * self._draw.uniform(1.1, 1.6))
        awake = [m for m in crew.judges() if m.wakes is None]
        free = [
            m for m in awake
            if m.name in self._ready and (not m.fate.point or now > self._born[m.pid] + IMPATIENT_S)
        ]  # fmt: skip
        if not free or self._draw.random() > 0.3:
            return
        member = self._draw.choice(free)
        behind = self._struck["killed"] < plan.kills * (share - LAG / 2)
        if self._struck["stops"] < (1 - AT_POINTS) * plan.stops * share and len(awake) > plan.judges / 2:
            self._blow("stops", member, crew.stop)
        elif self._struck["kills"] < (1 - AT_POINTS) * plan.kills * share or behind:
            self._blow("kills", member, crew.kill)
        elif self._struck["asked"] < plan.asked * share:
            self._blow("asked", member, crew.ask)

    def _blow(self, kind: str, member: Member, act: Callable[[Member], None]) -> None:
        self._struck[kind] += 1
        self._ready.discard(member.name)  # once is enough
        act(member)


def drive(folder: Path, url: str, plan: Plan, title: str = "", quiet: bool = False) -> None:
    """Run a storm; the history is in `folder`."""
    die_with_parent(os.getppid())
    tqdm.monitor_interval = 0  # a thread beside forks
    bar = tqdm(total=plan.entries, desc=title, unit="entry", disable=quiet, dynamic_ncols=True)
    with bar, benches(plan.ground(url, folder)) as crew:
        Storm(plan, crew, bar).run()


if __name__ == "__main__":
    folder, url, *numbers = sys.argv[1:]
    seed, kills, stops, outages, entries = map(int, numbers)
    drive(Path(folder), url, Plan(kills, stops, outages, seed, entries), url.partition(":")[0])
