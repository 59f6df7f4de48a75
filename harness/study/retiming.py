"""A worker times a contender again, between trials: in another minute than before, and pools it with what is known.

Killed in between, nothing is lost: the network is claimed by a lease, and what was measured before stays.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import count as counting
from pathlib import Path
from typing import TypeVar

import sqlalchemy as sa

from harness import database
from harness.measure import cache, process
from harness.measure.cost import cost as cost_of
from harness.measure.latency import Latency
from harness.record import run_folder
from harness.record.manifest import MODEL
from harness.record.result import Cost
from harness.rules.reference import reference_model
from harness.search.attributes import result_of
from harness.search.gate import Known
from harness.study import pooled, timings
from harness.study.contenders import contenders
from harness.study.storage import step
from harness.study.study import Shared, finished

T = TypeVar("T")


@dataclass(frozen=True)
class Here:
    """A contender whose network was timed on this machine. model: its artefact. path, timing: what is kept of it."""

    known: Known
    model: Path
    path: Path
    timing: cache.Timing


def again(shared: Shared, owner: str, place: Callable[[int], Path], kept: Path) -> bool:
    """Time one contender again if any is due here and the study can afford it; tell whether one was timed.

    place: the run folder of a trial. kept: the folder of reference networks and timings.

    Raises:
        Away: the database was away for too long.
    """
    name, needs_s = shared.settings.name, 2 * shared.definition.latency_s
    if _read(shared, lambda connection: timings.left_s(connection, name)) < needs_s:
        return False
    here = _due(shared, place, kept)
    claim = _claimed(shared, list(here), owner, needs_s) if here else None
    if claim is None:
        return False
    begin, contender = time.monotonic(), here[claim.timing]
    try:
        session = _measured(shared, contender, kept)
        return _recorded(shared, claim, contender, session, place, time.monotonic() - begin)
    except database.Away:
        raise
    except Exception as e:  # too noisy now, a full disk, a damaged file: its figures of before hold
        _step(shared, lambda connection: timings.settle(connection, claim, time.monotonic() - begin))
        print(f"trial {contender.known.number}: not timed again: {e}", flush=True)
        return False


def _measured(shared: Shared, contender: Here, kept: Path) -> Latency:
    """Time a contender's artefact by the engine of its first time; another minute will do, so it hardly waits."""
    rules, seconds = shared.definition.rules(), shared.definition.latency_s
    reference = reference_model(rules.reference, kept)
    runtime = contender.timing.runtime
    return process.measure(contender.model, reference, rules.threads, seconds, runtime=runtime, patience_s=seconds)


def _due(shared: Shared, place: Callable[[int], Path], kept: Path) -> dict[str, Here]:
    """Return the contenders that may be timed now and here, by timing, the most pressing first."""
    definition, name = shared.definition, shared.settings.name
    known = [Known(t.number, result_of(t)) for t in finished(shared.optuna)]
    limit_ms = definition.limits().max_latency_ms
    by_name = {
        k.result.cost.timing: k for k in contenders(known, definition.objective, definition.rules(), limit_ms)
    }  # fmt: skip
    if not by_name:
        return {}
    database.patiently(lambda: timings.note(shared.engine, name, list(by_name)), shared.patience_s, shared.url)
    due = _read(shared, lambda connection: timings.due(connection, name, list(by_name)))
    found = {timing: _here(shared, by_name[timing], place(by_name[timing].number), kept) for timing in due}
    return {timing: here for timing, here in found.items() if here}


def _here(shared: Shared, known: Known, folder: Path, kept: Path) -> Here | None:
    """Return a contender whose network was timed here: by the same processor, system and engines as there are now.

    None of one whose folder is on another machine, whose own workers time it.
    """
    model, competition = folder / MODEL, shared.definition.rules()
    if not model.exists():
        return None
    try:
        reference = reference_model(competition.reference, kept)
        path = cache.file(kept, model, reference, competition, shared.definition.latency_s)
    except Exception as e:  # a damaged artefact must not end a worker that has better things to do
        print(f"trial {known.number}: not timed again: {model}: {type(e).__name__}: {e}", flush=True)
        return None
    timing = cache.read(path)
    if timing is None or timing.name != known.result.cost.timing:
        return None
    return Here(known, model, path, timing)


def _claimed(shared: Shared, names: list[str], owner: str, needs_s: float) -> timings.Claim | None:
    """Claim the first of the networks that nobody has claimed meanwhile."""
    tries, name = counting(), shared.settings.name

    def act(connection: sa.Connection) -> timings.Claim | None:
        if next(tries) and (ours := timings.held(connection, name, owner, needs_s)):
            return ours  # the commit that seemed to fail took effect
        return timings.claim(connection, name, names, owner, needs_s)

    return _step(shared, act)


def _recorded(
    shared: Shared, claim: timings.Claim, contender: Here, session: Latency, place: Callable[[int], Path],
    spent_s: float,
) -> bool:  # fmt: skip
    """Pool a measurement with those before it; False, and nothing is written, if the claim is another's by now.

    Files of all the network's trials and database change in one transaction: whoever claims it next finds both.
    """
    timing = _pooled(contender, session)
    old, latency = contender.known.result.cost, timing.latency.to_dict()
    cost = cost_of(old.macs, old.parameters, timing.runtime, timing.latency, timing.name)
    mine = [t for t in finished(shared.optuna) if result_of(t).cost.timing == timing.name]
    results = {place(t.number): pooled.repriced(result_of(t), cost, shared.definition) for t in mine}

    def act(connection: sa.Connection) -> bool:
        if not timings.settle(connection, claim, spent_s):
            return False
        cache.write(contender.path, timing)
        for folder, result in results.items():
            if (folder / run_folder.LATENCY).exists():
                run_folder.write_pooled(folder, timing.runtime, latency, result)
        pooled.note(shared.optuna, cost)
        return True

    recorded = _step(shared, act)
    said = _words(cost) if recorded else "timed again by another meanwhile: this measurement is dropped"
    print(f"trial {contender.known.number}: {said}", flush=True)
    return recorded


def _pooled(contender: Here, session: Latency) -> cache.Timing:
    """Add a measurement to those kept; another study of this folder may have added one meanwhile, too."""
    kept = cache.read(contender.path)
    before = kept if kept and kept.name == contender.timing.name else contender.timing
    return replace(before, latency=Latency.pooled([before.latency, session]))


def _words(cost: Cost) -> str:
    interval = f"{cost.ratio_low:.4g} to {cost.ratio_high:.4g}"
    return f"timed again, {cost.sessions} times now: {cost.ratio:.4g} of the reference's time ({interval})"


def _read(shared: Shared, act: Callable[[sa.Connection], T]) -> T:
    """Read, which on SQLite waits for no writer."""

    def once() -> T:
        with database.reading(shared.engine).begin() as connection:
            return act(connection)

    return database.patiently(once, shared.patience_s, shared.url)


def _step(shared: Shared, act: Callable[[sa.Connection], T]) -> T:
    return step(shared.optuna, shared.engine, shared.patience_s, act)
