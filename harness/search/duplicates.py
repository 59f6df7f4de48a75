"""A network that trains the same, with the same recipe, is trained once in a study."""

from __future__ import annotations

import hashlib
import json

import optuna
from optuna.trial import TrialState
from torch import nn

from harness.models.training_graph import training_graph
from harness.record.candidate import Candidate
from harness.record.result import Result
from harness.search.attributes import result_of
from harness.search.gate import Refused

ORDER = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.RUNNING)  # whose result is worth most


class Duplicate(Refused):
    """Another trial has trained the same, or is at it.

    result: what it came to, if it went to the end. pruned: why it was stopped early, if it was.
    """

    def __init__(self, number: int, result: Result | None, pruned: str | None) -> None:
        super().__init__("duplicate", f"duplicate of trial {number}")
        self.number, self.result, self.pruned = number, result, pruned


def built(candidate: Candidate, model: nn.Module) -> str:
    """Hash what is trained (16 hex digits): the training network as it was built, input size, augmentation and recipe.

    Two descriptions can build one network: a stage that is left out, a block whose option has no effect. Two networks
    that are exported as one may train apart: the branches of RepVGG are one convolution in the artefact.
    """
    rest = {k: v for k, v in candidate.to_dict().items() if k != "model"}
    facts = [training_graph(model, candidate.resolution_px), rest]
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]


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
