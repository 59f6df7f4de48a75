"""What a training step takes of memory, asked before the first."""

from __future__ import annotations

import copy

import torch
from torch import nn

from harness.data.bound import free_gb

SHARE = 0.5  # of the free memory: other workers train too


@torch.no_grad()
def training_gb(model: nn.Module, resolution_px: int, batch: int) -> float:
    """Estimate the most that a step of training takes, in 10^9 bytes, in float32.

    All layers' outputs are kept for the way back, where the largest has its gradients beside it; weights stand there
    with their gradient and the optimiser's state.
    """
    net, kept = copy.deepcopy(model).eval(), [0]

    def add(module: nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        if output.data_ptr() != inputs[0].data_ptr():  # else it was changed in place
            kept.append(output.numel())

    for module in net.modules():
        if not list(module.children()):
            module.register_forward_hook(add)
    net(torch.zeros(1, 3, resolution_px, resolution_px))
    weights = sum(p.numel() for p in model.parameters())
    return ((sum(kept) + 2 * max(kept)) * batch + 4 * weights) * 4 / 1e9


def too_big(need_gb: float) -> str | None:
    """Say that a step takes more than its share of the free memory; None where it fits."""
    allowed = SHARE * free_gb()
    if need_gb <= allowed:
        return None
    return f"a training step takes about {need_gb:.1f} GB, {SHARE:.0%} of the free memory is {allowed:.1f}"
