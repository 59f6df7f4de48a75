"""What a launcher is given beside a worker's job, and what it gives back."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Protocol

from harness.errors import within

MOST = 1_000_000


@dataclass
class Slurm:
    """What Slurm gives each worker. extra: other options of sbatch, such as {account: vision}.

    minutes: a job that isn't through by then is queued again.
    """

    partition: str = ""
    minutes: int = 240
    cpus: int = 1
    memory_gb: float = 4.0
    extra: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        # two of them pass between the word that the end is near and the end, and a worker takes some time to start
        for name, least in (("minutes", 5), ("cpus", 1), ("memory_gb", 0.5)):
            within(getattr(self, name), least, MOST, f"slurm.{name}")


@dataclass
class Ray:
    """Which Ray runs the workers. address: one that is started on this machine (''), or auto or host:port."""

    address: str = ""


@dataclass(frozen=True)
class Launch:
    """How many workers a study gets from one command, and from which launcher."""

    launcher: str = "local"
    workers: int = 1
    slurm: Slurm = field(default_factory=Slurm)
    ray: Ray = field(default_factory=Ray)

    @property
    def elsewhere(self) -> bool:
        """Whether its workers may run on other machines."""
        return self.launcher == "slurm" or (self.launcher == "ray" and self.ray.address != "")


class Workers(Protocol):
    """The workers that one command has started."""

    def ended(self) -> dict[str, str]:
        """Tell which workers have ended, by name, and what went wrong; nothing did where that is ''.

        One that was killed may have been replaced.
        """

    def running(self) -> int:
        """Count the workers that had not ended at the last look, `ended`: they run, or wait for their turn."""

    def stop(self) -> None:
        """Stop those that still run, give them time to let go of their slots, and clear up; safe to be called twice."""
