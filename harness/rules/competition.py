"""What is being judged, and how."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from harness.errors import HarnessError, pick
from harness.runtime.engines import RUNTIMES

FORMULAS = ("boostcamp2021b", "boostcamp2021a", "f1_squared_fps", "rank_mean")
"""The formulas by name; `rules.formulas` has them."""
AUTO = "auto"
"""The runtime that stands for the fastest engine that computes the same."""
PER_SECOND = "f1_squared_fps"
"""The one formula that takes `reference_ms`: of no other is it a rule."""
REVISIONS = {"f1_squared_fps": 2, "rank_mean": 2}
"""Formulas whose meaning has changed since they were first scored by (2: time is the ratio, no longer milliseconds).
Part of what is hashed: scores of before stand under another hash."""
TINY, HUGE = 1e-9, 1e18
ABOVE_0 = f"above 0, up to {HUGE:g}"
RANGES = {
    "f1_target": (0, 1, "0 to 1", "set it to the F1 that is hoped for"),
    "f1_floor": (0, 1, "0 to 1", "set it to the F1 below which nothing counts"),
    "f1_base": (0.01, 1, "0.01 to 1", "set it to the base network's F1"),
    "macs_base": (TINY, HUGE, ABOVE_0, "set it to the base network's MACs"),
    "time_base": (TINY, HUGE, ABOVE_0, "set it to 1, or how many times the reference network's time the formula's base "
                  "is"),
    "reference_ms": (TINY, HUGE, ABOVE_0, "set it to about what one image takes the reference network on the judge's "
                     "machine"),
    "threads": (1, 1024, "1 to 1,024", "set it to how many threads an entry may use"),
    "agreement": (0, 1, "0 to 1", "set it to the share of submitted labels to be found again"),
}  # fmt: skip
"""Of the numbers: the least, the largest, both in words, and what to set. Others make points that are no numbers, or a
competition whose judge refuses every entry."""


@dataclass
class Competition:
    """What is being judged, and how.

    formula: a name in `FORMULAS`. f1_target: of boostcamp2021b, and time_base, in times of the reference network's.
    macs_base, f1_base: of boostcamp2021a. f1_floor: of f1_squared_fps, and reference_ms, what an image is taken to cost
    the reference network: a constant, for measured milliseconds move with the processor's clock. reference: the network
    timed beside every entry (its spec and `resolution_px`). threads: of the timed run. runtime: the engine that is
    timed, a name in `RUNTIMES`, or "auto" for the fastest that computes the same. agreement: share of submitted labels
    to be found again, 0..1.
    contest: what only the organiser's side needs (`board.contest.Contest`); no part of the rules behind scores.

    Raises:
        HarnessError: there is no such runtime or formula, or a number is out of its range.
    """

    name: str = "digits"
    formula: str = "boostcamp2021b"
    f1_target: float = 0.70
    time_base: float = 1.0
    macs_base: float = 13_863_553
    f1_base: float = 0.8342
    f1_floor: float = 0.5
    reference_ms: float = 1.0
    reference: dict[str, Any] = field(default_factory=dict)
    threads: int = 1
    runtime: str = "onnx"
    agreement: float = 0.995
    contest: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.check()

    def check(self) -> None:
        """Raise unless entries can be judged by these rules."""
        pick(RUNTIMES | {AUTO: ""}, self.runtime, "competition.runtime")
        pick(dict.fromkeys(FORMULAS), self.formula, "competition.formula")
        for name, (low, high, allowed, fix) in RANGES.items():
            value = getattr(self, name)
            if not low <= value <= high or (name == "threads" and not isinstance(value, int)):
                raise HarnessError(f"competition.{name}={value}: allowed: {allowed}", fix)

    @classmethod
    def stored(cls, rules: Mapping[str, Any]) -> Competition:
        """Rebuild what a board has stored, unchecked: though nobody could judge by it today, its scores can be read.

        So an engine that has left, such as `inductor`, closes no board; who judges calls `check`.
        """
        found = cls()
        vars(found).update(rules)
        return found

    def rules(self) -> dict[str, Any]:
        """Return what scores hang on, as plain values that rebuild it: all but `contest`."""
        besides = {"contest"} if self.formula == PER_SECOND else {"contest", "reference_ms"}
        return {name: value for name, value in asdict(self).items() if name not in besides}

    def meaning(self) -> dict[str, Any]:
        """Return the rules with the formula's revision, where it has had several: what is hashed."""
        revision = REVISIONS.get(self.formula)
        return self.rules() | ({"revision": revision} if revision else {})

    def digest(self) -> str:
        """Hash the canonical JSON of what scores mean (16 hex digits); those with equal digests can be compared."""
        return hashlib.sha256(json.dumps(self.meaning(), sort_keys=True).encode()).hexdigest()[:16]
