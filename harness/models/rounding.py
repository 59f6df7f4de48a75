"""Channel counts that vector units like."""

from __future__ import annotations

import math
from collections.abc import Callable


def nearest8(channels: float) -> int:
    """Round to the nearest multiple of 8: at least 8, never more than a tenth down.

    Source: the course's `make_divisible`, which is MobileNet's, https://github.com/tensorflow/models (slim, mobilenet)
    """
    rounded = max(8, int(channels + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * channels else rounded


def ceil8(channels: float) -> int:
    """Round up to a multiple of 8: what our own descriptions say that don't name a rounding."""
    return math.ceil(channels / 8) * 8


ROUNDINGS: dict[str, Callable[[float], int]] = {"up": ceil8, "nearest": nearest8}
"""How a block rounds its inner widths; `up` is the default, for what was recorded before there was a choice."""
