"""MobileNet's inverted residuals: widen, convolve depthwise, narrow."""

from __future__ import annotations

from torch import nn

from harness.errors import HarnessError, pick
from harness.models.conv import conv_bn
from harness.models.residual import Residual
from harness.models.rounding import ROUNDINGS
from harness.models.se import SqueezeExcite


def inverted_residual(
    cin: int,
    hidden: int,
    cout: int,
    stride: int,
    kernel: int,
    activation: str,
    squeeze: nn.Module | None,
    padding: tuple[int, int, int, int] | None = None,
) -> nn.Module:
    """Return 1x1 to `hidden` (left out where nothing widens), kxk depthwise, `squeeze`, linear 1x1 to `cout`.

    padding: of the depthwise convolution, as of `conv_bn`.
    """
    widen = [] if hidden == cin else [conv_bn(cin, hidden, activation=activation)]
    depthwise = conv_bn(hidden, hidden, kernel, stride, hidden, activation, padding)
    body = nn.Sequential(*widen, depthwise, *([squeeze] if squeeze else []), conv_bn(hidden, cout))
    return Residual(body) if stride == 1 and cin == cout else body


def check_expand(expand: float) -> None:
    """Refuse an expansion that is not positive."""
    if expand <= 0:
        raise HarnessError(f"expand {expand}: must be above 0", "use 1 to 8")


def inverted_v2(cin: int, cout: int, stride: int, *, expand: float = 6.0) -> nn.Module:
    """Build MobileNetV2's block: 3x3, ReLU6.

    Source: Sandler et al. 2018, https://arxiv.org/abs/1801.04381
    """
    check_expand(expand)
    return inverted_residual(cin, max(1, round(cin * expand)), cout, stride, 3, "relu6", None)


def inverted_v3(
    cin: int,
    cout: int,
    stride: int,
    *,
    kernel: int = 3,
    expand: float = 4.0,
    se: bool = False,
    hardswish: bool = False,
    rounding: str = "up",
) -> nn.Module:
    """Build MobileNetV3's block: hidden width and squeeze are multiples of 8, ReLU unless `hardswish`.

    Source: Howard et al. 2019, https://arxiv.org/abs/1905.02244
    """
    check_expand(expand)
    rounded = pick(ROUNDINGS, rounding, "rounding")
    hidden = rounded(cin * expand)
    squeeze = SqueezeExcite(hidden, rounded(hidden // 4), "relu", nn.Hardsigmoid()) if se else None
    return inverted_residual(cin, hidden, cout, stride, kernel, "hardswish" if hardswish else "relu", squeeze)
