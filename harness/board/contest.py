"""What only the organiser of a competition decides: its data and their split, quotas, limits and hours."""

from __future__ import annotations

import secrets
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from hashlib import sha256
from typing import Annotated, Any

import numpy as np
from typing_extensions import TypedDict

from harness.data.split import stratified
from harness.errors import HarnessError
from harness.record.strict import STRICT, between, check
from harness.rules.competition import Competition
from harness.sandbox.limits import Limits

SEED_BYTES = 32
WHERE = "competition.contest"
FIX = "set it as in conf/competition/digits.yaml, or remove it"


@STRICT
class Source(TypedDict):
    """Which data set: its options are those without paths."""

    name: str
    options: dict[str, Any]


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

    data: Source = field(default_factory=dict)
    split_seed: str | int = ""
    public_share: Annotated[float, between(0.01, 0.99)] = 0.5
    submissions_a_day: Annotated[int, between(1, 10_000)] = 10
    debug_a_day: Annotated[int, between(0, 10_000)] = 10
    max_model_mb: Annotated[float, between(0.001, 100_000)] = 100
    max_predictions_mb: Annotated[float, between(0.001, 100_000)] = 50
    wall_s: Annotated[float, between(1, 86_400)] = 600
    memory_mb: Annotated[int, between(64, 1_000_000)] = 2048
    opens: str = ""
    closes: str = ""
    picks: Annotated[int, between(1, 100)] = 2
    ladder: bool = True
    ladder_step: Annotated[float, between(0, 1)] = 0

    def __post_init__(self) -> None:
        check(Contest, asdict(self), WHERE, FIX)
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
        check(cls, raw, WHERE, FIX)
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
        return (found if found.tzinfo else found.replace(tzinfo=UTC)).astimezone(UTC).timestamp()
    except (ValueError, OverflowError) as e:
        raise HarnessError(f"{name}={text}: allowed: a time such as 2026-01-31T12:00:00Z", "write it so") from e
