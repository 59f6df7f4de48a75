"""Noise while training, nothing afterwards."""

from __future__ import annotations

from torch import nn

from harness.errors import HarnessError
from harness.models.pool import keep_channels, no_stride


def dropout(cin: int, cout: int, stride: int, *, share: float = 0.5) -> nn.Module:
    """Build dropout: while training, this share of the numbers becomes 0 and the others grow to make up for it.

    Source: Srivastava et al. 2014, https://jmlr.org/papers/v15/srivastava14a.html
    """
    keep_channels(cin, cout)
    no_stride(stride)
    if not 0 <= share < 1:
        raise HarnessError(f"share {share}: must lie between 0 and 1", "use 0.1 to 0.5")
    return nn.Dropout(share)
