"""Every figure of an ONNX file that can be had, whoever made it, and what couldn't be measured or compared."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from harness.errors import HarnessError
from harness.measure.cost import macs_of_onnx
from harness.measure.fastest import Timed, timed_with
from harness.measure.process import end_to_end
from harness.rules.competition import Competition
from harness.runtime.model_input import ModelInput
from harness.runtime.onnx import inputs_of, outputs_of

T = TypeVar("T")


def figures(
    model: Path,
    reference: Path,
    competition: Competition,
    seconds: float,
    patience_s: float,
    size: Sequence[int] | None = None,
) -> dict[str, Any]:
    """Measure a file: its latency as plain values, and beside it `macs` and `end_to_end_ms`, None where there are none.

    `notes` says what is unlike a classifier of ours, and why a figure is missing.
    size: of the images of a model whose sizes are free, as of `model_input.sized`.

    Raises:
        HarnessError: it can't be timed.
    """
    takes = inputs_of(model, size)
    found = timed_with(model, reference, competition, seconds, patience_s=patience_s, size=size)
    notes = [*unlike(takes), *_compared(model, competition, found)]

    def tried(name: str, measure: Callable[[], T]) -> T | None:
        try:
            return measure()
        except HarnessError as e:
            notes.append(f"no {name}: {e.what.removeprefix(f'{model}: ')}")
            return None

    macs = tried("MACs", lambda: macs_of_onnx(model, takes))
    whole_ms = tried(
        "end-to-end time", lambda: end_to_end(model, competition.threads, runtime=found.runtime, size=size)
    )
    named = {"file": str(model), "runtime": found.runtime, "input": {"shape": takes[0].shape, "dtype": takes[0].dtype}}
    return (
        named
        | {"macs": macs, "end_to_end_ms": None if whole_ms is None else round(whole_ms, 6), "notes": notes}
        | found.latency.to_dict()
    )


def unlike(takes: Sequence[ModelInput]) -> list[str]:
    """Say what a model takes that is no batch of our images."""
    images, notes = takes[0], []
    shape = "x".join(map(str, images.shape))
    if images.alone or images.colour_axis != 1 or images.shape[1] != 3 or images.dtype != "float32":
        notes.append(f"takes {images.dtype} of {shape}, where an entry takes float32 (N, 3, R, R)")
    if images.batch is not None:
        run = "one image" if images.images == 1 else f"{images.images} images, and so are the figures"
        notes.append(
            f"it takes no batch: a run is of {run}" if images.alone else f"its batch is fixed: a run is of {run}"
        )
    if len(takes) > 1:
        notes.append(f"takes {len(takes) - 1} further input(s), which got ones: {', '.join(t.name for t in takes[1:])}")
    return notes


def _compared(model: Path, competition: Competition, found: Timed) -> list[str]:
    """Say which engines were left out, and which outputs weren't compared between engines."""
    notes = [f"not timed with {other.runtime}: {other.refused}" for other in found.others]
    logits, others = outputs_of(model)
    if others:
        compared = "" if competition.runtime == "onnx" else f"; engines were compared on '{logits}' alone"
        notes.append(f"computes {len(others) + 1} outputs{compared}; not compared: {', '.join(others)}")
    return notes
