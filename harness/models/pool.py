"""Pooling: smaller maps without weights."""

from __future__ import annotations

import torch
from torch import Tensor, nn

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


def maxpool(
    cin: int, cout: int, stride: int, *, kernel: int = 3, padding: int | None = None, ceil: bool = False
) -> nn.Module:
    """Build max pooling. ceil: a last window that the map doesn't fill counts too."""
    keep_channels(cin, cout)
    return nn.MaxPool2d(kernel, stride, _padding(kernel, padding), ceil_mode=ceil)


def avgpool(
    cin: int,
    cout: int,
    stride: int,
    *,
    kernel: int = 3,
    padding: int | None = None,
    ceil: bool = False,
    count_padding: bool = True,
) -> nn.Module:
    """Build average pooling. ceil: as of `maxpool`. count_padding: the padding counts as zeros."""
    keep_channels(cin, cout)
    return nn.AvgPool2d(kernel, stride, _padding(kernel, padding), ceil_mode=ceil, count_include_pad=count_padding)


def globalavgpool(cin: int, cout: int, stride: int, *, size: int = 1) -> nn.Module:
    """Build the mean over the whole map, or over each of size x size parts of it: (N, C, size, size)."""
    keep_channels(cin, cout)
    no_stride(stride)
    if size < 1:
        raise HarnessError(f"size {size}: must be positive", "use 1, or leave it out")
    return nn.AdaptiveAvgPool2d(1) if size == 1 else PartMeans(size)


class PartMeans(nn.AdaptiveAvgPool2d):
    """Average size x size parts of the map; torch's own is exported only where they divide the map."""

    def forward(self, x: Tensor) -> Tensor:
        parts = self.output_size
        for dim in (2, 3):
            length = int(x.shape[dim])
            ends = [(i * length // parts, -(-(i + 1) * length // parts)) for i in range(parts)]
            x = torch.cat([x.narrow(dim, a, b - a).mean(dim, keepdim=True) for a, b in ends], dim)
        return x
