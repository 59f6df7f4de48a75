"""Run an ONNX file with OpenVINO on the CPU."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np

from harness.errors import HarnessError
from harness.extras import install
from harness.runtime.engines import Predict

try:
    import openvino as ov
except ModuleNotFoundError as e:
    if e.name != "openvino":
        raise
    raise HarnessError(
        "runtime 'openvino': OpenVINO isn't installed", f"{install('openvino')}, or choose runtime=onnx"
    ) from e


def load(path: Path, threads: int = 1) -> Predict:
    """Open a model for `threads` threads, in float32, bound to no processor by OpenVINO itself.

    Raises:
        HarnessError: OpenVINO can't load the file.

    Source: https://docs.openvino.ai/2025/openvino-workflow/running-inference/inference-devices-and-modes/cpu-device.html
    """
    settings = {
        "PERFORMANCE_HINT": "LATENCY",
        "NUM_STREAMS": 1,
        "INFERENCE_NUM_THREADS": threads,
        "INFERENCE_PRECISION_HINT": "f32",  # its own choice would be bfloat16 where the processor has it
        "ENABLE_CPU_PINNING": False,  # the clock pins the process
        "ENABLE_HYPER_THREADING": True,  # any processor of the clock's choice will do
    }
    core = ov.Core()

    @cache
    def request(images: int) -> ov.InferRequest:
        # A graph for each size of batch: with the size open, small networks took up to a third longer.
        try:
            model = core.read_model(str(path))
            shape = model.input(0).partial_shape
            shape[0] = images
            model.reshape(shape)
            return core.compile_model(model, "CPU", settings).create_infer_request()
        except RuntimeError as e:
            reason = [line for line in str(e).splitlines() if line.strip()][-1]
            raise HarnessError(f"{path}: OpenVINO can't load it: {reason}", "time it with runtime=onnx") from e

    def predict(inputs: np.ndarray) -> np.ndarray:
        run = request(len(inputs))
        whole = inputs if inputs.flags.writeable else inputs.copy()  # a mapped file can't be shared
        run.set_input_tensor(ov.Tensor(whole, shared_memory=True))
        run.infer()
        return run.get_output_tensor().data.copy()

    request(1)
    return predict
