"""Seeds: one number a run, an own stream for each purpose."""

from __future__ import annotations

import hashlib

import numpy as np

LAST_SEED = 2**32 - 1
"""The largest seed: what numpy's and the samplers' generators take."""


def derive(seed: int, *purpose: str | int) -> int:
    """Return a 63-bit seed for a purpose; equal arguments give equal seeds on every machine."""
    text = "/".join(map(str, (seed, *purpose)))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def generator(seed: int, *purpose: str | int) -> np.random.Generator:
    """Return a random generator for a purpose."""
    return np.random.default_rng(derive(seed, *purpose))
