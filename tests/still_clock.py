"""Clocks that stand still: what is computed is real, what it takes is made up, so that a busy machine is no matter."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from harness.judge.audit import KINDS, Witness
from harness.judge.timing import Duel
from harness.measure.latency import Latency
from harness.measure.process import predict

SHOWN = 128
"""Images whose logits a made-up witness has; they are real."""


def taking(ms: float) -> Latency:
    """Make up a latency of three processes alike, which leaves no doubt; the reference takes 1 ms."""
    return Latency.of([[[[ms] * 10, [ms] * 10, [1.0] * 10, [1.0] * 10]]] * 3, machine={"cpu": "x", "cores": 2})


def judges_clock(takes_ms: Mapping[str, float]) -> Callable[[Duel, float], tuple[Latency, list[Witness]]]:
    """Return what stands in for `judge.timing.measure`: an honest entry that takes so long, by engine."""

    def measure(duel: Duel, seconds: float, patience_s: float = 0.0) -> tuple[Latency, list[Witness]]:
        ms = takes_ms[duel.entrant.runtime]
        images = np.concatenate([duel.private, duel.plain])[:SHOWN]
        logits = predict(duel.entrant.model, images, runtime=duel.entrant.runtime)
        threads = 0 if duel.entrant.runtime != "onnx" else 1
        honest = Witness(dict.fromkeys(KINDS, ms), np.arange(len(images)), logits, 0.01, 0.98, 1, threads)
        return taking(ms), [honest] * 3

    return measure
