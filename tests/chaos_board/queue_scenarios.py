"""One fault at a chosen moment: each brings one missing safeguard to light, and is nothing to the sound queue."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from history import read
from queue_crew import Benches, benches
from queue_mutants import MUTANTS
from queue_plan import Fate, Ground, content
from queue_victims import PAUSE
from victim import die_with_parent

LEASE_S, LONGER_S = 0.6, 2.0
WITHIN_S = 15.0
STUCK_S = 5 * LEASE_S
"""After which a mutant's entry is taken to be stuck."""

Make = Callable[..., Fate]


def entries(*seconds: float, kind: str = "sound") -> list[str]:
    """Return contents of entries that take so long."""
    return [content(f"{kind} {i}", kind, s) for i, s in enumerate(seconds)]


def sent(crew: Benches, contents: list[str]) -> None:
    crew.one(contents)
    crew.until(lambda: crew.saw("submitted", times=len(contents)))


def a_sleeper_wakes_late(crew: Benches, make: Make) -> None:
    """It wakes when another has finished its entry."""
    sent(crew, entries(0.1))
    sleeper = crew.judge(make(point="in_judging", stops=True, oversleeps_s=60.0))
    crew.until(lambda: crew.saw("stopping"))
    crew.judge(make())
    crew.until(lambda: crew.saw("finished"))
    crew.wake(sleeper)
    crew.until(lambda: crew.saw("finished", times=2))


def a_sleeper_wakes_in_time(crew: Benches, make: Make) -> None:
    """It wakes when another is at its entry, and is done with it first."""
    sent(crew, entries(2.0))
    sleeper = crew.judge(make(point="in_judging", stops=True, oversleeps_s=60.0))
    crew.until(lambda: crew.saw("stopping"))
    crew.judge(make())
    crew.until(lambda: crew.saw("claimed", times=2))
    crew.wake(sleeper)
    crew.until(lambda: crew.saw("finished", times=2))


def killed_at(point: str) -> Callable[[Benches, Make], None]:
    def scenario(crew: Benches, make: Make) -> None:
        sent(crew, entries(0.01, 0.01))
        crew.judge(make(point=point))
        crew.until(lambda: crew.died)
        crew.judge(make())

    return scenario


def cut_off_for_a_lease(crew: Benches, make: Make) -> None:
    """A judge can't reach the database for a third longer than its lease, and another can."""
    sent(crew, entries(4.0))
    crew.judge(make(cut_off_s=LONGER_S))
    crew.until(lambda: crew.saw("claimed"))
    crew.judge(make())


def a_poisonous_entry(crew: Benches, make: Make) -> None:
    """Each judge that dies on it has an heir; two sound ones come after it."""
    sent(crew, entries(0.01, kind="poison") + entries(0.01, 0.01))
    for deaths in range(1, 6):
        crew.judge(make())
        with contextlib.suppress(TimeoutError):
            crew.until(lambda deaths=deaths: len(crew.died) >= deaths, STUCK_S)


def eight_want_the_last_place(crew: Benches, make: Make) -> None:
    """Of a team that may submit two and has submitted one; all at one moment, however busy the machine."""
    sent(crew, entries(0.01))
    pause = crew.ground.folder / PAUSE
    pause.touch()
    for i in range(8):
        crew.one([content(f"rival {i}", "sound", 0.01)], make())
    crew.until(lambda: crew.saw("opened", times=9))
    pause.unlink()
    crew.until(lambda: sum(line["event"] in ("submitted", "full") for line in read(crew.ground.folder)) == 9)
    crew.judge(make())


def four_want_one_entry(crew: Benches, make: Make) -> None:
    """They wait for it."""
    for _ in range(4):
        crew.judge(make())
    crew.until(lambda: crew.saw("ready", times=4))
    sent(crew, entries(1.0))


def a_client_repeats_itself(crew: Benches, make: Make) -> None:
    """It dies after its entry was accepted, before it knows."""
    crew.one(entries(0.01), make(point="after_submit"))
    crew.until(lambda: crew.died)
    crew.one(entries(0.01), make())
    crew.judge(make())


def the_database_is_locked_for_a_second(crew: Benches, make: Make) -> None:
    """Processes wait 0.2 s for a lock (`?timeout=` in their url)."""
    sent(crew, entries(*[0.1] * 10))
    crew.judge(make())
    crew.until(lambda: crew.saw("finished"))
    crew.outage(1.0)


SCENARIOS: dict[str, tuple[Callable[[Benches, Make], None], float]] = {
    "a_sleeper_wakes_late": (a_sleeper_wakes_late, LEASE_S),
    "a_sleeper_wakes_in_time": (a_sleeper_wakes_in_time, LEASE_S),
    "killed_in_judging": (killed_at("in_judging"), LEASE_S),
    "killed_as_it_counts": (killed_at("settled_not_counted"), LEASE_S),
    "killed_as_it_ranks": (killed_at("before_ranking"), LEASE_S),
    "cut_off_for_a_lease": (cut_off_for_a_lease, LONGER_S),
    "a_poisonous_entry": (a_poisonous_entry, LEASE_S),
    "eight_want_the_last_place": (eight_want_the_last_place, LEASE_S),
    "four_want_one_entry": (four_want_one_entry, LONGER_S),
    "a_client_repeats_itself": (a_client_repeats_itself, LEASE_S),
    "the_database_is_locked_for_a_second": (the_database_is_locked_for_a_second, LONGER_S),
}
"""Each with its lease."""


def run(name: str, folder: Path, url: str, mutant: str = "") -> None:
    """Run a scenario with the sound queue, or with a mutant in each process."""
    die_with_parent(os.getppid())
    scenario, lease_s = SCENARIOS[name]
    cap = 2 if name == "eight_want_the_last_place" else 100
    with benches(Ground(url, folder, lease_s, cap=cap)) as crew:
        scenario(crew, lambda **fate: replace(Fate(mutant=mutant), **fate))
        with contextlib.suppress(TimeoutError):  # what is left hangs, and is told of as such
            crew.until(crew.idle, STUCK_S if mutant in ("no_expiry", "endless_tries") else WITHIN_S)
        crew.dismiss()


assert {mutant.scenario for mutant in MUTANTS.values()} == set(SCENARIOS)
