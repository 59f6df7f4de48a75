"""Two small pieces of work that always take the same: what they take tells what the processor is doing."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable

import numpy as np

SIDE = 48
"""Of the matrices: three of them fit the first cache."""
PAGE = 4096
VECTOR_RUNS = 6
CHAIN_BYTES = 2040
"""Below what hashlib lets other threads run for."""
CHAIN_RUNS = 8
WARM_RUNS = 2
KIND = [SIDE, VECTOR_RUNS, CHAIN_BYTES, CHAIN_RUNS, WARM_RUNS]
"""Which rulers these are: the times of others are no best for them."""

Ruler = Callable[[], tuple[float, float]]
"""Runs both rulers; returns ms of one chain and ms of one product, of this thread's CPU time."""


def rulers() -> Ruler:
    """Return a function that runs both, which takes about 0.03 ms.

    The chain is SHA-256, where each round waits for the one before; the product of two matrices keeps all vector units
    busy. Both, and the clock, go first uncounted: what ran before has had the caches.
    """
    data, matrix, product = bytes(CHAIN_BYTES), _aligned(), _aligned()
    clock, digest, dot = time.thread_time_ns, hashlib.sha256, np.dot

    def both() -> tuple[float, float]:
        for _ in range(WARM_RUNS):
            digest(data)
            dot(matrix, matrix, out=product)
            clock()
        start = clock()
        for _ in range(CHAIN_RUNS):
            digest(data)
        chain = clock() - start
        start = clock()
        for _ in range(VECTOR_RUNS):
            dot(matrix, matrix, out=product)
        vector = clock() - start
        return max(chain, 1) / CHAIN_RUNS / 1e6, max(vector, 1) / VECTOR_RUNS / 1e6

    return both


def _aligned() -> np.ndarray:
    """Return a matrix that begins with a page: where it lies in the cache's lines must not be chance."""
    room = np.zeros(SIDE * SIDE + PAGE // 4, dtype=np.float32)
    first = -room.ctypes.data % PAGE // 4
    return room[first : first + SIDE * SIDE].reshape(SIDE, SIDE)
