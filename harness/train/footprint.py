"""What a training step takes of memory, asked before the first."""

from __future__ import annotations

import copy
import time

import torch
from torch import nn

from harness.data.bound import free_gb, whole_gb

SHARE = 0.5  # of the free memory: other workers train too
WAIT_S = 120.0
"""How long a trial waits for memory that others have now."""
LOOK_S = 2.0
PROCESS_GB = 0.5
"""What a further process takes before it trains: torch and the loader's own."""


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


def together_gb(model: nn.Module, resolution_px: int, batch: int, processes: int, beside: int) -> float:
    """Estimate what a step takes of a host where some of the processes that share a batch train, in 10^9 bytes.

    processes: in all. beside: of them on this host; the images are reckoned elsewhere.
    """
    return beside * training_gb(model, resolution_px, -(-batch // processes)) + (beside - 1) * PROCESS_GB


def too_big(need_gb: float) -> str | None:
    """Say that a step takes more than its share of the memory that is free now; None where it fits."""
    return _over(need_gb, free_gb(), "free")


def never_fits(need_gb: float) -> str | None:
    """Say that a step takes more than its share of all the memory there is, so that no waiting helps; else None."""
    return _over(need_gb, whole_gb(), "whole")


def _over(need_gb: float, memory_gb: float, which: str) -> str | None:
    allowed = SHARE * memory_gb
    if need_gb <= allowed:
        return None
    return f"a training step takes about {need_gb:.1f} GB, {SHARE:.0%} of the {which} memory is {allowed:.1f}"


def wait_for_memory(need_gb: float) -> None:
    """Wait until a training step fits beside what else runs, and say so.

    Raises:
        MemoryError: it doesn't after `WAIT_S`.
    """
    end = time.monotonic() + WAIT_S
    if reason := too_big(need_gb):
        print(f"{reason}: waiting up to {WAIT_S:.0f} s for more", flush=True)
    while reason := too_big(need_gb):
        if time.monotonic() > end:
            raise MemoryError(f"{reason}, after {WAIT_S:.0f} s of waiting")
        time.sleep(LOOK_S)
