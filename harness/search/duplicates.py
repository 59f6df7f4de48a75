"""A network that trains the same, with the same recipe, is trained once in a study."""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Callable
from typing import Any

import optuna
import torch
from optuna.trial import TrialState
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode, resolve_name

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


def training_graph(model: nn.Module, resolution_px: int) -> list[Any]:
    """List what a network computes in training: each operation with its options, tensors as numbers in order of use.

    A tensor that no operation before has made (a weight, a statistic, the images) also has its shape. Names, values of
    weights and the nesting of modules don't show. The network stays as it is: a copy without numbers is run.
    """
    blank = {id(p): nn.Parameter(p.detach().to("meta"), p.requires_grad) for p in model.parameters()}
    blank |= {id(b): b.to("meta") for b in model.buffers()}
    images = torch.zeros(2, 3, resolution_px, resolution_px, device="meta")
    with _Recorder() as recorder, torch.no_grad():
        copy.deepcopy(model, blank).train()(images)
    return recorder.operations


class _Recorder(TorchFunctionMode):
    """Write down each operation that is called.

    Source: https://docs.pytorch.org/docs/stable/torch.overrides.html
    """

    def __init__(self) -> None:
        super().__init__()
        self.operations: list[Any] = []
        self._numbers: dict[int, int] = {}
        self._kept: list[Tensor] = []  # else another tensor could come to have the same id

    def __torch_function__(
        self, function: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        known = len(self._kept)
        given = self._shown([args, kwargs or {}])
        result = function(*args, **kwargs or {})
        made = [part for part in (result if isinstance(result, tuple | list) else [result]) if isinstance(part, Tensor)]
        if made:
            operation = resolve_name(function) or function.__name__
            self.operations.append([operation, given, [self._number(part) for part in made]])
        else:  # it asked for a shape
            self._forget(known)
        return result

    def _number(self, tensor: Tensor) -> int:
        if id(tensor) not in self._numbers:
            self._numbers[id(tensor)] = len(self._kept)
            self._kept.append(tensor)
        return self._numbers[id(tensor)]

    def _forget(self, known: int) -> None:
        while len(self._kept) > known:
            del self._numbers[id(self._kept.pop())]

    def _shown(self, part: Any) -> Any:
        """Return plain values for arguments."""
        if isinstance(part, dict):
            return {name: self._shown(value) for name, value in part.items()}
        if isinstance(part, tuple | list):
            return [self._shown(value) for value in part]
        if not isinstance(part, Tensor):
            return part if isinstance(part, int | float | str | None) else repr(part)
        if id(part) in self._numbers:
            return f"tensor {self._number(part)}"
        return [f"tensor {self._number(part)}", [*part.shape], str(part.dtype), part.requires_grad]


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
