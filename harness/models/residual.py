"""A body with a way around it."""

from __future__ import annotations

from torch import Tensor, nn

from harness.models.activation import activation


class Residual(nn.Module):
    """Add `body(x)` to `shortcut(x)`, then activate.

    Source: He et al. 2015, https://arxiv.org/abs/1512.03385
    """

    def __init__(self, body: nn.Module, shortcut: nn.Module | None = None, after: str = "identity") -> None:
        super().__init__()
        self.body = body
        self.shortcut = shortcut or nn.Identity()
        self.act = activation(after)

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.body(x) + self.shortcut(x))
