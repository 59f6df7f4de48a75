"""The engines that can run a saved model, by name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path

import numpy as np

from harness.errors import pick
from harness.runtime.model_input import ModelInput

Predict = Callable[[np.ndarray], np.ndarray]
"""Images, of our own networks float32 (N, 3, R, R), to logits, of our own float32 (N, classes)."""

# Names, imported on use: a process that times ONNX Runtime has no torch in it.
RUNTIMES: dict[str, str] = {
    "onnx": "harness.runtime.onnx",
    "openvino": "harness.runtime.openvino",
}


def load(runtime: str, path: Path, threads: int = 1, others: Sequence[ModelInput] = ()) -> Predict:
    """Open a model with an engine; every engine takes the same ONNX file.

    others: what it takes beside the images; it gets ones.

    Raises:
        HarnessError: there is no such engine, it isn't installed, or it can't load the file.
    """
    return import_module(pick(RUNTIMES, runtime, "runtime")).load(path, threads, others)
