"""What a model costs on paper: multiply-accumulates and parameters, read from the artefact itself."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx


def macs_of_onnx(path: Path) -> int:
    """Count the multiply-accumulates of one image: convolutions and matrix products, nothing else."""
    model = onnx.load(str(path))
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1
    graph = onnx.shape_inference.infer_shapes(model).graph
    shapes = {i.name: tuple(i.dims) for i in graph.initializer}
    for value in (*graph.value_info, *graph.input, *graph.output):
        shapes.setdefault(value.name, tuple(d.dim_value or 1 for d in value.type.tensor_type.shape.dim))
    return sum(_macs(node, shapes) for node in graph.node)


def _macs(node: onnx.NodeProto, shapes: dict[str, tuple[int, ...]]) -> int:
    if node.op_type == "Conv":
        weight = shapes[node.input[1]]  # (out, in / groups, kh, kw)
        return int(np.prod(shapes[node.output[0]]) * np.prod(weight[1:]))
    if node.op_type in ("Gemm", "MatMul"):
        inner = shapes[node.input[0]][-1]
        return int(np.prod(shapes[node.output[0]]) * inner)
    return 0


def parameters_of_onnx(path: Path) -> int:
    """Count the stored numbers of a model."""
    return int(sum(np.prod(i.dims) if i.dims else 1 for i in onnx.load(str(path)).graph.initializer))
