"""One fault at a chosen moment: each brings one missing safeguard to light, and is nothing to the sound harness."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from crew import Crew, crew
from mutants import MUTANTS
from victim import Fate, Ground, die_with_parent

LEASE_S, LONGER_S = 1.0, 2.0
WITHIN_S = 15.0

Start = Callable[..., Any]


def a_sleeper_fails_late(workers: Crew, start: Start) -> None:
    """It wakes when another runs its candidate, and its own trial fails then."""
    sleeper = start(point="mid_trial", stops=True, trial_s=0.2, ends="badly", oversleeps_s=60.0)
    workers.until(lambda: workers.saw("stopping"))
    other = start(trial_s=4.0, ends="well")
    workers.until(lambda: workers.saw("execute-begin", other.name))
    workers.wake(sleeper)


def killed_at(point: str, ends: str = "well") -> Callable[[Crew, Start], None]:
    def scenario(workers: Crew, start: Start) -> None:
        start(point=point, trial_s=0.1, ends=ends)
        workers.until(lambda: workers.died)
        start(trial_s=0.1, ends="well")

    return scenario


def four_share_a_budget_of_five(workers: Crew, start: Start) -> None:
    """Three are in mid-trial when the fifth has ended."""
    for _ in range(4):
        start(trial_s=0.6, ends="well")


def the_database_is_locked_for_a_second(workers: Crew, start: Start) -> None:
    """Workers wait 0.2 s for a lock (`?timeout=` in their url)."""
    start(trial_s=0.1, ends="well")
    workers.until(lambda: workers.saw("told"))
    workers.outage(1.0)


def cut_off_for_a_lease(workers: Crew, start: Start) -> None:
    """A worker can't reach the database for a third longer than its lease, and the others can."""
    start(trial_s=4.0, ends="well", cut_off_s=1.3 * LONGER_S)
    workers.until(lambda: workers.saw("execute-begin"))
    for _ in range(3):
        start(trial_s=0.1, ends="well")


SCENARIOS: dict[str, tuple[Callable[[Crew, Start], None], int, float]] = {
    "a_sleeper_fails_late": (a_sleeper_fails_late, 1, LEASE_S),
    "killed_in_its_trial": (killed_at("mid_trial"), 2, LEASE_S),
    "killed_before_it_tells": (killed_at("before_tell"), 2, LEASE_S),
    "killed_as_it_tells": (killed_at("settled_not_told"), 2, LEASE_S),
    "killed_after_it_told": (killed_at("after_tell"), 2, LEASE_S),
    "killed_as_it_replaces": (killed_at("in_replace", ends="dear"), 2, LEASE_S),
    "four_share_a_budget_of_five": (four_share_a_budget_of_five, 5, LEASE_S),
    "the_database_is_locked_for_a_second": (the_database_is_locked_for_a_second, 10, LONGER_S),
    "cut_off_for_a_lease": (cut_off_for_a_lease, 2, LONGER_S),
}
"""Each with its budget and lease."""


def run(name: str, folder: Path, url: str, mutant: str = "") -> None:
    """Run a scenario with the sound harness, or with a mutant in each worker."""
    die_with_parent(os.getppid())
    scenario, trials, lease_s = SCENARIOS[name]
    with crew(Ground(url, "directed", trials, lease_s, folder)) as workers:
        scenario(workers, lambda **fate: workers.start(replace(Fate(mutant=mutant), **fate)))
        with contextlib.suppress(TimeoutError):  # whoever is left hangs, and is told of as such
            workers.until(lambda: not workers.live, WITHIN_S if mutant != "no_expiry" else 6 * LEASE_S)


assert {mutant.scenario for mutant in MUTANTS.values()} == set(SCENARIOS)
