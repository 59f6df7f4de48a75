"""Run an ONNX file with OpenVINO on the CPU."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np

from harness.errors import HarnessError
from harness.extras import install
from harness.runtime.engines import Predict
from harness.runtime.model_input import ModelInput

try:
    import openvino as ov
except ModuleNotFoundError as e:
    if e.name != "openvino":
        raise
    raise HarnessError(
        "runtime 'openvino': OpenVINO isn't installed", f"{install('openvino')}, or choose runtime=onnx"
    ) from e


def load(path: Path, threads: int = 1, others: Sequence[ModelInput] = ()) -> Predict:
    """Open a model for `threads` threads, in float32, bound to no processor by OpenVINO itself.

    others: what it takes beside the images; it gets ones. Of several outputs, as `onnx.load`.

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

    def opened() -> ov.Model:
        try:
            return core.read_model(str(path))
        except RuntimeError as e:
            raise _refused(path, e) from e

    @cache
    def request(images: tuple[int, ...]) -> tuple[ov.InferRequest, int]:
        # A graph for each size of batch: with the size open, small networks took up to a third longer.
        model, ones = opened(), {one.name: one.ones(images[0]) for one in others}
        try:
            model.reshape({at: list(images), **{name: list(one.shape) for name, one in ones.items()}})
            floats = [i for i, output in enumerate(model.outputs) if output.element_type.is_real()]
            run = core.compile_model(model, "CPU", settings).create_infer_request()
            for name, one in ones.items():
                run.set_tensor(name, ov.Tensor(one))
            return run, floats[0] if floats else 0
        except RuntimeError as e:
            raise _refused(path, e) from e

    def predict(inputs: np.ndarray) -> np.ndarray:
        run, output = request(inputs.shape)
        whole = inputs if inputs.flags.writeable else inputs.copy()  # a mapped file can't be shared
        run.set_input_tensor(at, ov.Tensor(whole, shared_memory=True))
        run.infer()
        return run.get_output_tensor(output).data.copy()

    declared, beside = opened().inputs, {one.name for one in others}
    at = next(i for i, one in enumerate(declared) if not one.names & beside)
    shape = declared[at].partial_shape
    if shape.rank.is_static and all(size.is_static for size in list(shape)[1:]):  # else the first run compiles it
        batch = shape[0].get_length() if shape[0].is_static else 1
        request((batch, *(size.get_length() for size in list(shape)[1:])))
    return predict


def _refused(path: Path, e: RuntimeError) -> HarnessError:
    reason = [line for line in str(e).splitlines() if line.strip()][-1]
    return HarnessError(f"{path}: OpenVINO can't load it: {reason}", "time it with runtime=onnx")
