"""Muon: momentum whose updates are made orthogonal, for the filters of small convolutional networks."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch

POLYNOMIAL = (3.4445, -4.7750, 2.0315)  # its fixed point pulls all singular values towards 1
STEPS = 3  # of Newton-Schulz: near enough for a small network


class Muon(torch.optim.Optimizer):
    """Step convolution filters along orthogonalised momentum and keep their norm; all other weights by Nesterov SGD.

    lr: of the filters, as a share of their norm. sgd_lr: of the rest. Each filter bank is taken as a matrix of (output
    channels, inputs of one output) and is kept at norm sqrt(output channels), so weight decay doesn't act on it.

    Source: Jordan et al. 2024, https://kellerjordan.github.io/posts/muon/; cifar10-airbench,
        https://github.com/KellerJordan/cifar10-airbench (torch.optim.Muon takes matrices only)
    """

    def __init__(self, groups: Iterable[dict[str, Any]], lr: float, momentum: float = 0.6, sgd_lr: float = 0.1) -> None:
        split = []
        for group in groups:
            filters = [p for p in group["params"] if p.ndim == 4]
            others = [p for p in group["params"] if p.ndim != 4]
            split += [{**group, "params": filters, "orthogonal": True}] * bool(filters)
            split += [{**group, "params": others, "orthogonal": False, "lr": sgd_lr, "momentum": 0.85}] * bool(others)
        super().__init__(split, {"lr": lr, "momentum": momentum, "weight_decay": 0.0})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:
        """Change every weight that has a gradient."""
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is None:
                    continue
                state = self.state[weight]
                if not state:
                    state["momentum"] = torch.zeros_like(weight)
                gradient = weight.grad
                if not group["orthogonal"] and group["weight_decay"]:
                    gradient = gradient.add(weight, alpha=group["weight_decay"])
                momentum = state["momentum"].mul_(group["momentum"]).add_(gradient)
                update = gradient.add(momentum, alpha=group["momentum"])
                if group["orthogonal"]:
                    weight.mul_(len(weight) ** 0.5 / (weight.norm() + 1e-7))
                    update = orthogonal(update.reshape(len(update), -1)).reshape(update.shape)
                weight.add_(update.to(weight.dtype), alpha=-group["lr"])


def orthogonal(matrix: torch.Tensor) -> torch.Tensor:
    """Return bfloat16 (M, N) with the singular vectors of a matrix and all singular values near 1.

    Source: Newton-Schulz with Jordan's quintic polynomial, https://kellerjordan.github.io/posts/muon/
    """
    a, b, c = POLYNOMIAL
    tall = matrix.shape[0] > matrix.shape[1]
    x = (matrix.T if tall else matrix).bfloat16()
    x = x / (x.norm() + 1e-7)
    for _ in range(STEPS):
        square = x @ x.T
        x = a * x + (b * square + c * square @ square) @ x
    return x.T if tall else x
