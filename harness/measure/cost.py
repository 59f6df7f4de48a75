"""What a model costs on paper: multiply-accumulates and parameters, read from the artefact itself."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx
import onnx.inliner

from harness.errors import HarnessError
from harness.measure.latency import Latency
from harness.measure.operators import Shape, UnknownShape, count, reader
from harness.record.result import Cost
from harness.runtime.model_input import ModelInput


def macs_of_onnx(path: Path, takes: Sequence[ModelInput] = ()) -> int:
    """Count the multiply-accumulates of one image, as `macs` does.

    Shapes are inferred; where that leads nowhere, as past ONNX Runtime's own operators, the model is run once.
    takes: what it takes for one run, where that isn't one image of the sizes that the file itself says.

    Raises:
        HarnessError: what an operator costs isn't known, or the shape at one that multiplies.
    """
    model = onnx.load(str(path), load_external_data=False)
    if model.functions:
        model = onnx.inliner.inline_local_functions(model)
    try:
        return macs(model.graph.node, _inferred(model, takes), str(path))
    except UnknownShape as unknown:
        return macs(model.graph.node, _observed(path, model, takes, unknown), str(path))


def macs(nodes: Iterable[onnx.NodeProto], shapes: Mapping[str, Shape], where: str) -> int:
    """Count the multiply-accumulates of convolutions, matrix products and attention; element by element none counts.

    shapes: by name, for one image. where: for messages.

    Raises:
        HarnessError: a shape that is needed isn't there; what an operator costs isn't known.
    """
    try:
        return sum(count(node, reader(node, shapes)) for node in nodes)
    except HarnessError as e:
        raise type(e)(f"{where}: {e.what}", e.fix) from e


def _inferred(model: onnx.ModelProto, takes: Sequence[ModelInput]) -> dict[str, Shape]:
    """Return the shapes that follow from those of the inputs; empty where the inference fails."""
    given = {one.name: one.shape for one in takes}
    sized = onnx.ModelProto()
    sized.CopyFrom(model)
    weights = {i.name for i in sized.graph.initializer}  # old files list the weights as inputs too
    inputs = [i for i in sized.graph.input if i.name not in weights]
    free = _batch_of(inputs[0]) if inputs else ""
    for one in inputs:
        dims = one.type.tensor_type.shape.dim
        for dim, size in zip(dims, given.get(one.name, (1,)), strict=False):
            dim.dim_value = size
    if given:
        del sized.graph.value_info[:]  # what the file says of its own free sizes is of other images
        for output in sized.graph.output:
            output.type.tensor_type.ClearField("shape")
    try:
        graph = onnx.shape_inference.infer_shapes(sized, data_prop=True).graph
    except onnx.shape_inference.InferenceError:
        return {}
    shapes = {i.name: tuple(i.dims) for i in graph.initializer}
    for value in (*graph.value_info, *graph.input, *graph.output):
        if found := _sizes(value.type.tensor_type, free):
            shapes.setdefault(value.name, found)
    return shapes


def _batch_of(images: onnx.ValueInfoProto) -> str:
    """Return the name that the free batch has; empty where it has none."""
    dims = images.type.tensor_type.shape.dim
    return dims[0].dim_param if dims else ""


def _observed(
    path: Path, model: onnx.ModelProto, takes: Sequence[ModelInput], unknown: UnknownShape
) -> dict[str, Shape]:
    """Return the shapes of all that the model's nodes take and give in one run.

    Raises:
        UnknownShape: it can't be run.
    """
    from harness.runtime.onnx import inputs_of, shapes_of  # here alone: a judge's count runs nothing

    names = {name for node in model.graph.node for name in (*node.input, *node.output[:1]) if name}
    stored = {tensor.name: tuple(tensor.dims) for tensor in model.graph.initializer}
    try:
        return stored | shapes_of(path, model, sorted(names - set(stored)), takes or inputs_of(path))
    except HarnessError as e:
        raise unknown from e


def _sizes(tensor: onnx.TypeProto.Tensor, free: str) -> Shape | None:
    """Read a shape in which only the batch may still have its name; None where a size is open."""
    dims = tensor.shape.dim
    sizes = tuple(1 if i == 0 and d.dim_param == free and not d.dim_value else d.dim_value for i, d in enumerate(dims))
    return sizes if sizes and all(sizes) else None


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
