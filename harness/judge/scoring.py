"""What an entry answers: its logits, one image at a time, from a sandboxed process."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from harness.data.prepare import Preprocessing, prepare
from harness.sandbox.limits import Limits
from harness.sandbox.remote import RUNNER, Mode, Remote, open_remote

CHUNK_BYTES = 16_000_000
"""Prepared images that are sent at once."""
TWICE = 32
"""Images that are asked a second time."""


@dataclass(frozen=True)
class Entrant:
    """A model file and the terms on which it runs.

    program: what runs in the sandbox; another than the harness's own simulates one that was taken over.
    """

    model: Path
    runtime: str = "onnx"
    threads: int = 1
    limits: Limits = Limits()
    mode: Mode = "strict"
    program: Path = RUNNER

    def opened(self) -> AbstractContextManager[Remote]:
        """Start a fresh process for it."""
        return open_remote(self.model, self.runtime, self.threads, self.limits, self.mode, program=self.program)


def answers(entrant: Entrant, pixels: np.ndarray, how: Preprocessing) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Run a model over images, one at a time and in random order, and over some of them a second time.

    pixels: uint8 (N, S, S, 3). Returns logits (N, classes), the second ones of a few images, and those images'
    positions.

    Raises:
        Refused: the model can't be loaded, fails or breaks a limit.
    """
    random = np.random.default_rng()
    order, twice = random.permutation(len(pixels)), random.permutation(len(pixels))[:TWICE]
    with entrant.opened() as remote:
        remote.load()
        logits = _asked(remote, pixels[order], how)
        again = _asked(remote, pixels[twice], how)
    found = np.empty_like(logits)
    found[order] = logits
    return found, again, twice


def _asked(remote: Remote, pixels: np.ndarray, how: Preprocessing) -> np.ndarray:
    size = max(1, CHUNK_BYTES // (12 * how.resolution_px**2))
    parts = [remote.predict(prepare(pixels[i : i + size], how)) for i in range(0, len(pixels), size)]
    return np.concatenate(parts)
