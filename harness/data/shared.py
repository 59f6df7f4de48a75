"""Images that several processes of a machine read from one copy."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from harness.data.split import Images


@dataclass(frozen=True)
class Shared:
    """Images whose pixels lie in a file, to be handed to a process; all else travels with it.

    shape: of the pixels, (N, S, S, 3).
    """

    path: Path
    shape: tuple[int, ...]
    labels: np.ndarray
    names: tuple[str, ...]
    weights: np.ndarray | None

    def images(self) -> Images:
        """Map the file: its pages are there once, for all; what one process writes to them is its own."""
        pixels = np.memmap(self.path, np.uint8, "c", shape=self.shape)
        return Images(pixels, self.labels, self.names, self.weights)


def share(images: Images, path: Path) -> Shared:
    """Write the pixels to a file, which may be removed once all have mapped it."""
    path.unlink(missing_ok=True)  # another run of the same command may have mapped what was there
    with path.open("wb") as file:
        file.write(np.ascontiguousarray(images.pixels).data)
    return Shared(path, images.pixels.shape, images.labels, images.names, images.weights)
