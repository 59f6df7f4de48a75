"""The place of this process among those that torchrun has started, on one host or several."""

from __future__ import annotations

import os
from dataclasses import dataclass

from harness.errors import HarnessError, within

NAMES = ("RANK", "WORLD_SIZE", "MASTER_ADDR")
MOST = 100_000


@dataclass(frozen=True)
class Place:
    """rank: of `world` processes in all, from 0. here, beside: the same among those of this host."""

    rank: int
    world: int
    here: int
    beside: int

    def __str__(self) -> str:
        """Say it as people count."""
        return f"process {self.rank + 1} of {self.world}"


def place() -> Place | None:
    """Read the place from the environment; None where this command was started by itself.

    Source: https://docs.pytorch.org/docs/stable/elastic/run.html (environment variables)

    Raises:
        HarnessError: a variable is no number, or out of its range.
    """
    if not all(os.environ.get(name) for name in NAMES):
        return None
    if not os.environ.get("MASTER_PORT"):
        raise HarnessError(f"{', '.join(NAMES)} are set, and MASTER_PORT isn't", "start it by torchrun, or unset RANK")
    world = _number("WORLD_SIZE", MOST, low=1)
    rank = _number("RANK", world - 1)
    beside = _number("LOCAL_WORLD_SIZE", world, low=1, default=world)
    return Place(rank, world, _number("LOCAL_RANK", beside - 1, default=rank % beside), beside)


def beside() -> int:
    """Count the processes of this host that do what this one does: 1, or as many as torchrun has started."""
    found = place()
    return found.beside if found else 1


def _number(name: str, high: int, low: int = 0, default: int | None = None) -> int:
    text = os.environ.get(name, "")
    if not text and default is not None:
        return default
    number = int(text) if text.isdecimal() else text
    within(number, low, high, name, whole=True)
    return int(number)
