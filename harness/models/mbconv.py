"""EfficientNet's block."""

from __future__ import annotations

from torch import nn

from harness.models.inverted import check_expand, inverted_residual
from harness.models.se import SqueezeExcite


def mbconv(
    cin: int, cout: int, stride: int, *, kernel: int = 3, expand: float = 6.0, activation: str = "silu"
) -> nn.Module:
    """Build an inverted residual with squeeze-and-excitation to a quarter of the input channels.

    Source: Tan and Le 2019, https://arxiv.org/abs/1905.11946
    """
    check_expand(expand)
    hidden = max(1, round(cin * expand))
    squeeze = SqueezeExcite(hidden, max(1, cin // 4), activation, nn.Sigmoid())
    return inverted_residual(cin, hidden, cout, stride, kernel, activation, squeeze)
