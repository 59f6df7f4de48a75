"""How far the running trials are: from the journals of those on this machine, else from what their workers noted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from harness.record.journal import last_row
from harness.search.attributes import CANDIDATE, COST, PROGRESS, RUNGS
from harness.study import own_folder

COLUMNS = ("epoch", "loss", "F1", "ms")


@dataclass(frozen=True)
class Progress:
    """A running trial. stage: starting, timing, training or scoring.

    epoch: how many have ended, of epochs in all; None before its candidate is drawn. loss: mean of the last epoch. f1:
    macro, 0..1, at the last rung. latency_ms: of one image. All three are None before they are known.
    """

    trial: int
    worker: str
    stage: str
    epoch: int
    epochs: int | None
    loss: float | None
    f1: float | None
    latency_ms: float | None


def running(study: optuna.Study, trials: Sequence[FrozenTrial], folder: Path | None = None) -> list[Progress]:
    """Tell how far each running trial is, by number. folder: of the study's runs on this machine, if it has any."""
    at_work = [t for t in trials if t.state == TrialState.RUNNING]
    ours = folder if at_work and folder is not None and own_folder.is_of(study, folder) else None
    return [_of(t, ours) for t in at_work]


def _of(trial: FrozenTrial, folder: Path | None) -> Progress:
    local = last_row(folder / f"{trial.number:05d}") if folder else None
    row: dict[str, Any] = local or trial.user_attrs.get(PROGRESS) or {}
    recipe = trial.user_attrs.get(CANDIDATE, {}).get("recipe", {})
    cost, rungs = trial.user_attrs.get(COST, {}), trial.user_attrs.get(RUNGS, {})
    epoch, epochs = int(row.get("epoch", 0)), recipe.get("epochs")
    return Progress(
        trial=trial.number, worker=str(trial.user_attrs.get("worker", "")), stage=_stage(trial, epoch, epochs),
        epoch=epoch, epochs=epochs, loss=row.get("loss"), f1=rungs[max(rungs, key=int)] if rungs else None,
        latency_ms=cost.get("latency_ms"),
    )  # fmt: skip


def _stage(trial: FrozenTrial, epoch: int, epochs: int | None) -> str:
    if epochs is None:
        return "starting"
    if COST not in trial.user_attrs:
        return "timing"
    return "scoring" if epoch >= epochs else "training"


def cells(progress: Progress) -> list[str]:
    """Return what stands below `COLUMNS`; the stage in the place of an epoch, where there is none to be shown."""
    p = progress
    epoch = f"{p.epoch} of {p.epochs}" if p.stage == "training" else p.stage
    return [epoch, _figure(p.loss), _figure(p.f1), _figure(p.latency_ms)]


def words(progress: Progress) -> str:
    """Say in a few words how far a trial is."""
    epoch, loss, f1, latency_ms = cells(progress)
    at = f"epoch {epoch}" if progress.stage == "training" else epoch
    more = [f"loss {loss}" if loss else "", f"F1 {f1}" if f1 else "", f"{latency_ms} ms" if latency_ms else ""]
    return f"trial {progress.trial}: {', '.join([at, *filter(None, more)])}"


def _figure(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"
