"""What a model costs on paper: multiply-accumulates and parameters, read from the artefact itself."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from math import prod
from pathlib import Path

import numpy as np
import onnx

from harness.errors import HarnessError
from harness.measure.latency import Latency
from harness.record.result import Cost

Shape = tuple[int, ...]


def macs_of_onnx(path: Path) -> int:
    """Count the multiply-accumulates of one image, as `macs` does.

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
    return macs(graph.node, shapes, str(path))


def macs(nodes: Iterable[onnx.NodeProto], shapes: Mapping[str, Shape], where: str) -> int:
    """Count the multiply-accumulates of convolutions, matrix products and attention; element by element none counts.

    shapes: by name, for one image. where: for messages.

    Raises:
        HarnessError: a shape that is needed isn't there.
    """
    return sum(_macs(node, shapes, where) for node in nodes)


def _sizes(tensor: onnx.TypeProto.Tensor, free: str) -> Shape | None:
    """Read a shape in which only the batch may still have its name; None where a size is open."""
    dims = tensor.shape.dim
    sizes = tuple(1 if i == 0 and d.dim_param == free and not d.dim_value else d.dim_value for i, d in enumerate(dims))
    return sizes if sizes and all(sizes) else None


WEIGHTS = {"Conv": 1, "ConvInteger": 1, "QLinearConv": 3}
"""Where a convolution has its weights (out, in / groups, kh, kw)."""


def _macs(node: onnx.NodeProto, shapes: Mapping[str, Shape], where: str) -> int:
    """Count a node's: most often each number of its output is a sum over so many products."""

    def shape(tensor: str) -> Shape:
        if tensor in shapes:
            return shapes[tensor]
        at = f"node '{node.name or node.output[0]}' ({node.op_type})"
        raise HarnessError(
            f"{where}: {at}: the shape of '{tensor}' can't be inferred",
            "export the model with fixed sizes; only the batch may be free",
        )

    if node.op_type in WEIGHTS:
        return prod(shape(node.input[WEIGHTS[node.op_type]])[1:]) * prod(shape(node.output[0]))
    if node.op_type == "ConvTranspose":  # its input's numbers go into so many sums; (in, out / groups, kh, kw)
        return prod(shape(node.input[1])[1:]) * prod(shape(node.input[0]))
    if node.op_type in ("Gemm", "MatMul", "MatMulInteger", "QLinearMatMul"):
        first = shape(node.input[0])
        inner = first[0] if any(a.name == "transA" and a.i for a in node.attribute) else first[-1]
        return prod(shape(node.output[0])) * inner
    if node.op_type == "Attention":  # queries by keys, then weights by values
        return shape(node.input[1])[-2] * (prod(shape(node.input[0])) + prod(shape(node.output[0])))
    if node.op_type == "Einsum":
        return _of_einsum(node, [shape(tensor) for tensor in node.input])
    return 0


def _of_einsum(node: onnx.NodeProto, given: list[Shape]) -> int:
    """Return the product of all sizes that are named, as a plain loop over them would go."""
    equation = next(a.s.decode() for a in node.attribute if a.name == "equation").replace(" ", "")
    sizes: dict[str, int] = {}
    for term, dims in zip(equation.split("->")[0].split(","), given, strict=True):
        before, dots, after = term.partition("...")
        rest = range(len(before), len(dims) - len(after)) if dots else range(0)
        axes = [*before, *(f"...{i - rest.stop}" for i in rest), *after]
        sizes |= {axis: max(size, sizes.get(axis, 1)) for axis, size in zip(axes, dims, strict=True)}
    return prod(sizes.values()) if len(given) > 1 else 0


def parameters_of_onnx(path: Path) -> int:
    """Count the stored numbers of a model."""
    return int(sum(np.prod(i.dims) if i.dims else 1 for i in onnx.load(str(path)).graph.initializer))


def cost(macs: int, parameters: int, runtime: str, latency: Latency, timing: str = "") -> Cost:
    """Put together what a network costs. latency: its timing by the engine `runtime`. timing: see `Cost`."""
    return Cost(
        macs=macs, parameters=parameters, runtime=runtime, sessions=len(latency.sessions), timing=timing,
        latency_ms=latency.ms, latency_low_ms=latency.low_ms, latency_high_ms=latency.high_ms,
        ratio=latency.ratio, ratio_low=latency.ratio_low, ratio_high=latency.ratio_high,
    )  # fmt: skip
