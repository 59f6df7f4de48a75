"""Whether two entries can be told apart: by F1 and time together, each as uncertain as it is. The one place that says.

Of each entry a thousand draws of its points are made. F1: the bootstrap's draws of the very images that it was scored
on, moved so that their mean is the F1 that the board shows (resampled macro-F1 is lower where classes are rare), with
an error added where they hardly differ, as of an entry that makes no mistake. Time: the ratio's 95 % interval, taken
for that of a log-normal error of its own. Two entries are told apart if the same one has better points in more than
99.5 % of the draws: a two-sided test at 1 %, not at 5 %, because the first of a group is the luckiest of several, and
is held against all of them.

Entries are timed again, and near that bar a new time can push a pair over it and back. So two who were told apart stay
apart until the same one is ahead in less than 95 % of the draws. The times of before are kept, so this is worked out
anew from them each time, and stored nowhere.

Where there are no draws of F1 (judged by an older harness, or not to be used: `board.standings`), it errs as the share
of right ones among so many images would, and independently of the other entry: more, as a rule, than on the same
images; less where classes are rare. Where the number of images isn't known either, time alone tells entries apart.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
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
TOGETHER = 0.95
"""Share of the draws below which two who were told apart aren't any more."""
CONFIRMED = 1.5
"""Two are apart for good if they still are were their times so much more uncertain than measured: who is only just told
apart may not be after the next measurement, and ranks would flip."""
HALF = 1.96
"""Standard deviations from the middle of a 95 % interval to its ends."""
PRIOR = 2
"""Right and wrong images that are added for the binomial error: an F1 of 1 isn't certain either (Agresti and Coull)."""


@dataclass(frozen=True)
class Past:
    """What an entry's time was known to be from a moment on (seconds since 1970): the ratio and its 95 % interval."""

    since: float
    ratio: float
    ratio_low: float
    ratio_high: float


@dataclass(frozen=True)
class Measured:
    """What is known of an entry.

    number: of the verdict, which seeds what of its errors is drawn here. ratio_low, ratio_high: the 95 % interval.
    draws: of F1 (DRAWS,), by the bootstrap; None where there are none. images: that F1 is of; 0 where that isn't known.
    past: its time as it was known at first, and since each time that it was timed again; empty where that isn't kept.
    """

    number: int
    f1: float
    ratio: float
    ratio_low: float
    ratio_high: float
    macs: float
    draws: np.ndarray | None = None
    images: int = 0
    past: tuple[Past, ...] = ()


def drawn(rules: Competition, entries: Sequence[Measured]) -> np.ndarray:
    """Return draws of each entry's points (entries, DRAWS): a column is what one sample of images and times gives."""
    if not entries:
        return np.empty((0, DRAWS))
    f1 = np.stack([_f1(e) for e in entries])
    ratio = np.stack([_ratio(e) for e in entries])
    return points_of_arrays(rules, Figures(f1, ratio, np.array([[float(e.macs)] for e in entries])))


def apart(a: np.ndarray, b: np.ndarray) -> bool:
    """Say whether two entries of one `drawn` are told apart. a, b: draws of their points (DRAWS,)."""
    return max(_ahead(a, b), _ahead(b, a)) > CERTAIN


def _ahead(a: np.ndarray, b: np.ndarray) -> float:
    """Return the share of the draws in which a has less points than b."""
    return np.count_nonzero(a < b) / len(a)


def interval(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the ends of each entry's 95 % interval of points. points: of `drawn`."""
    if not len(points):
        return np.empty(0), np.empty(0)
    low, high = np.quantile(points, ENDS, axis=1)
    return low, high


def groups(points: Sequence[np.ndarray], told: Callable[[int, int], bool] | None = None) -> list[int]:
    """Rank entries that are in order already, the best first: the rank of each, from 1.

    The first leads a group, and every entry that can't be told apart from it shares its rank; the next one that can
    leads the next group, and its rank is its place. The leader decides, not the neighbour: else a long chain of near
    entries would all be first. points: of `drawn`, in that order. told: says which two places are told apart; by
    default `apart` of their points.
    """
    ranks: list[int] = []
    leader = 0
    for place in range(len(points)):
        if told(place, leader) if told else apart(points[place], points[leader]):
            leader = place
        ranks.append(leader + 1)
    return ranks


def ranked(rules: Competition, entries: Sequence[Measured], points: Sequence[np.ndarray]) -> list[int]:
    """Rank entries as `groups` does, with a memory: who was told apart stays so until clearly together.

    points: of `drawn`, one row an entry.
    """
    remembers = formula_of(rules).score is not None  # else a pair's points hang on all the others', as they were then

    def told(a: int, b: int) -> bool:
        if apart(points[a], points[b]):
            return True
        first, second = (a, b) if _ahead(points[a], points[b]) > _ahead(points[b], points[a]) else (b, a)
        again = any(len(entries[one].past) > 1 for one in (a, b))
        unsure = remembers and again and _ahead(points[first], points[second]) >= TOGETHER
        return unsure and _was_ahead(rules, entries[first], entries[second])

    return groups(points, told)


def _was_ahead(rules: Competition, a: Measured, b: Measured) -> bool:
    """Tell whether a was told apart from b, ahead of it in points, before now, and hasn't come together since."""
    both = max(e.past[0].since for e in (a, b) if e.past)
    moments = sorted({both, *(p.since for e in (a, b) for p in e.past if p.since > both)})
    held = False
    for moment in moments[:-1]:  # the last is now
        share = _ahead(*drawn(rules, [_at(a, moment), _at(b, moment)]))
        held = share > CERTAIN or (held and share >= TOGETHER)
    return held


def _at(entry: Measured, moment: float) -> Measured:
    """Return what was known of an entry at a moment."""
    known = [p for p in entry.past if p.since <= moment]
    if not known:
        return entry
    return replace(entry, ratio=known[-1].ratio, ratio_low=known[-1].ratio_low, ratio_high=known[-1].ratio_high)


def touching(rules: Competition, entries: Sequence[Measured]) -> list[tuple[int, int]]:
    """Return which pairs of entries to time again: each as its place and that of the leader it was held against.

    Those whose ranks touch, shared or only just not, and whom time can part: at those ends of their times' intervals
    that do it best they would be told apart. Where F1 is too uncertain for that, no timing helps. (By a formula that
    scores whole boards one entry's end tells nothing; there all that touch are named.)

    entries: in order, the best first; so are the pairs.
    """
    ranks = ranked(rules, entries, drawn(rules, entries))
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
