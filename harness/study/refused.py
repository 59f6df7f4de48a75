"""The candidates that were refused before training and replaced: counted apart, as they use nothing of the budget."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

from optuna.trial import FrozenTrial

from harness.search.attributes import REFUSED
from harness.search.gate import KINDS


def is_refused(trial: FrozenTrial) -> bool:
    """Tell whether a trial's candidate was refused and another took its slot."""
    return REFUSED in trial.user_attrs


def counts(trials: Iterable[FrozenTrial]) -> dict[str, int]:
    """Count the refused candidates by kind, in the order of `KINDS`."""
    found = Counter(t.user_attrs[REFUSED] for t in trials if is_refused(t))
    return {kind: found[kind] for kind in KINDS if found[kind]}


def words(counted: Mapping[str, int]) -> str:
    """Say it: "12 candidates refused before training: 9 too dear, 3 duplicates"; "" for none."""
    total = sum(counted.values())
    if not total:
        return ""
    parts = [f"{n} {kind}{'s' if kind == 'duplicate' and n > 1 else ''}" for kind, n in counted.items()]
    return f"{total} candidate{'s' if total > 1 else ''} refused before training: {', '.join(parts)}"
