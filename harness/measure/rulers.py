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

Ruler = Callable[[], tuple[float, float]]
"""Runs both rulers; returns ms of one chain and ms of one product, of this thread's CPU time."""


def rulers() -> Ruler:
    """Return a function that runs both, which takes about 0.03 ms.

    The chain is SHA-256, where each round waits for the one before; the product of two matrices keeps all vector units
    busy. Each is run once uncounted first: what ran before has had the cache.
    """
    data, matrix, product = bytes(CHAIN_BYTES), _aligned(), _aligned()
    clock, digest, dot = time.thread_time_ns, hashlib.sha256, np.dot

    def both() -> tuple[float, float]:
        digest(data)
        start = clock()
        for _ in range(CHAIN_RUNS):
            digest(data)
        chain = clock() - start
        dot(matrix, matrix, out=product)
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
