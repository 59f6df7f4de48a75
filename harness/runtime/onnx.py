"""Run an ONNX file with ONNX Runtime on the CPU."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime as ort

from harness.errors import HarnessError
from harness.runtime.engines import Predict


def load(path: Path, threads: int = 1) -> Predict:
    """Open a model for `threads` threads, without spinning.

    Spinning threads would slow the neighbours that train on the same machine.
    Source: https://onnxruntime.ai/docs/performance/tune-performance/threading.html

    Raises:
        HarnessError: it isn't a model that ONNX Runtime can load.
    """
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.set_denormal_as_zero", "1")
    session = _session(path, options)
    name = session.get_inputs()[0].name

    def predict(inputs: np.ndarray) -> np.ndarray:
        return session.run(None, {name: inputs})[0]

    return predict


def input_shape(path: Path) -> tuple[int, int, int]:
    """Read (channels, height, width) of the model's only input.

    Raises:
        HarnessError: as `load`.
    """
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    shape = _session(path, options).get_inputs()[0].shape
    return int(shape[1]), int(shape[2]), int(shape[3])


def _session(path: Path, options: ort.SessionOptions) -> ort.InferenceSession:
    options.log_severity_level = 3
    try:
        return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as e:  # ONNX Runtime raises its own family without a common public base
        reason = str(e).splitlines()[0]
        raise HarnessError(f"{path}: ONNX Runtime can't load it: {reason}", "export the model again") from e
