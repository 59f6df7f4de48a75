"""What only the organiser of a competition decides: its data and their split, quotas, limits and hours."""

from __future__ import annotations

import secrets
from dataclasses import asdict, dataclass, field, fields, replace
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any

import numpy as np

from harness.data.split import stratified
from harness.errors import HarnessError, nearest
from harness.rules.competition import Competition
from harness.sandbox.limits import Limits

SPOKEN = {
    "int": (int, "a whole number"),
    "float": ((int, float), "a number"),
    "bool": (bool, "true or false"),
    "str": (str, "text"),
}
SEED_BYTES = 32
RANGES = {
    "public_share": (0.01, 0.99),
    "submissions_a_day": (1, 10_000),
    "debug_a_day": (0, 10_000),
    "max_model_mb": (0.001, 100_000),
    "max_predictions_mb": (0.001, 100_000),
    "wall_s": (1, 86_400),
    "memory_mb": (64, 1_000_000),
    "picks": (1, 100),
    "ladder_step": (0, 1),
}


@dataclass(frozen=True)
class Contest:
    """The organiser's side of a competition, of which no score depends but by the split and the limits.

    data: `name` and `options` of the data set, without paths. split_seed: of the public part, drawn when a competition
    is created and never shown, 64 hex digits (a number in what was created before). public_share: of the test images,
    0..1.
    submissions_a_day, debug_a_day: of a team. wall_s, memory_mb: of an entry's process. opens, closes: ISO 8601, UTC
    where no zone is given; "" for no limit. picks: entries that a team may choose for the end. ladder: the public board
    follows the Ladder rule, by ladder_step (of F1), or where that is 0 by one over the square root of the number of
    public images.

    Raises:
        HarnessError: a value is of the wrong type or out of its range.
    """

    data: dict[str, Any] = field(default_factory=dict)
    split_seed: str | int = ""
    public_share: float = 0.5
    submissions_a_day: int = 10
    debug_a_day: int = 10
    max_model_mb: float = 100
    max_predictions_mb: float = 50
    wall_s: float = 600
    memory_mb: int = 2048
    opens: str = ""
    closes: str = ""
    picks: int = 2
    ladder: bool = True
    ladder_step: float = 0

    def __post_init__(self) -> None:
        for f in fields(self):
            _check(f.name, str(f.type), getattr(self, f.name))
        if set(self.data) != {"name", "options"} or not isinstance(self.data["options"], dict):
            what = f"competition.contest.data={self.data}: allowed: name and options"
            raise HarnessError(what, "write data: {name: digits, options: {seed: 0}}")
        opens, closes = seconds(self.opens, "opens"), seconds(self.closes, "closes")
        if opens is not None and closes is not None and closes <= opens:
            what = f"competition.contest.closes={self.closes}: isn't after opens={self.opens}"
            raise HarnessError(what, "let it close later")

    @classmethod
    def of(cls, competition: Competition) -> Contest:
        """Read the contest of a competition.

        Raises:
            HarnessError: there is none, or a key is unknown.
        """
        raw = dict(competition.contest)
        if not raw:
            what = f"competition {competition.name}: has no `contest`, which says what its organiser decides"
            raise HarnessError(what, "write one, as in conf/competition/digits.yaml")
        allowed = [f.name for f in fields(cls)]
        for key in raw:
            if key not in allowed:
                what = f"competition.contest.{key}: unknown; allowed: {', '.join(allowed)}"
                raise HarnessError(what, f"{nearest(key, allowed)}rename or remove it")
        if "split_seed" in raw:  # whoever has the file could work out which images are private
            what = (
                f"competition.contest.split_seed={raw['split_seed']}: is drawn by `competition create`, and kept secret"
            )
            raise HarnessError(what, "remove the line; the seed's hash is published with the rules")
        return cls(**raw)

    def drawn(self) -> Contest:
        """Return the same with a new split seed."""
        return replace(self, split_seed=secrets.token_hex(SEED_BYTES))

    @property
    def split_seed_sha256(self) -> str:
        """Hash the split seed's text, so that the organiser can't change it; "" where it is short enough to guess."""
        return sha256(self.split_seed.encode()).hexdigest() if isinstance(self.split_seed, str) else ""

    def public_mask(self, labels: np.ndarray) -> np.ndarray:
        """Choose the public test images by the seed and the share; bool (N,), true for the public part."""
        seed = self.split_seed if isinstance(self.split_seed, int) else int(self.split_seed, 16)
        return public_mask(labels, self.public_share, seed)

    def shown(self) -> dict[str, Any]:
        """Return plain values that may be seen: the split seed's hash in its place."""
        return {k: v for k, v in asdict(self).items() if k != "split_seed"} | {
            "split_seed_sha256": self.split_seed_sha256
        }

    def limits(self) -> Limits:
        """Return what an entry may take."""
        return Limits(
            model_bytes=int(self.max_model_mb * 1e6),
            predictions_bytes=int(self.max_predictions_mb * 1e6),
            wall_s=self.wall_s,
            cpu_s=self.wall_s,
            memory_mb=self.memory_mb,
        )


def public_mask(labels: np.ndarray, share: float, seed: int) -> np.ndarray:
    """Choose the public test images, by class shares; bool (N,), true for the public part."""
    mask = np.zeros(len(labels), dtype=bool)
    mask[stratified(labels, min(max(1, round(share * len(labels))), len(labels) - 1), seed)] = True
    return mask


def seconds(text: str, name: str) -> float | None:
    """Read a time of the contest as seconds since 1970; None for "".

    Raises:
        HarnessError: it isn't one.
    """
    if not text:
        return None
    try:
        found = datetime.fromisoformat(text)
    except ValueError as e:
        raise HarnessError(f"{name}={text}: allowed: a time such as 2026-01-31T12:00:00Z", "write it so") from e
    return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()


def _check(name: str, kind: str, value: Any) -> None:
    if kind not in SPOKEN:
        return
    types, spoken = SPOKEN[kind]
    if not isinstance(value, types) or (isinstance(value, bool) and kind != "bool"):
        raise HarnessError(f"competition.contest.{name}={value!r}: allowed: {spoken}", "give a value of that type")
    low, high = RANGES.get(name, (None, None))
    if low is not None and not low <= value <= high:
        raise HarnessError(f"competition.contest.{name}={value}: allowed: {low} to {high}", "set it in that range")
