"""Processes that work beside a benchmark, one on each of some processors: all the time, or in spells.

Run by themselves: `neighbours.py train PROCESSOR` and `neighbours.py spells PROCESSOR BEGIN SEED`.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from random import Random

import numpy as np

from harness.parent import die_with

DENSE = [
    {"block": "conv", "channels": 64},
    {"block": "conv", "channels": 128, "stride": 2},
    {"block": "conv", "channels": 128, "repeat": 2},
    {"block": "conv", "channels": 256, "stride": 2},
    {"block": "conv", "channels": 256, "repeat": 2},
]
SHORT_S, LONG_S = 1.0, 10.0
"""The least and the most that a spell of work, or of rest, lasts."""
STREAMED = 1 << 23  # float32 values in each of three arrays: 100 MB, more than a cache holds
BURST = 1 << 17  # of them at a time: 0.1 ms, and more than a processor's first cache
SIDE = 96  # of a matrix that is multiplied by itself after each burst
NAP_S = 2e-5


@dataclass(frozen=True)
class Spells:
    """When neighbours work: from `begin` (seconds by the monotonic clock), at rest first, by turns, each 1 to 10 s."""

    begin: float
    seed: int

    def work(self) -> Iterator[tuple[float, float]]:
        """Yield the begin and the end of each spell of work, without end."""
        random, now = Random(self.seed), self.begin
        while True:
            start = now + random.uniform(SHORT_S, LONG_S)
            now = start + random.uniform(SHORT_S, LONG_S)
            yield start, now

    def share(self, start: float, end: float) -> float:
        """Return the share of the time from `start` to `end` in which the neighbours work, 0..1."""
        beside_s = 0.0
        for spell_start, spell_end in self.work():
            if spell_start >= end:
                return beside_s / (end - start)
            beside_s += max(0.0, min(end, spell_end) - max(start, spell_start))
        raise AssertionError("unreachable")


@contextmanager
def training(processors: Sequence[int]) -> Iterator[None]:
    """Let one process on each processor train a dense network in bfloat16 all the time."""
    with _started([["train", str(number)] for number in processors]):
        yield


@contextmanager
def coming_and_going(processors: Sequence[int], seed: int) -> Iterator[Spells]:
    """Let one process on each processor work in spells, all in the same: memory streamed, matrices multiplied."""
    spells = Spells(time.monotonic(), seed)
    with _started([["spells", str(number), repr(spells.begin), str(seed)] for number in processors]):
        yield spells


def quietened() -> dict[str, str]:
    """Return this environment for a child whose kernels start no threads that wait by spinning."""
    return os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}


@contextmanager
def _started(jobs: Sequence[Sequence[str]]) -> Iterator[None]:
    with ExitStack() as stack:
        started = []
        for job in jobs:
            command = [sys.executable, __file__, *job, str(os.getpid())]
            process = stack.enter_context(subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=quietened()))
            stack.callback(process.kill)
            started.append(process)
        for process in started:
            if process.stdout.readline() != "working\n":
                raise RuntimeError(f"a neighbour ended: {' '.join(process.args)}")
        yield


def train() -> None:
    """Train a dense network in bfloat16."""
    import torch

    from harness.models.build import build
    from harness.models.spec import ModelSpec

    torch.set_num_threads(1)
    model = build(ModelSpec.from_dict({"stages": DENSE}), 10, 32).to(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    images = torch.randn(2048, 3, 32, 32).to(memory_format=torch.channels_last)
    labels = torch.randint(0, 10, (2048,))
    step = 0
    while True:
        batch = slice(128 * step % 2048, 128 * step % 2048 + 128)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            loss = torch.nn.functional.cross_entropy(model(images[batch]), labels[batch])
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        step += 1
        if step == 3:
            print("working", flush=True)


def come_and_go(spells: Spells) -> None:
    """Work in spells; asleep between them.

    Within a spell it works for a tenth of a millisecond at a time: whoever shares the processor is interrupted within
    each of his short batches and finds his caches emptied, as beside a neighbour on the same core's other thread.
    Neighbours that work for milliseconds on end leave most short batches alone, and a low quantile never meets them.
    """
    random = np.random.default_rng(0)
    left, right, streamed = (random.standard_normal(STREAMED, dtype=np.float32) for _ in range(3))
    matrix = random.standard_normal((SIDE, SIDE), dtype=np.float32)
    product, at = matrix @ matrix, 0
    print("working", flush=True)
    for start, end in spells.work():
        time.sleep(max(0.0, start - time.monotonic()))
        while time.monotonic() < end:
            part = slice(at, at + BURST)
            np.multiply(left[part], right[part], out=streamed[part])
            np.matmul(matrix, matrix, out=product)
            at = (at + BURST) % STREAMED
            time.sleep(NAP_S)


if __name__ == "__main__":
    *job, parent = sys.argv[1:]
    die_with(int(parent), signal.SIGKILL)  # a benchmark that is killed leaves nobody behind
    os.sched_setaffinity(0, {int(job[1])})
    match job:
        case ["train", _]:
            train()
        case ["spells", _, begin, seed]:
            come_and_go(Spells(float(begin), int(seed)))
