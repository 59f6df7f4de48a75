"""Run an ONNX file with torch, operator by operator, on the CPU."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from harness.runtime.engines import Predict
from harness.runtime.network import network


def load(path: Path, threads: int = 1) -> Predict:
    """Open a model.

    threads: hold for torch in the whole process, as flushed denormals do.

    Raises:
        HarnessError: torch can't run the file.
    """
    torch.set_num_threads(threads)
    torch.set_flush_denormal(True)
    model = network(path)

    def predict(inputs: np.ndarray) -> np.ndarray:
        whole = inputs if inputs.flags.writeable else inputs.copy()  # torch warns of memory that it may not write
        with torch.inference_mode():
            return model(torch.from_numpy(whole)).numpy()

    return predict
