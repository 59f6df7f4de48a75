"""How large everything in a network becomes, worked out in a process of its own: the library that does it is C++.

Run by `sizes_of`: the network's bytes come by standard input, one line of JSON goes out.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from collections.abc import Iterator
from math import prod
from pathlib import Path
from typing import Any

import onnx

from harness.errors import HarnessError
from harness.measure.cost import macs
from harness.sandbox.box import WATCHED
from harness.sandbox.refused import Refused

MOST_S = 20  # of CPU time: past that it is the entry's fault
MOST_WALL_S = 300  # past that the machine is too busy
MOST_BYTES = 4_000_000_000  # of addresses, most of them libraries'
MOST_FOLLOWED = 1024
"""Bytes of a stored tensor whose values are looked at: shapes, axes, scales. Of larger ones the size is enough."""
BYTES = {
    **dict.fromkeys(("BOOL", "INT8", "UINT8"), 1),
    **dict.fromkeys(("FLOAT16", "BFLOAT16", "INT16", "UINT16"), 2),
    **dict.fromkeys(("FLOAT", "INT32", "UINT32"), 4),
    **dict.fromkeys(("DOUBLE", "INT64", "UINT64"), 8),
}
"""Of one number, by kind. No others may be made: above all, no text."""
TRAINED = ("Dropout", "BatchNormalization", "LayerNormalization", "MaxPool")
"""Operators with further outputs that an engine for inference may leave out."""
AGAIN = "export the model again with fixed sizes; only the batch may be free"


def sizes_of(content: bytes) -> dict[str, Any]:
    """Check a network by the standard's own checker and infer all shapes for one image.

    Returns `classes`, `macs`, `largest_bytes` of one tensor and `all_bytes` of all.

    Raises:
        Refused: graph, shape, tensor-size.
        HarnessError: the machine is too busy.
    """
    quiet = {"PYTHONPATH": str(Path(__file__).resolve().parents[2]), "OPENBLAS_NUM_THREADS": "1"}
    try:
        done = subprocess.run(
            [sys.executable, "-m", __name__], input=content, capture_output=True, timeout=MOST_WALL_S, env=quiet
        )
    except subprocess.TimeoutExpired as e:
        what = f"the model's shapes aren't known after {MOST_WALL_S} s, with less than {MOST_S} s of a processor"
        raise HarnessError(what, "judge on a machine that is less busy") from e
    lines = done.stdout.splitlines()
    if done.returncode or not lines:
        said = (done.stderr.decode("utf-8", "replace").strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        raise Refused("shape", f"its shapes can't be worked out: {said[:300]}", AGAIN)
    found = json.loads(lines[-1])
    if "refused" in found:
        raise Refused(*found["refused"])
    return found


def main() -> None:
    """Read a network, print its sizes."""
    if WATCHED:  # elsewhere an address space can't be limited: macOS refuses the call
        resource.setrlimit(resource.RLIMIT_AS, (MOST_BYTES, MOST_BYTES))
    resource.setrlimit(resource.RLIMIT_CPU, (MOST_S, MOST_S))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    try:
        found: dict[str, Any] = _worked_out(onnx.load_model_from_string(sys.stdin.buffer.read()))
    except Refused as e:
        found = {"refused": [e.reason, e.what, e.fix]}
    print(json.dumps(found))


def _worked_out(model: onnx.ModelProto) -> dict[str, Any]:
    said = [d.dim_value for d in model.graph.output[0].type.tensor_type.shape.dim]
    _forget(model.graph)
    _check(model)
    model.graph.output[0].type.tensor_type.ClearField("shape")  # the checker wants one
    graph = _inferred(model)
    known = (*graph.value_info, *graph.output, *graph.input)
    shapes = {value.name: dims for value in known if (dims := _dims(value)) is not None}
    shapes |= {weight.name: tuple(weight.dims) for weight in model.graph.initializer}
    sizes = [_bytes(node, value) for node, value in _made(model, graph)]
    out = _dims(graph.output[0]) or ()
    if len(out) != 2 or out[0] != 1 or out[1] < 2 or (len(said) == 2 and said[1] not in (0, out[1])):
        what = f"the output for one image is of shape {list(out)}; allowed: [1, classes], as the file says"
        raise Refused("shape", what, AGAIN)
    found = {"classes": out[1], "largest_bytes": max(sizes), "all_bytes": sum(sizes)}
    return found | {"macs": macs(model.graph.node, shapes, "the model")}


def _check(model: onnx.ModelProto) -> None:
    try:
        onnx.checker.check_model(model)
    except onnx.checker.ValidationError as e:
        first = str(e).strip().splitlines()[0]
        raise Refused("graph", f"not a sound ONNX network: {first}", AGAIN) from e


def _forget(graph: onnx.GraphProto) -> None:
    """Drop what the file says of its own sizes, and large weights; make it a network for one image."""
    weights = {w.name for w in graph.initializer}
    (images,) = [i for i in graph.input if i.name not in weights]
    images.type.tensor_type.shape.dim[0].dim_value = 1
    del graph.value_info[:]
    large = [w for w in graph.initializer if w.ByteSize() > MOST_FOLLOWED]
    kept = [i for i in graph.input if i.name not in {w.name for w in large}]
    inputs = [onnx.helper.make_tensor_value_info(w.name, w.data_type, w.dims) for w in large]
    small = [w for w in graph.initializer if w.ByteSize() <= MOST_FOLLOWED]
    del graph.input[:], graph.initializer[:]
    graph.input.extend([*kept, *inputs])
    graph.initializer.extend(small)


def _inferred(model: onnx.ModelProto) -> onnx.GraphProto:
    try:
        graph = onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True).graph
    except onnx.shape_inference.InferenceError as e:
        last = (str(e).strip().splitlines() or [""])[-1]
        raise Refused("shape", f"its shapes contradict each other: {last}", AGAIN) from e
    if all(_dims(value) is not None for _, value in _made(model, graph)):
        return graph
    # it follows arithmetic on shapes farther (windows, shuffled channels), and takes sympy and seconds
    from onnxruntime.tools.symbolic_shape_infer import SymbolicShapeInference

    return SymbolicShapeInference.infer_shapes(model, auto_merge=True, int_max=2**31 - 1).graph


def _made(model: onnx.ModelProto, graph: onnx.GraphProto) -> Iterator[tuple[onnx.NodeProto, onnx.ValueInfoProto]]:
    """Yield each value that the network makes for one image, with the node that makes it."""
    known = {value.name: value for value in (*graph.value_info, *graph.output)}
    for node in model.graph.node:
        for number, name in enumerate(node.output):
            if name and not (number and node.op_type in TRAINED and name not in known):
                yield node, known.get(name, onnx.ValueInfoProto(name=name))


def _bytes(node: onnx.NodeProto, value: onnx.ValueInfoProto) -> int:
    dims = _dims(value)
    if dims is None:
        where = f"node '{node.name or value.name}' ({node.op_type})"
        raise Refused("shape", f"{where}: the shape of '{value.name}' isn't fixed", AGAIN)
    kind = onnx.TensorProto.DataType.Name(value.type.tensor_type.elem_type)
    if kind not in BYTES:
        raise Refused("tensor-size", f"'{value.name}' is of kind {kind}; allowed: {', '.join(BYTES)}", AGAIN)
    return prod(dims) * BYTES[kind]


def _dims(value: onnx.ValueInfoProto) -> tuple[int, ...] | None:
    """Return a shape; None where it isn't known, or a part of it isn't."""
    tensor = value.type.tensor_type
    known = tensor.HasField("shape") and all(d.HasField("dim_value") and d.dim_value >= 0 for d in tensor.shape.dim)
    return tuple(d.dim_value for d in tensor.shape.dim) if known else None


if __name__ == "__main__":
    main()
