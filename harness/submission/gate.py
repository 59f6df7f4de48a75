"""What a model file must be before any engine sees it: one plain ONNX network of known operators and bounded sizes.

Nothing of the file is believed: the bytes are walked before they are parsed, sizes are worked out anew in a process of
their own, and whatever isn't allowed by name is refused.
"""

from __future__ import annotations

from collections.abc import Iterable
from math import prod
from pathlib import Path
from typing import NamedTuple

import onnx
from google.protobuf.message import DecodeError

from harness.sandbox.refused import Refused
from harness.submission import wire
from harness.submission.operators import BLIND, CONTROL_FLOW, OPERATORS, OPSETS, SHAPED_BY
from harness.submission.sizes import sizes_of

AGAIN = "export the model again with `python train.py` and pack it with `python inference.py`"
STANDARD = ("", "ai.onnx")
IR_VERSIONS = range(4, 14)
MOST_NODES = 20_000
MOST_NAME = 1_000  # characters
MOST_METADATA = 64
MOST_LISTED = 10_000
"""Numbers in an attribute, or characters of its text."""
LARGEST = 256_000_000
"""Bytes of one tensor for one image."""
LARGEST_ALL = 4_000_000_000
"""Bytes of all tensors of one image together; an engine holds a part of them at a time."""
MAGIC = {
    b"PK": "a zip archive (a torch file or TorchScript)", b"\x80": "a pickle", b"\x1f\x8b": "a gzip archive",
    b"\x7fELF": "a program", b"MZ": "a program", b"#!": "a script", b"<": "HTML or XML", b"\x89PNG": "a picture",
    b"BZh": "an archive", b"\xfd7zXZ": "an archive", b"\x89HDF": "an HDF5 file", b"{": "JSON",
    b"version https://git-lfs": "a Git LFS pointer",
}  # fmt: skip
NUMBERS = {
    "FLOAT": ("float_data", 4), "DOUBLE": ("double_data", 8), "FLOAT16": ("int32_data", 2),
    "BFLOAT16": ("int32_data", 2), "INT8": ("int32_data", 1), "UINT8": ("int32_data", 1), "INT16": ("int32_data", 2),
    "UINT16": ("int32_data", 2), "INT32": ("int32_data", 4), "BOOL": ("int32_data", 1), "INT64": ("int64_data", 8),
    "UINT32": ("uint64_data", 4), "UINT64": ("uint64_data", 8),
}  # fmt: skip
"""The kinds of numbers that a stored tensor may hold: the field for them beside `raw_data`, and bytes each."""
_PLAIN = {"FLOAT": "f", "INT": "i", "STRING": "s", "TENSOR": "t", "FLOATS": "floats", "INTS": "ints"}
"""Kinds of attributes, and where each has its value."""


class Network(NamedTuple):
    """What is known of a sound network: how many classes it tells apart, and multiply-accumulates of one image."""

    classes: int
    macs: int


def check(path: Path, content: bytes, resolution_px: int) -> Network:
    """Make sure that the bytes are a network an engine may be given.

    path: for messages. resolution_px: R of the one input, float32 (N, 3, R, R) with N free; the one output is float32
    (N, classes).

    Raises:
        Refused: format, size, graph, metadata, opset, domain, function, control-flow, operator, external-data,
            tensor-size, input, data-dependent, shape: the rule that is broken.
        HarnessError: the machine is too busy to tell.
    """
    try:
        model = _parsed(content)
        _check_model(model)
        _check_nodes(model.graph)
        for tensor in _tensors(model.graph):
            _check_tensor(tensor)
        _check_order(model.graph)
        _check_ends(model.graph, resolution_px)
        _check_shapes_are_blind(model.graph)
        sizes = sizes_of(content)
        if sizes["largest_bytes"] > LARGEST or sizes["all_bytes"] > LARGEST_ALL:
            raise _refused(
                "tensor-size",
                f"a tensor for one image has {sizes['largest_bytes']:,} bytes, all together {sizes['all_bytes']:,}; "
                f"allowed: {LARGEST:,} and {LARGEST_ALL:,}",
            )
    except Refused as e:
        raise Refused(e.reason, f"{path}: {_shown(e.what)}", e.fix) from e
    return Network(sizes["classes"], sizes["macs"])


def _shown(text: str) -> str:
    """Show words that may be the file's without what would turn a line or spoil a terminal."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def _refused(reason: str, what: str) -> Refused:
    return Refused(reason, what, AGAIN)


def _parsed(content: bytes) -> onnx.ModelProto:
    for magic, kind in MAGIC.items():
        if content.startswith(magic):
            raise _refused("format", f"this is {kind}; allowed: an ONNX file")
    try:
        wire.walk(content, onnx.ModelProto.DESCRIPTOR)
        model = onnx.load_model_from_string(content)
    except (wire.Unsound, DecodeError) as e:
        raise _refused("format", f"not an ONNX file: {e}") from e
    if not model.HasField("graph") or not model.graph.node:
        raise _refused("format", "not an ONNX file: there is no network in it")
    return model


def _check_model(model: onnx.ModelProto) -> None:
    """Hold what stands around the network against the rules."""
    if model.functions:
        raise _refused("function", f"{len(model.functions)} local functions; allowed: none")
    if model.training_info or model.configuration or model.graph.quantization_annotation:
        raise _refused("metadata", "training, device or quantisation notes; allowed: none")
    if len(model.metadata_props) + len(model.graph.metadata_props) > MOST_METADATA:
        raise _refused("metadata", f"more than {MOST_METADATA} notes")
    domains = [entry.domain for entry in model.opset_import]
    foreign = [d for d in domains if d not in STANDARD]
    if foreign:
        raise _refused("domain", f"operators of '{foreign[0][:80]}'; allowed: the standard's")
    versions = [entry.version for entry in model.opset_import]
    if len(versions) != 1 or versions[0] not in OPSETS or model.ir_version not in IR_VERSIONS:
        what = f"opset {versions[0] if versions else 'none'} and format {model.ir_version}"
        allowed = f"one opset, {OPSETS[0]} to {OPSETS[-1]}, and format {IR_VERSIONS[0]} to {IR_VERSIONS[-1]}"
        raise _refused("opset", f"{what}; allowed: {allowed}")


def _check_nodes(graph: onnx.GraphProto) -> None:
    """Allow known operators with plain attributes."""
    if len(graph.node) > MOST_NODES:
        raise _refused("graph", f"{len(graph.node):,} nodes; allowed: {MOST_NODES:,}")
    for node in graph.node:
        if node.domain not in STANDARD:
            raise _refused("domain", f"an operator of '{node.domain[:80]}'; allowed: the standard's")
        if node.op_type in CONTROL_FLOW:
            raise _refused("control-flow", f"operator {node.op_type}: a network may not decide what it computes")
        if node.op_type not in OPERATORS:
            what = f"operator '{node.op_type[:80]}' isn't allowed; docs/competition.md lists those that are"
            raise _refused("operator", what)
        if node.overload or len(node.metadata_props) > MOST_METADATA:
            raise _refused("metadata", f"operator {node.op_type}: an overload, or more than {MOST_METADATA} notes")
        if not node.output:
            raise _refused("graph", f"operator {node.op_type} makes nothing")
        for attribute in node.attribute:
            _check_attribute(node.op_type, attribute)
        _check_at_rest(node)


def _check_attribute(kind_of_node: str, attribute: onnx.AttributeProto) -> None:
    kind = onnx.AttributeProto.AttributeType.Name(attribute.type)
    held = {field.name for field, _ in attribute.ListFields()} - {"name", "type", "doc_string"}
    if kind not in _PLAIN or held - {_PLAIN[kind]} or attribute.name == "value_string":
        raise _refused("graph", f"operator {kind_of_node}: attribute '{attribute.name[:80]}' of kind {kind}")
    if max(len(attribute.s), len(attribute.ints), len(attribute.floats)) > MOST_LISTED:
        raise _refused(
            "graph", f"operator {kind_of_node}: attribute '{attribute.name[:80]}' is over {MOST_LISTED:,} long"
        )


def _check_at_rest(node: onnx.NodeProto) -> None:
    """Refuse what operators do in training only: Dropout draws at random then."""
    drawn = node.op_type == "Dropout" and any(node.input[2:])
    learns = node.op_type == "BatchNormalization" and any(a.name == "training_mode" and a.i for a in node.attribute)
    if drawn or learns:
        raise _refused("operator", f"operator {node.op_type} in training mode; allowed: as it is after training")


def _tensors(graph: onnx.GraphProto) -> Iterable[onnx.TensorProto]:
    if graph.sparse_initializer:
        raise _refused("graph", "sparse weights; allowed: dense ones")
    yield from graph.initializer
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t


def _check_tensor(tensor: onnx.TensorProto) -> None:
    """Make sure that a stored tensor holds its numbers itself, and exactly as many as it says."""
    name = tensor.name[:80]
    if tensor.data_location != onnx.TensorProto.DEFAULT or tensor.external_data:
        raise _refused("external-data", f"tensor '{name}' stands in another file or in memory; allowed: one file")
    kind = onnx.TensorProto.DataType.Name(tensor.data_type) if tensor.data_type in _KINDS else str(tensor.data_type)
    if kind not in NUMBERS or tensor.HasField("segment"):
        raise _refused("tensor-size", f"tensor '{name}' is of kind {kind}; allowed: {', '.join(NUMBERS)}")
    field, size = NUMBERS[kind]
    dims = tuple(tensor.dims[:9])
    if len(dims) > 8 or any(not 0 <= d <= LARGEST for d in dims) or prod(dims) * size > LARGEST:
        raise _refused("tensor-size", f"tensor '{name}' is of shape {list(dims)[:8]}; allowed: up to {LARGEST:,} bytes")
    found = len(tensor.raw_data) // size if tensor.raw_data else len(getattr(tensor, field))
    ragged = tensor.raw_data and len(tensor.raw_data) % size
    twice = tensor.raw_data and any(len(getattr(tensor, each)) for each, _ in NUMBERS.values())
    if found != prod(dims) or ragged or twice:
        raise _refused("tensor-size", f"tensor '{name}' of shape {list(dims)} holds {found} numbers")


_KINDS = set(onnx.TensorProto.DataType.values())


def _check_order(graph: onnx.GraphProto) -> None:
    """Make sure that each value is made once, and before it is used: so there is no circle, either."""
    made = {""}
    inputs = {i.name for i in graph.input}
    stored = [w.name for w in graph.initializer]
    for name in [*inputs, *(n for n in stored if n not in inputs)]:
        _check_name(name, made)
    if len(set(stored)) != len(stored) or len(inputs) != len(graph.input):
        raise _refused("graph", "two weights or inputs of one name")
    for node in graph.node:
        for name in node.input:
            if name not in made:
                what = f"operator {node.op_type} uses '{name[:80]}', which nothing before it makes"
                raise _refused("graph", what)
        for name in filter(None, node.output):
            _check_name(name, made)


def _check_name(name: str, made: set[str]) -> None:
    if name in made or len(name) > MOST_NAME or not name.isprintable():
        raise _refused("graph", f"{name[:80]!r}: a name twice, not printable, or over {MOST_NAME} characters")
    made.add(name)


def _check_ends(graph: onnx.GraphProto, resolution_px: int) -> None:
    """Allow one input of images and one output."""
    weights = {t.name for t in graph.initializer}
    inputs = [i for i in graph.input if i.name not in weights]
    if len(inputs) != 1 or len(graph.output) != 1:
        raise _refused("input", f"{len(inputs)} inputs and {len(graph.output)} outputs; allowed: one of each")
    tensor = inputs[0].type.tensor_type
    shape = [d.dim_value if d.HasField("dim_value") else d.dim_param or "?" for d in tensor.shape.dim]
    right = len(shape) == 4 and not isinstance(shape[0], int) and shape[1:] == [3, resolution_px, resolution_px]
    if not right or tensor.elem_type != onnx.TensorProto.FLOAT:
        kind = onnx.TensorProto.DataType.Name(tensor.elem_type) if tensor.elem_type in _KINDS else tensor.elem_type
        allowed = f"FLOAT ['N', 3, {resolution_px}, {resolution_px}], as the manifest says"
        raise _refused("input", f"the input is {kind} {shape[:8]}; allowed: {allowed}")
    out = graph.output[0]
    if out.type.tensor_type.elem_type != onnx.TensorProto.FLOAT or out.name == inputs[0].name or out.name in weights:
        raise _refused("input", "the output is no FLOAT that the network computes; allowed: FLOAT ['N', classes]")


def _check_shapes_are_blind(graph: onnx.GraphProto) -> None:
    """Make sure that no shape hangs on what is in the image: else a network could do less for images it knows."""
    weights = {t.name for t in graph.initializer}
    seen = {i.name for i in graph.input if i.name not in weights}
    for node in graph.node:
        for position in SHAPED_BY.get(node.op_type, ()):
            if position < len(node.input) and node.input[position] in seen:
                what = f"operator {node.op_type}: the shape of '{node.output[0][:80]}' hangs on what is in the image"
                raise _refused("data-dependent", what)
        if node.op_type not in BLIND and any(name in seen for name in node.input):
            seen.update(node.output)
