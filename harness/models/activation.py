"""Activations by name."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from harness.errors import pick

# In place only where the backward pass needs the output alone: elsewhere autograd would keep a copy anyway.
ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "relu": lambda: nn.ReLU(inplace=True),
    "relu6": lambda: nn.ReLU6(inplace=True),
    "leakyrelu": lambda: nn.LeakyReLU(0.1),
    "leakyrelu0.01": nn.LeakyReLU,  # torch's own slope, and so the course's
    "hardswish": nn.Hardswish,
    "silu": nn.SiLU,
    "swish": nn.SiLU,
    "gelu": nn.GELU,
    "elu": nn.ELU,
    "selu": nn.SELU,
    "celu": nn.CELU,
    "mish": nn.Mish,
    "prelu": nn.PReLU,
    "softplus": nn.Softplus,
    "softsign": nn.Softsign,
    "tanh": nn.Tanh,
    "hardtanh": nn.Hardtanh,
    "sigmoid": nn.Sigmoid,
    "hardsigmoid": nn.Hardsigmoid,
    "softmax": lambda: nn.Softmax(dim=1),
    "identity": nn.Identity,
}


def activation(name: str) -> nn.Module:
    """Return a fresh activation; case does not matter (`ReLU`, `HardSwish`).

    Raises:
        HarnessError: the name is unknown.
    """
    return pick(ACTIVATIONS, name.lower(), "activation")()
