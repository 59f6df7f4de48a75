"""The same built network with the same recipe is trained once in a study."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import optuna
from optuna.trial import TrialState

from harness.measure.cache import graph
from harness.record.candidate import Candidate
from harness.record.result import Result
from harness.search.attributes import result_of

ORDER = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.RUNNING)  # whose result is worth most


class Duplicate(Exception):
    """Another trial has built and trained the same, or is at it.

    result: what it came to, if it went to the end. pruned: why it was stopped early, if it was.
    """

    def __init__(self, number: int, result: Result | None, pruned: str | None) -> None:
        super().__init__(f"duplicate of trial {number}")
        self.number, self.result, self.pruned = number, result, pruned


def built(candidate: Candidate, artefact: Path) -> str:
    """Hash what is trained (16 hex digits): the network as it was built, its input size, augmentation and recipe.

    Two descriptions can build one network: a stage that is left out, a block whose option has no effect.
    artefact: the network's ONNX file.
    """
    rest = {k: v for k, v in candidate.to_dict().items() if k != "model"}
    return hashlib.sha256(json.dumps([graph(artefact), rest], sort_keys=True).encode()).hexdigest()[:16]


def refuse(trial: optuna.Trial, digest: str) -> None:
    """Note what this trial trains; raise if another trial trains the same.

    Of two that run at the same time the one of the higher number yields: each has noted its own before it looks.

    Raises:
        Duplicate: another trial trains, or has trained, the same.
    """
    trial.set_user_attr("built", digest)
    others = [
        t for t in trial.study.get_trials(deepcopy=False, states=ORDER)
        if t.user_attrs.get("built") == digest and (t.state.is_finished() or t.number < trial.number)
    ]  # fmt: skip
    if others:
        twin = min(others, key=lambda t: ORDER.index(t.state))
        pruned = twin.user_attrs.get("reason", "") if twin.state == TrialState.PRUNED else None
        raise Duplicate(twin.number, result_of(twin), pruned)
