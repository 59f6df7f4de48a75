"""Squeeze and excitation: weigh channels by what the whole image holds."""

from __future__ import annotations

from torch import Tensor, nn

from harness.models.activation import activation as act


class SqueezeExcite(nn.Module):
    """Multiply each channel by a gate in 0..1 computed from the channels' means.

    Source: Hu et al. 2017, https://arxiv.org/abs/1709.01507
    """

    def __init__(self, channels: int, squeezed: int, activation: str, gate: nn.Module) -> None:
        super().__init__()
        self.weigh = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            nn.Conv2d(channels, squeezed, 1),
            act(activation),
            nn.Conv2d(squeezed, channels, 1),
            gate,
        )

    def forward(self, x: Tensor) -> Tensor:
        return x * self.weigh(x)
