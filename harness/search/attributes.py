"""What Optuna keeps of a trial beside its parameters: the one place that names it and reads it."""

from __future__ import annotations

from optuna.trial import FrozenTrial

from harness.errors import HarnessError
from harness.record.candidate import Candidate
from harness.record.result import Cost, Result

CANDIDATE, DIGEST, COST, RESULT = "candidate", "digest", "cost", "result"
RUNGS = "rungs"
"""The raw F1 at the rungs so far, by epoch, of trials that run or were stopped, too."""
PROGRESS = "progress"
"""The last row of a running trial's journal as of some seconds ago, for those who look from other machines."""
REFUSED = "refused"
"""Why a candidate was refused before training and replaced, one of `gate.KINDS`: the trial counts for nothing."""


def result_of(trial: FrozenTrial) -> Result | None:
    """Return a trial's result; None before it has one.

    Raises:
        HarnessError: an earlier version recorded it, without its counts and intervals.
    """
    raw = trial.user_attrs.get(RESULT)
    if raw is None and "figures" in trial.user_attrs:
        raise HarnessError(
            f"trial {trial.number}: an earlier version of the harness recorded its result, which this one can't read",
            "look at this study with that version; `train.py study=... trial=NUMBER` and `status` work with this one",
        )
    return None if raw is None else Result.from_dict(raw)


def cost_of(trial: FrozenTrial) -> Cost | None:
    """Return what a trial's network costs; None before it was measured."""
    raw = trial.user_attrs.get(COST)
    return None if raw is None else Cost.from_dict(raw)


def candidate_of(trial: FrozenTrial) -> Candidate:
    """Return what a trial tried."""
    return Candidate.from_dict(trial.user_attrs[CANDIDATE], f"trial {trial.number}")
