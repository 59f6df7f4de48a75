"""What is being judged, and how."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field
from typing import Any

from harness.errors import HarnessError, pick
from harness.runtime.engines import RUNTIMES

AUTO = "auto"
"""The runtime that stands for the fastest engine that computes the same."""


@dataclass
class Competition:
    """What is being judged, and how.

    formula: a name in `FORMULAS`. f1_target: of boostcamp2021b, and time_base, in times of the reference network's.
    macs_base, f1_base: of boostcamp2021a. f1_floor: of f1_squared_fps. reference: the network timed beside every entry
    (its spec and `resolution_px`). threads: of the timed run. runtime: the engine that is timed, a name in `RUNTIMES`,
    or "auto" for the fastest that computes the same. agreement: share of submitted labels to be found again, 0..1.
    contest: what only the organiser's side needs (`board.conditions.Contest`); no part of the rules behind scores.

    Raises:
        HarnessError: there is no such runtime, or time_base isn't above 0.
    """

    name: str = "digits"
    formula: str = "boostcamp2021b"
    f1_target: float = 0.70
    time_base: float = 1.0
    macs_base: float = 13_863_553
    f1_base: float = 0.8342
    f1_floor: float = 0.5
    reference: dict[str, Any] = field(default_factory=dict)
    threads: int = 1
    runtime: str = "onnx"
    agreement: float = 0.995
    contest: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        pick(RUNTIMES | {AUTO: ""}, self.runtime, "competition.runtime")
        if not self.time_base > 0:
            raise HarnessError(f"competition.time_base={self.time_base}: allowed: above 0", "set it to 1, or how many "
                               "times the reference network's time the formula's base is")  # fmt: skip

    def rules(self) -> dict[str, Any]:
        """Return what scores hang on, as plain values that rebuild it: all but `contest`."""
        return {name: value for name, value in asdict(self).items() if name != "contest"}

    def digest(self) -> str:
        """Hash the canonical JSON of the rules (16 hex digits); scores with equal digests can be compared."""
        return hashlib.sha256(json.dumps(self.rules(), sort_keys=True).encode()).hexdigest()[:16]
