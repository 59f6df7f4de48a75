"""ShuffleNetV2's unit."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from harness.errors import HarnessError
from harness.models.conv import conv_bn


class ShuffleV2(nn.Module):
    """Transform half of the channels, or all of them on two ways where the shape changes, and interleave both halves.

    Source: Ma et al. 2018, https://arxiv.org/abs/1807.11164
    """

    def __init__(self, cin: int, cout: int, stride: int, *, kernel: int = 3, activation: str = "relu") -> None:
        super().__init__()
        if cout % 2:
            raise HarnessError(f"channels {cout}: not divisible by 2", "use an even number of channels")
        self.half = cout // 2
        self.splits = stride == 1 and cin == cout
        start = self.half if self.splits else cin
        self.main = nn.Sequential(
            conv_bn(start, self.half, activation=activation),
            conv_bn(self.half, self.half, kernel, stride, self.half),
            conv_bn(self.half, self.half, activation=activation),
        )
        self.side = (
            nn.Identity()
            if self.splits
            else nn.Sequential(conv_bn(cin, cin, kernel, stride, cin), conv_bn(cin, self.half, activation=activation))
        )

    def forward(self, x: Tensor) -> Tensor:
        left, right = x.split(self.half, 1) if self.splits else (x, x)
        pair = torch.stack((self.side(left), self.main(right)), 2)  # (N, half, 2, H, W): flattened, they interleave
        # Plain numbers for the map: an exported Reshape is then a constant, only the batch stays free.
        return pair.reshape(-1, 2 * self.half, *map(int, pair.shape[3:]))
