"""Hidden layers after the last map."""

from __future__ import annotations

from torch import nn

from harness.models.activation import activation as act
from harness.models.pool import keep_channels, no_stride


def flatten(cin: int, cout: int, stride: int) -> nn.Module:
    """Build (N, C, H, W) to (N, C*H*W)."""
    keep_channels(cin, cout)
    no_stride(stride)
    return nn.Flatten()


def linear(cin: int, cout: int, stride: int, *, activation: str = "relu") -> nn.Module:
    """Build a fully connected layer on a flat input (put `flatten` before it)."""
    no_stride(stride)
    return nn.Sequential(nn.Linear(cin, cout), act(activation))
