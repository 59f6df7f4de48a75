"""What a model costs on paper: multiply-accumulates and parameters, read from the artefact itself."""

from __future__ import annotations

from math import prod
from pathlib import Path

import numpy as np
import onnx

from harness.errors import HarnessError

Shape = tuple[int, ...]


def macs_of_onnx(path: Path) -> int:
    """Count the multiply-accumulates of one image: convolutions and matrix products, nothing else.

    Raises:
        HarnessError: the shape at such a node doesn't follow from the input's.
    """
    model = onnx.load(str(path))
    weights = {i.name for i in model.graph.initializer}
    images = next(i for i in model.graph.input if i.name not in weights)  # old files list the weights as inputs too
    batch = images.type.tensor_type.shape.dim[0]
    free = batch.dim_param
    batch.dim_value = 1
    try:
        graph = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    except onnx.shape_inference.InferenceError as e:
        raise HarnessError(f"{path}: the shapes can't be inferred: {e}", "export the model again") from e
    shapes = {i.name: tuple(i.dims) for i in graph.initializer}
    for value in (*graph.value_info, *graph.input, *graph.output):
        if found := _sizes(value.type.tensor_type, free):
            shapes.setdefault(value.name, found)
    return sum(_macs(node, shapes, path) for node in graph.node)


def _sizes(tensor: onnx.TypeProto.Tensor, free: str) -> Shape | None:
    """Read a shape in which only the batch may still have its name; None where a size is open."""
    dims = tensor.shape.dim
    sizes = tuple(1 if i == 0 and d.dim_param == free and not d.dim_value else d.dim_value for i, d in enumerate(dims))
    return sizes if sizes and all(sizes) else None


def _macs(node: onnx.NodeProto, shapes: dict[str, Shape], path: Path) -> int:
    """Count a node's: each number of its output is a sum over `inner` products."""
    if node.op_type == "Conv":
        inner = prod(_shape(node, node.input[1], shapes, path)[1:])  # (out, in / groups, kh, kw)
    elif node.op_type in ("Gemm", "MatMul"):
        first = _shape(node, node.input[0], shapes, path)
        inner = first[0] if any(a.name == "transA" and a.i for a in node.attribute) else first[-1]
    else:
        return 0
    return prod(_shape(node, node.output[0], shapes, path)) * inner


def _shape(node: onnx.NodeProto, tensor: str, shapes: dict[str, Shape], path: Path) -> Shape:
    if tensor in shapes:
        return shapes[tensor]
    raise HarnessError(
        f"{path}: node '{node.name or node.output[0]}' ({node.op_type}): the shape of '{tensor}' can't be inferred",
        "export the model with fixed sizes; only the batch may be free",
    )


def parameters_of_onnx(path: Path) -> int:
    """Count the stored numbers of a model."""
    return int(sum(np.prod(i.dims) if i.dims else 1 for i in onnx.load(str(path)).graph.initializer))
