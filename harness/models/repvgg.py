"""RepVGG: three branches to train, one 3x3 convolution to run."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from harness.models.activation import activation as act
from harness.models.conv import conv_bn


class RepVGG(nn.Module):
    """Sum a 3x3, a 1x1 and, where the shapes agree, the input itself, each normalised; then activate.

    Source: Ding et al. 2021, https://arxiv.org/abs/2101.03697
    """

    def __init__(self, cin: int, cout: int, stride: int, *, activation: str = "relu") -> None:
        super().__init__()
        self.dense = conv_bn(cin, cout, 3, stride)
        self.point = conv_bn(cin, cout, 1, stride)
        self.skip = nn.BatchNorm2d(cin) if stride == 1 and cin == cout else None
        self.act = act(activation)

    def forward(self, x: Tensor) -> Tensor:
        y = self.dense(x) + self.point(x)
        return self.act(y if self.skip is None else y + self.skip(x))

    def fuse(self) -> nn.Module:
        """Return the same function (in eval mode) as one 3x3 convolution and the activation."""
        old = self.dense[0]
        with torch.no_grad():
            kernels, biases = zip(*self._branches(), strict=True)
            fused = nn.Conv2d(old.in_channels, old.out_channels, 3, old.stride, 1).to(old.weight)
            fused.weight.copy_(sum(kernels))
            fused.bias.copy_(sum(biases))
        return nn.Sequential(fused, self.act).train(self.training)

    def _branches(self) -> list[tuple[Tensor, Tensor]]:
        found = [
            _folded(self.dense[0].weight, self.dense[1]),
            _folded(F.pad(self.point[0].weight, (1, 1, 1, 1)), self.point[1]),
        ]
        if self.skip is not None:
            channels = self.skip.num_features
            centre = torch.eye(channels, device=self.skip.weight.device)[..., None, None]
            found.append(_folded(F.pad(centre, (1, 1, 1, 1)), self.skip))
        return found


def _folded(kernel: Tensor, norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """Fold batch normalisation into a kernel (out, in, 3, 3) and a bias (out,); in float64, rounded once."""
    kernel = kernel.double()
    scale = norm.weight.double() / (norm.running_var.double() + norm.eps).sqrt()
    return kernel * scale[:, None, None, None], norm.bias.double() - norm.running_mean.double() * scale
