"""The F1 that a trial is heading for, from its F1 at a rung."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

from harness.search.gate import Known

ENOUGH = 2  # finished trials that a forecast needs


def forecast(f1: float, epoch: int, known: Sequence[Known]) -> float:
    """Add the gain that finished trials made, in the median, from this rung to their end; at most 1.

    Points of the raw F1 would mislead the pruner: far below the target the score hardly changes with F1, so that
    half-way only time would count, and every large network would be stopped. What is known grows, so forecasts can be
    compared only if they were made of the same trials.
    """
    gains = [k.result.f1 - k.result.rungs[epoch] for k in known if epoch in k.result.rungs]
    return min(1.0, f1 + median(gains)) if len(gains) >= ENOUGH else f1
