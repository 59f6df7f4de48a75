"""Which engine a model is timed with: the one that the competition names, or the fastest that computes the same."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from harness.errors import HarnessError
from harness.measure import process
from harness.measure.latency import Latency
from harness.processors import check_threads
from harness.rules.competition import AUTO, Competition
from harness.runtime.engines import RUNTIMES
from harness.runtime.model_input import ModelInput
from harness.runtime.onnx import inputs_of

SAMPLE = 256
"""Images that engines are compared on."""
TOLERANCE = 1e-3
"""The most that a logit may differ from ONNX Runtime's, as a share of their range over the sample."""
AGREEMENT = 0.999
"""The least share of images that must get ONNX Runtime's label."""
GLANCE_S = 0.5
"""Seconds of the timing that chooses an engine, at least; the chosen one is then timed in full."""
GLANCE = 1 / 8
"""Of the time for the chosen one: so more of it helps on a noisy machine."""


@dataclass(frozen=True)
class Attempt:
    """What became of one engine: its latency at a glance, if it ran; why it wasn't chosen, if it wasn't."""

    runtime: str
    latency: Latency | None
    refused: str | None


@dataclass(frozen=True)
class Timed:
    """A model's engine and latency. others: what became of the engines that weren't chosen."""

    runtime: str
    latency: Latency
    others: tuple[Attempt, ...] = ()


def timed(
    model: Path,
    reference: Path,
    competition: Competition,
    seconds: float,
    inputs: np.ndarray | None = None,
    patience_s: float = process.PATIENCE_S,
) -> tuple[str, Latency]:
    """Time one of our own networks, as `timed_with`; return the engine's name and the latency."""
    found = timed_with(model, reference, competition, seconds, inputs, patience_s)
    return found.runtime, found.latency


def timed_with(
    model: Path,
    reference: Path,
    competition: Competition,
    seconds: float,
    inputs: np.ndarray | None = None,
    patience_s: float = process.PATIENCE_S,
    size: Sequence[int] | None = None,
) -> Timed:
    """Time a model with the competition's engine.

    Predictions are ONNX Runtime's whatever the engine, so any other engine must reproduce them.

    inputs: float32 (N, 3, R, R), of which the first are the sample that engines are compared on; noise if not given.
    seconds, patience_s, size: see `process.measure`.

    Raises:
        HarnessError: the engine isn't installed, can't run the model, or computes something else; or this machine gives
            fewer processors than there are threads.
    """
    check_threads(competition.threads)
    runtime, threads, others = competition.runtime, competition.threads, ()
    if runtime == AUTO:
        glance_s = max(GLANCE_S, GLANCE * seconds)
        chosen, *others = tried(model, reference, threads, inputs, glance_s, patience_s, size)
        runtime = chosen.runtime
    elif runtime != "onnx" and (reason := _checker(model, threads, inputs, size)(runtime)):
        raise HarnessError(f"{model}: runtime '{runtime}': {reason}", "choose runtime=onnx or runtime=auto")
    latency = process.measure(model, reference, threads, seconds, runtime=runtime, patience_s=patience_s, size=size)
    return Timed(runtime, latency, tuple(others))


def tried(
    model: Path,
    reference: Path,
    threads: int = 1,
    inputs: np.ndarray | None = None,
    glance_s: float = GLANCE_S,
    patience_s: float = process.PATIENCE_S,
    size: Sequence[int] | None = None,
) -> list[Attempt]:
    """Time a model with every engine at a glance; the one to choose comes first, the others say why not.

    Raises:
        HarnessError: ONNX Runtime can't run the model.
    """

    def measure(runtime: str) -> Latency:
        return process.measure(model, reference, threads, glance_s, runtime=runtime, patience_s=patience_s, size=size)

    return choose(tuple(RUNTIMES), measure, _checker(model, threads, inputs, size))


def choose(
    runtimes: Sequence[str], measure: Callable[[str], Latency], check: Callable[[str], str | None]
) -> list[Attempt]:
    """Rank engines by time, the fastest that computes the same first.

    runtimes: "onnx", which the others are compared with, among them. check: says what an engine computes otherwise;
    asked only of those that are faster than the chosen one.

    Raises:
        HarnessError: "onnx" can't be measured; if another can't, or its check fails so, that one is refused.
    """
    latencies, failed, wrong = {}, {}, {}
    for runtime in runtimes:
        try:
            latencies[runtime] = measure(runtime)
        except HarnessError as e:
            if runtime == "onnx":
                raise
            failed[runtime] = e.what
    order = sorted(latencies, key=lambda name: latencies[name].ms)
    for chosen in order:
        reason = None if chosen == "onnx" else _reason(check, chosen)
        if reason is None:
            break
        wrong[chosen] = reason
    others = [Attempt(r, latencies[r], wrong.get(r, f"slower than {chosen}")) for r in order if r != chosen]
    return [Attempt(chosen, latencies[chosen], None), *others, *(Attempt(r, None, e) for r, e in failed.items())]


def _reason(check: Callable[[str], str | None], runtime: str) -> str | None:
    try:
        return check(runtime)
    except HarnessError as e:
        return e.what


def _checker(
    model: Path, threads: int, inputs: np.ndarray | None, size: Sequence[int] | None
) -> Callable[[str], str | None]:
    takes: tuple[ModelInput, ...] = ()
    if inputs is None:
        images, *others = inputs_of(model, size)
        batch = images.batch or 1  # a free one may be a promise that a reshape inside breaks: as it is timed, then
        takes = (replace(images, batch=batch), *others)
        inputs = images.noise(max(SAMPLE // images.images, 1) * batch)
    sample = inputs if takes else inputs[:SAMPLE]

    def check(runtime: str) -> str | None:
        names = ("onnx", runtime)
        expected, found = (process.predict(model, sample, threads, runtime=name, takes=takes) for name in names)
        return difference(expected, found)

    return check


def difference(expected: np.ndarray, found: np.ndarray) -> str | None:
    """Say how logits (N, classes) differ from those expected; None where they count as the same."""
    if found.shape != expected.shape:
        return f"logits of shape {found.shape}, ONNX Runtime's have {expected.shape}"
    apart, spread = float(np.abs(found - expected).max()), float(np.ptp(expected))
    same = float(np.mean(found.argmax(1) == expected.argmax(1)))
    if not apart <= TOLERANCE * spread:
        return f"logits are up to {apart:.2g} from ONNX Runtime's, whose range is {spread:.2g}"
    if same < AGREEMENT:
        return f"{same:.2%} of the images get ONNX Runtime's label"
    return None
