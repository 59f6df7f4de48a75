"""How a trial ended, in a word, and where the reasons of a study's workers stand."""

from __future__ import annotations

from pathlib import Path

from optuna.trial import FrozenTrial, TrialState

INTERRUPTED = "interrupted"
"""The attribute of a trial that failed in nothing: its worker was stopped, or the study's time was over."""
LOGS = ("*/error.txt", "worker-*.log")


def word(trial: FrozenTrial) -> str:
    """Say how a trial ended: as Optuna does, but that one which was interrupted has failed in nothing."""
    return INTERRUPTED if is_interrupted(trial) else trial.state.name.lower()


def is_interrupted(trial: FrozenTrial) -> bool:
    """Tell whether a trial was given up by a worker that had to stop; another goes on with it."""
    noted = trial.user_attrs.get(INTERRUPTED) or trial.user_attrs.get("reason") == INTERRUPTED
    return trial.state == TrialState.FAIL and bool(noted)


def reasons_in(folder: Path) -> str:
    """Name the files of a study's folder that hold the reasons: those that are there; '' for none."""
    return " and ".join(str(folder / pattern) for pattern in LOGS if any(folder.glob(pattern)))
