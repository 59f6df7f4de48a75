"""The reduced task that a trial trains on."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from harness.data.prepare import resize
from harness.data.split import Dataset, Images, stratified
from harness.errors import HarnessError, within
from harness.seed import derive

MOST_IMAGES = 1_000_000_000


@dataclass
class Proxy:
    """How much of the task a trial sees.

    images, score_images: training and validation images, 0 for all. pixels: share of the candidate's resolution it
    trains at (its latency is always measured at the whole). fix: parts of the space replaced, by path.
    """

    name: str = "tiny"
    images: int = 0
    score_images: int = 0
    epochs: int = 8
    pixels: float = 1.0
    fix: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        within(self.pixels, 0.001, 1, "proxy.pixels")
        for name in ("images", "score_images"):
            within(getattr(self, name), 0, MOST_IMAGES, f"proxy.{name}", whole=True)
        within(self.epochs, 1, 100_000, "proxy.epochs", whole=True)

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return asdict(self)

    def fidelity(self) -> dict[str, Any]:
        """Return how much of the task a trial sees, as plain values: all but `fix`, which the candidate has."""
        return {name: value for name, value in asdict(self).items() if name != "fix"}


def subset(dataset: Dataset, proxy: Proxy, seed: int) -> tuple[Images, Images]:
    """Return a trial's training and validation images: stratified, the same for every trial of a study.

    Raises:
        HarnessError: the data set has fewer images than the proxy asks for.
    """
    parts = {"images": dataset.train, "score_images": dataset.validation}
    taken = []
    for name, part in parts.items():
        count = getattr(proxy, name)
        if count > len(part):
            raise HarnessError(
                f"proxy.{name}={count}: {dataset.name} has {len(part)}", f"set proxy.{name} to at most {len(part)}"
            )
        taken.append(part.take(stratified(part.labels, count, derive(seed, name))) if count else part)
    return taken[0], taken[1]


def at(images: Images, resolution_px: int) -> Images:
    """Return the images resized to a resolution."""
    return images.with_pixels(resize(images.pixels, resolution_px))
