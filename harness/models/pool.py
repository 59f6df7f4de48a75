"""Pooling: smaller maps without weights."""

from __future__ import annotations

from torch import nn

from harness.errors import HarnessError


def keep_channels(cin: int, cout: int) -> None:
    """Refuse a change of channels where a block cannot make one."""
    if cin != cout:
        raise HarnessError(f"channels {cout}: this block keeps its {cin} input channels", "leave `channels` out")


def no_stride(stride: int) -> None:
    """Refuse a stride where a block has none."""
    if stride != 1:
        raise HarnessError(f"stride {stride}: this block takes none", "leave `stride` out")


def _padding(kernel: int, padding: int | None) -> int:
    """Check a pooling window; by default an odd one is centred, an even one (2 at stride 2) tiles the map."""
    if kernel < 1:
        raise HarnessError(f"kernel {kernel}: must be positive", "use 2 or 3")
    padding = (kernel - 1) // 2 if padding is None else padding
    if not 0 <= padding <= kernel // 2:
        raise HarnessError(f"padding {padding}: must lie between 0 and half the kernel {kernel}", "leave it out")
    return padding


def maxpool(cin: int, cout: int, stride: int, *, kernel: int = 3, padding: int | None = None) -> nn.Module:
    """Build max pooling."""
    keep_channels(cin, cout)
    return nn.MaxPool2d(kernel, stride, _padding(kernel, padding))


def avgpool(cin: int, cout: int, stride: int, *, kernel: int = 3, padding: int | None = None) -> nn.Module:
    """Build average pooling; the padding counts as zeros."""
    keep_channels(cin, cout)
    return nn.AvgPool2d(kernel, stride, _padding(kernel, padding))


def globalavgpool(cin: int, cout: int, stride: int) -> nn.Module:
    """Build the mean over the whole map: (N, C, 1, 1)."""
    keep_channels(cin, cout)
    no_stride(stride)
    return nn.AdaptiveAvgPool2d(1)
