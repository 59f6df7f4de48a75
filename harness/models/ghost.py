"""GhostNet's bottleneck (two ghost modules), as the first cohort used it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from harness.errors import HarnessError, pick
from harness.models.conv import conv_bn
from harness.models.inverted import check_expand
from harness.models.residual import Residual
from harness.models.rounding import ROUNDINGS
from harness.models.se import SqueezeExcite


class GhostModule(nn.Module):
    """Compute half of the channels with 1x1, the other half from those with a cheap 3x3 depthwise.

    Source: Han et al. 2019, https://arxiv.org/abs/1911.11907
    """

    def __init__(self, cin: int, cout: int, activation: str) -> None:
        super().__init__()
        if cout % 2:
            raise HarnessError(f"channels {cout}: not divisible by 2", "use an even number of channels")
        half = cout // 2
        self.primary = conv_bn(cin, half, activation=activation)
        self.cheap = conv_bn(half, half, 3, groups=half, activation=activation)

    def forward(self, x: Tensor) -> Tensor:
        real = self.primary(x)
        return torch.cat((real, self.cheap(real)), 1)


def ghost(
    cin: int,
    cout: int,
    stride: int,
    *,
    kernel: int = 3,
    expand: float = 2.0,
    se: bool = False,
    activation: str = "relu",
    rounding: str = "up",
) -> nn.Module:
    """Build a ghost bottleneck; the depthwise kernel matters at stride 2 only, as in the paper."""
    check_expand(expand)
    hidden = pick(ROUNDINGS, rounding, "rounding")(cin * expand)
    steps = [GhostModule(cin, hidden, activation)]
    if stride > 1:
        steps.append(conv_bn(hidden, hidden, kernel, stride, hidden))
    if se:
        steps.append(SqueezeExcite(hidden, max(1, hidden // 4), "relu", nn.Hardsigmoid()))
    body = nn.Sequential(*steps, GhostModule(hidden, cout, "identity"))
    same = stride == 1 and cin == cout
    return Residual(body, None if same else nn.Sequential(conv_bn(cin, cin, 3, stride, cin), conv_bn(cin, cout)))
