"""SqueezeNet's fire module."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from harness.errors import HarnessError
from harness.models.conv import conv_bn


class Fire(nn.Module):
    """Squeeze with 1x1, then expand with 1x1 and 3x3 side by side; batch normalisation added to the paper's design.

    `squeeze` and `wide` are shares of `cout`: what the squeeze keeps, and what the 3x3 gives.
    Source: Iandola et al. 2016, https://arxiv.org/abs/1602.07360
    """

    def __init__(
        self, cin: int, cout: int, stride: int, *, squeeze: float = 0.125, wide: float = 0.5, activation: str = "relu"
    ) -> None:
        super().__init__()
        inner, three = max(1, round(cout * squeeze)), round(cout * wide)
        if not 0 < three < cout:
            raise HarnessError(f"wide {wide}: leaves {three} of {cout} channels to the 3x3", "use 0.25 to 0.75")
        self.squeeze = conv_bn(cin, inner, activation=activation)
        self.one = conv_bn(inner, cout - three, 1, stride, activation=activation)
        self.three = conv_bn(inner, three, 3, stride, activation=activation)

    def forward(self, x: Tensor) -> Tensor:
        x = self.squeeze(x)
        return torch.cat((self.one(x), self.three(x)), 1)
