"""Convolution, batch normalisation, activation: the brick of every other block."""

from __future__ import annotations

from torch import nn

from harness.errors import HarnessError
from harness.models.activation import activation as act
from harness.models.residual import Residual


def same_padding(kernel: int) -> int:
    """Return the padding that keeps the size at stride 1.

    Raises:
        HarnessError: the kernel is even or not positive.
    """
    if kernel < 1 or kernel % 2 == 0:
        raise HarnessError(f"kernel {kernel}: must be odd and positive", "use 1, 3, 5 or 7, or say `padding`")
    return kernel // 2


def conv_bn(
    cin: int,
    cout: int,
    kernel: int = 1,
    stride: int = 1,
    groups: int = 1,
    activation: str = "identity",
    padding: int | tuple[int, int, int, int] | None = None,
) -> nn.Sequential:
    """Return convolution without bias, batch normalisation, activation.

    padding: None keeps the size at stride 1; four numbers are the zeros left, right, above and below.
    """
    if groups < 1 or cin % groups or cout % groups:
        raise HarnessError(f"groups {groups}: must divide {cin} input and {cout} output channels", "change either")
    if padding is None or kernel < 1:
        padding = same_padding(kernel)
    sides = [] if isinstance(padding, int) else [nn.ZeroPad2d(padding)]
    layer = nn.Conv2d(cin, cout, kernel, stride, 0 if sides else padding, groups=groups, bias=False)
    return nn.Sequential(*sides, layer, nn.BatchNorm2d(cout), act(activation))


def conv(
    cin: int,
    cout: int,
    stride: int,
    *,
    kernel: int = 3,
    activation: str = "relu",
    groups: int = 1,
    residual: bool = False,
    padding: int | None = None,
) -> nn.Module:
    """Build a plain convolution; `residual` adds the input before the activation where the shapes agree."""
    kept = padding is None or (kernel % 2 == 1 and padding == kernel // 2)
    same = stride == 1 and cin == cout and kept
    if residual and same:
        return Residual(conv_bn(cin, cout, kernel, groups=groups), after=activation)
    return conv_bn(cin, cout, kernel, stride, groups, activation, padding)
