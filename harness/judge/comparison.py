"""Whether two entries can be told apart: by F1 and time together, each as uncertain as it is. The one place that says.

Of each entry a thousand draws of its points are made. F1: the bootstrap's draws of the very images that it was scored
on, moved so that their mean is the F1 that the board shows (resampled macro-F1 is lower where classes are rare), with
an error added where they hardly differ, as of an entry that makes no mistake. Time: the ratio's 95 % interval, taken
for that of a log-normal error of its own. Two entries are told apart if the same one has better points in more than
99.5 % of the draws: a two-sided test at 1 %, not at 5 %, because the first of a group is the luckiest of several, and
is held against all of them.

Where there are no draws of F1 (judged by an older harness, or not to be used: `board.standings`), it errs as the share
of right ones among so many images would, and independently of the other entry: more, as a rule, than on the same
images; less where classes are rare. Where the number of images isn't known either, time alone tells entries apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from harness.judge.bootstrap import DRAWS
from harness.rules.competition import Competition
from harness.rules.formulas import Figures, formula_of, points_of_arrays
from harness.seed import generator

CERTAIN = 0.995
"""Share of the draws in which the same entry must be ahead."""
ENDS = (0.025, 0.975)
"""Quantiles of the interval of points that is shown."""
CONFIRMED = 1.5
"""Two are apart for good if they still are were their times so much more uncertain than measured: who is only just told
apart may not be after the next measurement, and ranks would flip."""
HALF = 1.96
"""Standard deviations from the middle of a 95 % interval to its ends."""
PRIOR = 2
"""Right and wrong images that are added for the binomial error: an F1 of 1 isn't certain either (Agresti and Coull)."""


@dataclass(frozen=True)
class Measured:
    """What is known of an entry.

    number: of the verdict, which seeds what of its errors is drawn here. ratio_low, ratio_high: the 95 % interval.
    draws: of F1 (DRAWS,), by the bootstrap; None where there are none. images: that F1 is of; 0 where that isn't known.
    """

    number: int
    f1: float
    ratio: float
    ratio_low: float
    ratio_high: float
    macs: float
    draws: np.ndarray | None = None
    images: int = 0


def drawn(rules: Competition, entries: Sequence[Measured]) -> np.ndarray:
    """Return draws of each entry's points (entries, DRAWS): a column is what one sample of images and times gives."""
    if not entries:
        return np.empty((0, DRAWS))
    f1 = np.stack([_f1(e) for e in entries])
    ratio = np.stack([_ratio(e) for e in entries])
    return points_of_arrays(rules, Figures(f1, ratio, np.array([[float(e.macs)] for e in entries])))


def apart(a: np.ndarray, b: np.ndarray) -> bool:
    """Say whether two entries of one `drawn` are told apart. a, b: draws of their points (DRAWS,)."""
    least = CERTAIN * len(a)
    return np.count_nonzero(a < b) > least or np.count_nonzero(a > b) > least


def interval(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the ends of each entry's 95 % interval of points. points: of `drawn`."""
    if not len(points):
        return np.empty(0), np.empty(0)
    low, high = np.quantile(points, ENDS, axis=1)
    return low, high


def groups(points: np.ndarray) -> list[int]:
    """Rank entries that are in order already, the best first: the rank of each, from 1.

    The first leads a group, and every entry that can't be told apart from it shares its rank; the next one that can
    leads the next group, and its rank is its place. The leader decides, not the neighbour: else a long chain of near
    entries would all be first. points: of `drawn`, in that order.
    """
    ranks: list[int] = []
    leader = 0
    for place, mine in enumerate(points):
        if apart(mine, points[leader]):
            leader = place
        ranks.append(leader + 1)
    return ranks


def touching(rules: Competition, entries: Sequence[Measured]) -> list[tuple[int, int]]:
    """Return which pairs of entries to time again: each as its place and that of the leader it was held against.

    Those whose ranks touch, shared or only just not, and whom time can part: at those ends of their times' intervals
    that do it best they would be told apart. Where F1 is too uncertain for that, no timing helps. (By a formula that
    scores whole boards one entry's end tells nothing; there all that touch are named.)

    entries: in order, the best first; so are the pairs.
    """
    ranks = groups(list(drawn(rules, entries)))
    unsure = drawn(rules, [_within(e, e.ratio / e.ratio_low, e.ratio_high / e.ratio, CONFIRMED) for e in entries])
    fast, slow = (drawn(rules, [_exactly(e, getattr(e, end)) for e in entries]) for end in ("ratio_low", "ratio_high"))
    whole = formula_of(rules).score is None

    def parted(a: int, b: int) -> bool:
        return whole or apart(fast[a], slow[b]) or apart(slow[a], fast[b])

    pairs = [(place, ranks[place - 1] - 1) for place in range(1, len(entries))]
    return [(a, b) for a, b in pairs if not apart(unsure[a], unsure[b]) and parted(a, b)]


def _within(entry: Measured, below: float, above: float, wider: float) -> Measured:
    """Let an entry's time err by so much more. below, above: how far its interval reaches, as factors."""
    return replace(entry, ratio_low=entry.ratio / below**wider, ratio_high=entry.ratio * above**wider)


def _exactly(entry: Measured, ratio: float) -> Measured:
    return replace(entry, ratio=ratio, ratio_low=ratio, ratio_high=ratio)


def _f1(entry: Measured) -> np.ndarray:
    if entry.draws is not None:
        moved = entry.draws + (entry.f1 - entry.draws.mean())
        # who makes no mistake on these images would make some on others, of which resampling knows nothing
        least = PRIOR / (entry.images + 2 * PRIOR) ** 2 if entry.images else 0.0
        moved = moved + np.sqrt(max(0.0, least - moved.var())) * _errors(entry.number)[0]
    elif entry.images:
        share = (entry.f1 * entry.images + PRIOR) / (entry.images + 2 * PRIOR)
        deviation = np.sqrt(share * (1 - share) / (entry.images + 2 * PRIOR))
        moved = entry.f1 + deviation * _errors(entry.number)[0]
    else:
        return np.full(DRAWS, entry.f1)
    return np.clip(moved, 0.0, 1.0)


def _ratio(entry: Measured) -> np.ndarray:
    deviation = np.log(entry.ratio_high / entry.ratio_low) / (2 * HALF)
    return entry.ratio * np.exp(deviation * _errors(entry.number)[1])


@lru_cache(maxsize=2048)
def _errors(number: int) -> np.ndarray:
    """Return standard normal errors of an entry, of F1 and of time (2, DRAWS): the same whenever they are asked for."""
    return generator(0, "errors", number).standard_normal((2, DRAWS))
