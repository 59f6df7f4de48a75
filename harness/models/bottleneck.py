"""Bottlenecks: narrow, convolve, widen."""

from __future__ import annotations

from torch import nn

from harness.models.conv import conv_bn
from harness.models.residual import Residual


def bottleneck(
    cin: int,
    cout: int,
    stride: int,
    *,
    kernel: int = 3,
    expansion: float = 0.25,
    activation: str = "relu",
    groups: int = 1,
    residual: bool = True,
) -> nn.Module:
    """Build ResNet's 1x1, kxk, 1x1; the middle has `expansion` of the output channels, a 1x1 shortcut where needed.

    Source: He et al. 2015, https://arxiv.org/abs/1512.03385
    """
    middle = max(1, round(cout * expansion))
    body = nn.Sequential(
        conv_bn(cin, middle, activation=activation),
        conv_bn(middle, middle, kernel, stride, groups, activation),
        conv_bn(middle, cout, activation="identity" if residual else activation),
    )
    if not residual:
        return body
    same = stride == 1 and cin == cout
    return Residual(body, None if same else conv_bn(cin, cout, 1, stride), after=activation)


def short_bottleneck(
    cin: int,
    cout: int,
    stride: int,
    *,
    expansion: float = 0.5,
    activation: str = "relu",
    last_activation: str = "same",
    groups: int = 1,
    residual: bool = True,
) -> nn.Module:
    """Build the course's `Bottleneck`: 1x1 then 3x3, both activated, the input added where the shapes agree.

    last_activation: of the 3x3; `same` as that of the 1x1.
    """
    middle = max(1, int(cout * expansion))
    body = nn.Sequential(
        conv_bn(cin, middle, activation=activation),
        conv_bn(middle, cout, 3, stride, groups, activation if last_activation == "same" else last_activation),
    )
    return Residual(body) if residual and stride == 1 and cin == cout else body


def res_bottleneck(
    cin: int,
    cout: int,
    stride: int,
    *,
    expansion: float = 0.5,
    activation: str = "relu",
    middle_activation: str = "same",
    groups: int = 1,
    residual: bool = True,
) -> nn.Module:
    """Build the teams' `ResBottleneck`: 1x1, 3x3, 1x1, all activated, the input added where the shapes agree.

    middle_activation: of the 3x3; `same` as that of the others.
    """
    middle = max(1, int(cout * expansion))
    body = nn.Sequential(
        conv_bn(cin, middle, activation=activation),
        conv_bn(middle, middle, 3, stride, groups, activation if middle_activation == "same" else middle_activation),
        conv_bn(middle, cout, activation=activation),
    )
    return Residual(body) if residual and stride == 1 and cin == cout else body
