"""The storm's checker finds each safeguard that the queue is made to lack, and nothing where none is missing."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest
import queue_scenarios
from forks import apart
from queue_check import Found, check
from queue_mutants import MUTANTS
from queue_scenarios import SCENARIOS

pytestmark = pytest.mark.chaos

Runs = dict[tuple[str, str], Future[dict[str, Found]]]


def ran(name: str, folder: Path, mutant: str) -> dict[str, Found]:
    """Run a scenario and check it."""
    folder.mkdir()
    apart(queue_scenarios.run, name, folder, f"sqlite:///{folder}/x.db?timeout=0.2", mutant, within_s=60)
    return check(folder, f"sqlite:///{folder}/x.db")


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runs]:
    """All runs, four at a time: they mostly wait for a lease to run out."""
    root = tmp_path_factory.mktemp("mutants")
    wanted = [(name, "") for name in SCENARIOS] + [(m.scenario, name) for name, m in MUTANTS.items()]
    with ThreadPoolExecutor(4) as pool:
        yield {(name, mutant): pool.submit(ran, name, root / f"{name}-{mutant}", mutant) for name, mutant in wanted}


@pytest.mark.parametrize("name", SCENARIOS)
def test_the_sound_queue_bears_it(runs: Runs, name: str) -> None:
    """Each fault for itself; the control of the test below."""
    assert {column: wrong for column, (_, wrong) in runs[name, ""].result().items() if wrong} == {}


@pytest.mark.parametrize("name", MUTANTS)
def test_the_checker_catches_the_queues_mutant(runs: Runs, name: str) -> None:
    """In the columns that are told."""
    mutant = MUTANTS[name]
    found = runs[mutant.scenario, name].result()
    caught = {column for column, (_, wrong) in found.items() if wrong}
    assert caught >= set(mutant.caught), found
