"""What a network computes in training, whatever its description and its weights."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode, resolve_name


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
