"""EfficientNet's blocks."""

from __future__ import annotations

from torch import nn

from harness.errors import HarnessError
from harness.models.conv import conv_bn
from harness.models.inverted import check_expand, inverted_residual
from harness.models.residual import Residual
from harness.models.se import SqueezeExcite

Sides = tuple[int, int, int, int]
"""Rows and columns of zeros: left, right, above, below."""


def mbconv(
    cin: int,
    cout: int,
    stride: int,
    *,
    kernel: int = 3,
    expand: float = 6.0,
    activation: str = "silu",
    padded: str = "evenly",
) -> nn.Module:
    """Build an inverted residual with squeeze-and-excitation to a quarter of the input channels.

    padded: `evenly` on all sides, or `as_course`.
    Source: Tan and Le 2019, https://arxiv.org/abs/1905.11946
    """
    check_expand(expand)
    hidden = max(1, round(cin * expand))
    squeeze = SqueezeExcite(hidden, max(1, cin // 4), activation, nn.Sigmoid())
    return inverted_residual(cin, hidden, cout, stride, kernel, activation, squeeze, _sides(padded, kernel, stride))


def fused_mbconv(
    cin: int,
    cout: int,
    stride: int,
    *,
    kernel: int = 3,
    expand: float = 4.0,
    activation: str = "silu",
    padded: str = "evenly",
) -> nn.Module:
    """Build EfficientNetV2's block: a full kxk convolution widens, a linear 1x1 narrows; no squeeze-and-excitation.

    padded: as of `mbconv`.
    Source: Tan and Le 2021, https://arxiv.org/abs/2104.00298
    """
    check_expand(expand)
    hidden = max(1, round(cin * expand))
    wide = conv_bn(cin, hidden, kernel, stride, activation=activation, padding=_sides(padded, kernel, stride))
    body = nn.Sequential(wide, conv_bn(hidden, cout))
    return Residual(body) if stride == 1 and cin == cout else body


def _sides(padded: str, kernel: int, stride: int) -> Sides | None:
    """Return the padding of the kxk convolution; None for the even one.

    The course pads kernel - stride in all, the larger half right and below: at stride 2 an odd map is halved rounding
    down, where even padding rounds up.
    """
    if padded not in ("evenly", "as_course"):
        raise HarnessError(f"padded '{padded}': allowed: evenly, as_course", "use one of these")
    if padded == "evenly":
        return None
    whole = max(kernel - stride, 0)
    return (whole // 2, whole - whole // 2) * 2
