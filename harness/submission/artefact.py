"""An entry's model file: what it must be before anything runs it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError, Message

from harness.errors import HarnessError


def check(path: Path, content: bytes, resolution_px: int) -> None:
    """Make sure that the bytes are one whole ONNX network, float32 (N, 3, R, R) in, one output.

    Raises:
        HarnessError: they don't parse, break the ONNX rules, point to other files, or take another input.
    """
    fix = "export the model again with `python train.py` and pack it with `python inference.py`"
    try:
        model = onnx.load_model_from_string(content)
    except DecodeError as e:
        raise HarnessError(f"{path}: not an ONNX file: {e}", fix) from e
    if any(t.data_location == onnx.TensorProto.EXTERNAL for t in _tensors(model)):
        raise HarnessError(f"{path}: weights stand in another file; allowed: one file", fix)
    try:
        onnx.checker.check_model(content)
    except onnx.checker.ValidationError as e:
        raise HarnessError(f"{path}: not a sound ONNX network: {str(e).splitlines()[0]}", fix) from e
    weights = {t.name for t in model.graph.initializer}
    inputs = [i for i in model.graph.input if i.name not in weights]
    if len(inputs) != 1 or len(model.graph.output) != 1:
        found = f"{len(inputs)} inputs and {len(model.graph.output)} outputs"
        raise HarnessError(f"{path}: {found}; allowed: one of each", fix)
    _check_input(path, inputs[0].type.tensor_type, resolution_px, fix)


def _check_input(path: Path, tensor: onnx.TypeProto.Tensor, resolution_px: int, fix: str) -> None:
    shape = [d.dim_value or d.dim_param or "?" for d in tensor.shape.dim]
    batch_is_free = len(shape) == 4 and not isinstance(shape[0], int)
    right = batch_is_free and shape[1:] == [3, resolution_px, resolution_px]
    if not right or tensor.elem_type != onnx.TensorProto.FLOAT:
        kind = onnx.TensorProto.DataType.Name(tensor.elem_type)
        allowed = f"FLOAT ['N', 3, {resolution_px}, {resolution_px}], as the manifest says"
        raise HarnessError(f"{path}: the input is {kind} {shape}; allowed: {allowed}", fix)


def _tensors(message: Message) -> Iterator[onnx.TensorProto]:
    """Find every tensor of a model, those inside nodes, branches and functions too."""
    if isinstance(message, onnx.TensorProto):
        yield message
        return
    for field, value in message.ListFields():
        if field.message_type is not None:
            for inner in [value] if isinstance(value, Message) else value:
                yield from _tensors(inner)
