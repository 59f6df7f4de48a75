"""Run an ONNX file with ONNX Runtime on the CPU."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import onnxruntime as ort

from harness.errors import HarnessError
from harness.runtime.engines import Predict
from harness.runtime.model_input import ModelInput, sized

if TYPE_CHECKING:
    import onnx

FLOATS = ("tensor(float)", "tensor(float16)", "tensor(double)")


def load(path: Path, threads: int = 1, others: Sequence[ModelInput] = ()) -> Predict:
    """Open a model for `threads` threads, without spinning.

    Spinning threads would slow the neighbours that train on the same machine.
    Source: https://onnxruntime.ai/docs/performance/tune-performance/threading.html

    others: what it takes beside the images; it gets ones. Of several outputs all are computed, and the first one of
    floating-point numbers is returned.

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
    beside = {one.name for one in others}
    name, output = next(i.name for i in session.get_inputs() if i.name not in beside), _logits(session)
    ones: dict[int, dict[str, np.ndarray]] = {}

    def predict(inputs: np.ndarray) -> np.ndarray:
        count = len(inputs) if others else 0
        if count not in ones:
            ones[count] = {one.name: one.ones(count) for one in others}
        return session.run(None, {name: inputs, **ones[count]})[output]

    return predict


def inputs_of(path: Path, size: Sequence[int] | None = None) -> tuple[ModelInput, ...]:
    """Read what a model takes, the images first. size: as of `model_input.sized`.

    Raises:
        HarnessError: as `load` and `model_input.sized`.
    """
    return sized(path, _plain(path).get_inputs(), size)


def outputs_of(path: Path) -> tuple[str, list[str]]:
    """Return the name of the output that `load` returns, and the names of the others.

    Raises:
        HarnessError: as `load`.
    """
    session = _plain(path)
    names, chosen = [output.name for output in session.get_outputs()], _logits(session)
    return names[chosen], names[:chosen] + names[chosen + 1 :]


def shapes_of(
    path: Path, model: onnx.ModelProto, names: Sequence[str], inputs: Sequence[ModelInput]
) -> dict[str, tuple[int, ...]]:
    """Run a model once and return the shapes that these of its values have. path: where its external weights lie.

    Raises:
        HarnessError: it can't be loaded, or fails.
    """
    import onnx  # here alone: the process of a measurement doesn't need it

    watched = onnx.ModelProto()
    watched.CopyFrom(model)
    known = {value.name for value in (*model.graph.output, *model.graph.input)}
    watched.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names if name not in known)
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL  # else some would be optimised away
    options.add_session_config_entry("session.model_external_initializers_file_folder_path", str(path.resolve().parent))
    session = _session(path, options, watched.SerializeToString())
    feeds = {one.name: one.noise(one.shape[0]) if i == 0 else one.ones(1) for i, one in enumerate(inputs)}
    wanted = [name for name in names if name not in feeds]
    try:
        found = dict(zip(wanted, session.run(wanted, feeds), strict=True))
        return {name: np.shape(value) for name, value in (found | feeds).items() if isinstance(value, np.ndarray)}
    except Exception as e:  # as in `_session`
        raise HarnessError(f"{path}: it fails: {str(e).splitlines()[0]}", "export the model again") from e


def _logits(session: ort.InferenceSession) -> int:
    kinds = [output.type for output in session.get_outputs()]
    return next((i for i, kind in enumerate(kinds) if kind in FLOATS), 0)


def _plain(path: Path) -> ort.InferenceSession:
    """Open a model to read what it takes and gives."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    return _session(path, options)


def _session(path: Path, options: ort.SessionOptions, content: bytes | None = None) -> ort.InferenceSession:
    options.log_severity_level = 3
    try:
        return ort.InferenceSession(content or str(path), options, providers=["CPUExecutionProvider"])
    except Exception as e:  # ONNX Runtime raises its own family without a common public base
        reason = str(e).splitlines()[0]
        raise HarnessError(f"{path}: ONNX Runtime can't load it: {reason}", "export the model again") from e
