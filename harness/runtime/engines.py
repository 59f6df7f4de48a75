"""The engines that can run a saved model, by name."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import numpy as np

from harness.errors import pick

Predict = Callable[[np.ndarray], np.ndarray]
"""float32 (N, 3, R, R) to float32 logits (N, classes)."""

# Names, imported on use: a process that times ONNX Runtime has no torch in it.
RUNTIMES: dict[str, str] = {
    "onnx": "harness.runtime.onnx",
    "openvino": "harness.runtime.openvino",
}


def load(runtime: str, path: Path, threads: int = 1) -> Predict:
    """Open a model with an engine; every engine takes the same ONNX file.

    Raises:
        HarnessError: there is no such engine, it isn't installed, or it can't load the file.
    """
    return import_module(pick(RUNTIMES, runtime, "runtime")).load(path, threads)
