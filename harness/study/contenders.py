"""Which finished trials are worth timing again: those that may be the best, whose order their times leave open."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

from harness.rules.competition import Competition
from harness.search.gate import Known
from harness.study.objective import OBJECTIVES, worth

FEW = 5
"""How many networks may be the best: by the better ends of their intervals."""
SESSIONS = 8
"""Measurements of one network; more of them hardly narrow its interval."""


@dataclass(frozen=True)
class _Span:
    """What a trial may be worth, by the interval of its time; less is better."""

    best: float
    worst: float
    known: Known

    @property
    def network(self) -> str:
        """What is timed: trials of one timing are one network, whose time parts none of them."""
        return self.known.result.cost.timing or f"trial {self.known.number}"

    def touches(self, other: _Span) -> bool:
        """Tell whether another network may be the better or the worse one, and more time here could tell."""
        apart = self.worst < other.best or other.worst < self.best
        return self.best < self.worst and self.network != other.network and not apart


def contenders(known: Sequence[Known], objective: str, competition: Competition, limit_ms: float = 0.0) -> list[Known]:
    """Return the trials to time again: those timed least often first, and of these the nearest to the best.

    One trial stands for all of its network. known: the finished trials. limit_ms: the gate's on time; a trial near the
    best is timed again where its interval holds it, too. Trials of before studies noted their timings aren't returned.
    """
    near = _near(known, objective, competition)
    open_ = [s.known for s in near if any(s.touches(o) for o in near) or _holds(s.known, limit_ms)]
    again = [k for k in open_ if k.result.cost.timing and k.result.cost.sessions < SESSIONS]
    return sorted(again, key=lambda k: k.result.cost.sessions)


def _holds(known: Known, limit_ms: float) -> bool:
    """Tell whether a limit lies in the interval of a trial's time."""
    return limit_ms > 0 and known.result.cost.latency_low_ms <= limit_ms < known.result.cost.latency_high_ms


def _near(known: Sequence[Known], objective: str, competition: Competition) -> list[_Span]:
    """Return what may be the best, or be in the Pareto set, the most promising network first."""
    directions = OBJECTIVES[objective].directions(competition)
    if len(directions) > 1:
        return _once([_Span(k.result.cost.ratio_low, k.result.cost.ratio_high, k) for k in _maybe_in_front(known)])
    sign, value = 1 if directions == ["minimize"] else -1, worth(objective, competition)

    def span(k: Known) -> _Span:
        cost = k.result.cost
        ends = (sign * value(c, k.result.f1) for c in (cost.fastest(), cost.slowest()))
        return _Span(*sorted(ends), k)

    return _once([span(k) for k in known])[:FEW]


def _once(spans: Sequence[_Span]) -> list[_Span]:
    """Keep the most promising trial of each network, in this order."""
    found: dict[str, _Span] = {}
    for span in sorted(spans, key=lambda s: s.best):
        found.setdefault(span.network, span)
    return list(found.values())


def _maybe_in_front(known: Sequence[Known]) -> list[Known]:
    """Return the trials that no other beats for certain: with no less F1, and faster by their whole intervals."""
    ordered = sorted(known, key=lambda k: k.result.cost.ratio_high)
    slow = [k.result.cost.ratio_high for k in ordered]
    best = [0.0, *accumulate((k.result.f1 for k in ordered), max)]
    return [k for k in known if not (n := bisect_left(slow, k.result.cost.ratio_low)) or best[n] < k.result.f1]
