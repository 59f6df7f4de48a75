"""Whether a processor is all ours at the moment: what two small rulers between the batches say."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

TOLERANCE = 0.08
"""How much slower than at best, as a share, the rulers may be beside a batch that counts as clean."""
AGREE = 0.04
"""How far, as a share, both rulers may differ in how much slower they are, if it is to be the processor's clock."""
LOWEST = 0.1
"""The quantile of the rulers' times that stands for a process."""
LOW_END = 0.05
"""The quantile that stands for a measurement, when the best times of a machine are looked for."""


@dataclass(frozen=True)
class Best:
    """The rulers' times, in ms, when a processor is all ours and its clock at its highest.

    chain_ms: of dependent operations, each waiting for the one before. vector_ms: of a product of matrices, as many
    operations at once as the processor can. Both live in its first cache. slow: how many times slower than that its
    clock has gone of late; None where nothing is known of that.
    """

    chain_ms: float
    vector_ms: float
    slow: float | None = None


def slowdowns(rulers: Sequence[tuple[Sequence[float], Sequence[float]]], best: Best) -> list[float]:
    """Return how many times slower than at best a processor's clock went, at each of several times within seconds.

    rulers: chain_ms and vector_ms of each. A lower clock slows both alike. Many a neighbour on the same core takes from
    the one that needs all of its units more than from the one that waits for itself, but not every neighbour; a clock,
    though, neither moves by more than `TOLERANCE` within seconds, nor away from where it was of late. Whatever is
    slower than that is a neighbour's doing.
    """
    chain, vector = (np.array([np.quantile(ms, LOWEST) for ms in each]) for each in zip(*rulers, strict=True))
    chain, vector = chain / best.chain_ms, vector / best.vector_ms
    lowest = float(np.minimum(chain, vector).min())  # a neighbour makes nothing faster
    if best.slow and lowest > (1 + TOLERANCE) * best.slow:
        lowest = best.slow
    both = np.sqrt(chain * vector)
    its_own = (np.abs(np.log(chain / vector)) <= AGREE) & (both <= (1 + TOLERANCE) * lowest)
    return [float(slow) for slow in np.where(its_own, both, lowest)]


def clean(chain_ms: Sequence[float], vector_ms: Sequence[float], best: Best, slow: float) -> np.ndarray:
    """Tell of each batch, model and reference by turns (A B B A), whether the processor was all ours.

    chain_ms, vector_ms: before the first batch and after each, one more than batches. slow: see `slowdowns`. A network
    that lowers the clock or empties the caches for a moment slows the rulers after its own batches and not after the
    other's, which a neighbour slows too: what is its own doing is taken out.

    Source: fixed quanta of work tell what else a processor does, https://doi.org/10.1109/CLUSTR.2004.1392598
    """
    rulers = np.maximum(np.asarray(chain_ms) / best.chain_ms, np.asarray(vector_ms) / best.vector_ms)
    after = rulers[1:]
    turn = np.arange(len(after)) % 4
    sides = [side for side in (np.isin(turn, (0, 3)), np.isin(turn, (1, 2))) if side.any()]
    low = [np.quantile(after[side], LOWEST) for side in sides]
    for side, its in zip(sides, low, strict=True):
        after[side] /= its / min(low)
    return np.maximum(rulers[:-1], after) <= (1 + TOLERANCE) * slow


def lowest(chain_ms: Sequence[float], vector_ms: Sequence[float]) -> Best:
    """Return the low end of both rulers' times: not the lowest, which is the clock's own luck."""
    return Best(float(np.quantile(chain_ms, LOW_END)), float(np.quantile(vector_ms, LOW_END)))
