"""The course's depthwise convolution."""

from __future__ import annotations

import math

from torch import nn

from harness.models.conv import conv_bn


def dwconv(
    cin: int, cout: int, stride: int, *, kernel: int = 3, activation: str = "relu", padding: int | None = None
) -> nn.Module:
    """Build a convolution in gcd(cin, cout) groups: strictly depthwise only where the channels stay the same."""
    return conv_bn(cin, cout, kernel, stride, math.gcd(cin, cout), activation, padding)
