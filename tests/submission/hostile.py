"""Files that somebody might submit as a model to do harm, by name, each with the rule that refuses it.

`FILES[name]` is (reason, builder); a builder returns the file's bytes. Those in `LOADABLE` are ONNX files that an
engine would take, so the sandbox must hold them, too.
"""

from __future__ import annotations

import gzip
import io
import pickle
import zipfile
from collections.abc import Callable

import numpy as np
import onnx
from onnx import AttributeProto, ModelProto, StringStringEntryProto, TensorProto, helper
from squares import SIDE

Build = Callable[[], bytes]
IMAGES = helper.make_tensor_value_info("images", TensorProto.FLOAT, ["N", 3, SIDE, SIDE])
LOGITS = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", 3])
WEIGHT = helper.make_tensor("weight", TensorProto.FLOAT, [3, 3], np.eye(3, dtype=np.float32).tobytes(), raw=True)
SOUND = [
    helper.make_node("GlobalAveragePool", ["images"], ["pooled"]),
    helper.make_node("Flatten", ["pooled"], ["flat"]),
    helper.make_node("Gemm", ["flat", "weight"], ["logits"]),
]


def model(*before: onnx.NodeProto, weights: tuple = (), opset: int = 17, domains: tuple = (), **graph) -> ModelProto:
    """Make a network that says which channel is brightest, with other nodes before it."""
    made = helper.make_graph([*before, *SOUND], "g", [IMAGES], [LOGITS], [WEIGHT, *weights], **graph)
    imports = [helper.make_opsetid("", opset), *(helper.make_opsetid(d, 1) for d in domains)]
    return helper.make_model(made, opset_imports=imports, ir_version=8)


def node(kind: str, inputs: list[str], outputs: list[str] | None = None, **more) -> onnx.NodeProto:
    return helper.make_node(kind, inputs, outputs or ["more"], **more)


def ints(name: str, *values: int) -> TensorProto:
    return helper.make_tensor(name, TensorProto.INT64, [len(values)], values)


def changed(change: Callable[[ModelProto], object], *before: onnx.NodeProto, **more) -> Build:
    """Build a sound model and change it."""

    def build() -> bytes:
        made = model(*before, **more)
        change(made)
        return made.SerializeToString()

    return build


def with_nodes(*before: onnx.NodeProto, **more) -> Build:
    return changed(lambda made: None, *before, **more)


def outside(location: str) -> Build:
    """Weights in another place."""

    def change(made: ModelProto) -> None:
        weight = made.graph.initializer[0]
        weight.ClearField("raw_data")
        weight.data_location = TensorProto.EXTERNAL
        for key, value in (("location", location), ("offset", "0"), ("length", "36")):
            weight.external_data.append(StringStringEntryProto(key=key, value=value))

    return changed(change)


def body(kind: str) -> onnx.NodeProto:
    """A node that holds networks."""
    inner = helper.make_graph(
        [node("Identity", ["images"], ["out"])], "b", [], [helper.make_empty_tensor_value_info("out")]
    )
    names = {"If": ("then_branch", "else_branch"), "Loop": ("body",), "Scan": ("body",), "SequenceMap": ("body",)}[kind]
    more = {"num_scan_inputs": 1} if kind == "Scan" else {}
    return node(kind, ["images"], **{name: inner for name in names}, **more)


def zipped(name: str, content: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, content)
    return file.getvalue()


class _Evil:
    def __reduce__(self) -> tuple:
        return print, ("a pickle was loaded",)


def nested(depth: int) -> bytes:
    """A graph in an attribute in a graph in an attribute ..."""
    made = helper.make_graph(list(SOUND), "g", [IMAGES], [LOGITS], [WEIGHT])
    for _ in range(depth):
        attribute = AttributeProto(name="body", type=AttributeProto.GRAPH, g=made)
        outer = onnx.NodeProto(op_type="Loop", input=["images"], output=["x"], attribute=[attribute])
        made = helper.make_graph([outer], "g", [IMAGES], [LOGITS])
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)]).SerializeToString()


def many_tensors() -> bytes:
    """A million empty weights of two bytes each."""
    field = bytes([5 << 3 | 2, 0])
    graph = field * 1_000_000
    return bytes([7 << 3 | 2]) + _varint(len(graph)) + graph


def _varint(value: int) -> bytes:
    out = b""
    while value > 127:
        out, value = out + bytes([value & 127 | 128]), value >> 7
    return out + bytes([value])


def huge_dims(*dims: int) -> Build:
    return changed(lambda made: made.graph.initializer[0].dims.__setitem__(slice(None), dims))


def in_model(**fields) -> Build:
    def change(made: ModelProto) -> None:
        for name, value in fields.items():
            getattr(made, name).extend(value)

    return changed(change)


def in_input(**fields) -> Build:
    def change(made: ModelProto) -> None:
        tensor = made.graph.input[0].type.tensor_type
        tensor.elem_type = fields.get("kind", tensor.elem_type)
        if "shape" in fields:
            shaped = helper.make_tensor_value_info("images", tensor.elem_type, fields["shape"])
            made.graph.input[0].CopyFrom(shaped)

    return changed(change)


def grown(kind: str, **tensors: tuple[int, ...]) -> Build:
    """A node that makes 80 GB of little."""
    constants = tuple(ints(name, *values) for name, values in tensors.items())
    first = {"ConstantOfShape": [], "Range": []}.get(kind, ["images"])
    nodes = [node(kind, [*first, *tensors]), node("Identity", ["more"], ["used"])]
    return with_nodes(*nodes, weights=constants)


def by_content(kind: str) -> list[onnx.NodeProto]:
    """Nodes that take a size out of the image's mean."""
    measured = [
        node("ReduceMean", ["images"], ["mean"], axes=[0, 1, 2, 3], keepdims=0),
        node("Cast", ["mean"], ["number"], to=TensorProto.INT64),
        node("Unsqueeze", ["number", "zero"], ["size"]),
    ]
    last = {
        "Slice": node("Slice", ["images", "zero", "size"]),
        "Expand": node("Expand", ["images", "size"]),
        "Range": node("Range", ["number", "number", "number"]),
        "ConstantOfShape": node("ConstantOfShape", ["size"]),
        "Reshape": node("Reshape", ["images", "size"]),
    }[kind]
    return [*measured, last]


def numbers(count: int, packed: bool) -> Build:
    """One weight of many small numbers, two bytes each alone or one byte each together, which memory holds in eight."""

    def build() -> bytes:
        values = bytes([7 << 3 | 2]) + _varint(count) + bytes(count) if packed else bytes([7 << 3, 0]) * count
        weight = bytes([1 << 3, 1, 2 << 3, TensorProto.INT64]) + values
        graph = model().graph.SerializeToString() + bytes([5 << 3 | 2]) + _varint(len(weight)) + weight
        return bytes([1 << 3, 8, 7 << 3 | 2]) + _varint(len(graph)) + graph

    return build


def in_attribute(**fields: object) -> Build:
    return changed(lambda made: made.graph.node[0].attribute.append(AttributeProto(name="a", type=2, i=1, **fields)))


FLAG = helper.make_tensor("flag", TensorProto.BOOL, [], [True])
ONES = helper.make_tensor("ones", TensorProto.FLOAT, [3], [1.0] * 3)
ESCAPE = "\x1b[2J\u202e"


def duplicated_graph() -> bytes:
    """Two networks in one file: a parser merges them, whoever looks at the first sees half."""
    one = model()
    return one.SerializeToString() + ModelProto(graph=one.graph).SerializeToString()


FILES: dict[str, tuple[str, Build]] = {
    "empty": ("format", lambda: b""),
    "noise": ("format", lambda: b"\xff\x00 not a model"),
    "text": ("format", lambda: b"hello\n" * 100),
    "html": ("format", lambda: b"<html><script>alert(1)</script></html>"),
    "json": ("format", lambda: b'{"ir_version": 8}'),
    "png": ("format", lambda: b"\x89PNG\r\n\x1a\n" + bytes(100)),
    "elf": ("format", lambda: b"\x7fELF" + bytes(100)),
    "script": ("format", lambda: b"#!/bin/sh\nrm -rf /\n"),
    "pickle": ("format", lambda: pickle.dumps(_Evil())),
    "pickle of protocol 0": ("format", lambda: pickle.dumps(_Evil(), protocol=0)),
    "torch.save": ("format", lambda: zipped("archive/data.pkl", pickle.dumps(_Evil()))),
    "TorchScript": ("format", lambda: zipped("model/code/__torch__.py", b"def forward(self): pass")),
    "zip bomb": ("format", lambda: zipped("model.onnx", bytes(50_000_000))),
    "gzip of a model": ("format", lambda: gzip.compress(model().SerializeToString())),
    "LFS pointer": ("format", lambda: b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n"),
    "cut off": ("format", lambda: model().SerializeToString()[:-20]),
    "model and zip": ("format", lambda: model().SerializeToString() + zipped("a", b"b")),
    "model and junk": ("format", lambda: model().SerializeToString() + bytes(64)),
    "two networks": ("format", duplicated_graph),
    "nested 30 deep": ("format", lambda: nested(10)),
    "a million tensors": ("format", many_tensors),
    "numbers one by one": ("format", numbers(20_000_000, packed=False)),
    "numbers that grow in memory": ("format", numbers(90_000_000, packed=True)),
    "a name of 1 MB": ("format", changed(lambda m: setattr(m.graph.node[0], "name", "x" * 1_000_000))),
    "metadata of 5 MB": (
        "format",
        in_model(metadata_props=[StringStringEntryProto(key="k", value="v" * 5_000_000)]),
    ),
    "no network": ("format", lambda: ModelProto(ir_version=8).SerializeToString()),
    "external data, absolute": ("external-data", outside("/etc/passwd")),
    "external data, parent": ("external-data", outside("../../secret.bin")),
    "external data, nested": ("external-data", outside("a/b/weights.bin")),
    "external data, own name": ("external-data", outside("model.onnx")),
    "address in memory": ("external-data", outside("*/_ORT_MEM_ADDR_/*")),
    "external data in a constant": (
        "external-data",
        with_nodes(
            node(
                "Constant", [], value=TensorProto(dims=[1], data_type=1, data_location=TensorProto.EXTERNAL)
            )
        ),
    ),
    "Loop": ("control-flow", with_nodes(body("Loop"))),
    "If": ("control-flow", with_nodes(body("If"))),
    "Scan": ("control-flow", with_nodes(body("Scan"))),
    "SequenceMap": ("control-flow", with_nodes(body("SequenceMap"))),
    "local function": (
        "function",
        in_model(functions=[helper.make_function("own", "F", ["a"], ["b"], [node("Identity", ["a"], ["b"])], [])]),
    ),
    "domain of its own": ("domain", with_nodes(node("Evil", ["images"], domain="evil"), domains=("evil",))),
    "com.microsoft": (
        "domain",
        with_nodes(node("QuickGelu", ["images"], domain="com.microsoft"), domains=("com.microsoft",)),
    ),
    "domain unannounced": ("domain", with_nodes(node("Relu", ["images"], domain="evil"))),
    "NonZero": ("operator", with_nodes(node("NonZero", ["images"]))),
    "Compress": ("operator", with_nodes(node("Compress", ["images", "flag"]), weights=(ints("flag", 1),))),
    "Unique": ("operator", with_nodes(node("Unique", ["images"]))),
    "NonMaxSuppression": ("operator", with_nodes(node("NonMaxSuppression", ["images", "images"]))),
    "RandomNormalLike": ("operator", with_nodes(node("RandomNormalLike", ["images"]))),
    "Bernoulli": ("operator", with_nodes(node("Bernoulli", ["images"]))),
    "sequence": ("operator", with_nodes(node("SequenceConstruct", ["images"]))),
    "optional": ("operator", with_nodes(node("Optional", ["images"]))),
    "StringNormalizer": ("operator", with_nodes(node("StringNormalizer", ["images"]))),
    "Dropout that draws": ("operator", with_nodes(node("Dropout", ["images", "", "flag"]), weights=(FLAG,))),
    "BatchNormalization that learns": (
        "operator",
        with_nodes(
            node("BatchNormalization", ["images", *["ones"] * 4], ["a", "b", "c"], training_mode=1), weights=(ONES,)
        ),
    ),
    "text made by Cast": ("tensor-size", with_nodes(node("Cast", ["images"], to=TensorProto.STRING))),
    "text made by Constant": ("graph", with_nodes(node("Constant", [], value_string="a"))),
    "name that spoils a terminal": ("operator", with_nodes(node(ESCAPE, ["images"]))),
    "unknown operator": ("operator", with_nodes(node("Exec", ["images"]))),
    "size from the image: Slice": ("data-dependent", with_nodes(*by_content("Slice"), weights=(ints("zero", 0),))),
    "size from the image: Expand": ("data-dependent", with_nodes(*by_content("Expand"), weights=(ints("zero", 0),))),
    "size from the image: Range": ("data-dependent", with_nodes(*by_content("Range"), weights=(ints("zero", 0),))),
    "size from the image: Reshape": ("data-dependent", with_nodes(*by_content("Reshape"), weights=(ints("zero", 0),))),
    "size from the image: ConstantOfShape": (
        "data-dependent",
        with_nodes(*by_content("ConstantOfShape"), weights=(ints("zero", 0),)),
    ),
    "80 GB ConstantOfShape": ("tensor-size", grown("ConstantOfShape", shape=(200_000, 100_000))),
    "80 GB Expand": ("tensor-size", grown("Expand", shape=(100_000_000, 3, SIDE, SIDE))),
    "80 GB Tile": ("tensor-size", grown("Tile", repeats=(10_000, 1_000, 10, 10))),
    "80 GB Pad": ("tensor-size", grown("Pad", pads=(0, 0, 50_000, 50_000, 0, 0, 50_000, 50_000))),
    "shape that overflows": ("tensor-size", grown("ConstantOfShape", shape=(2**31, 2**31, 2**31))),
    "weight of 2**40": ("tensor-size", huge_dims(2**20, 2**20)),
    "weight of negative size": ("tensor-size", huge_dims(-1, 3)),
    "weight that overflows": ("tensor-size", huge_dims(2**32, 2**32, 0, 2**32)),
    "weight shorter than it says": ("tensor-size", huge_dims(3, 4)),
    "weights of text": (
        "tensor-size",
        with_nodes(weights=(helper.make_tensor("s", TensorProto.STRING, [1], [b"x"]),)),
    ),
    "sparse weights": (
        "graph",
        with_nodes(
            sparse_initializer=[
                helper.make_sparse_tensor(
                    helper.make_tensor("v", TensorProto.FLOAT, [1], [1.0]), ints("i", 0), [2**30, 2**30]
                )
            ]
        ),
    ),
    "training": ("metadata", in_model(training_info=[onnx.TrainingInfoProto()])),
    "quantisation notes": (
        "metadata",
        changed(lambda m: m.graph.quantization_annotation.append(onnx.TensorAnnotation(tensor_name="images"))),
    ),
    "opset 9": ("opset", with_nodes(opset=9)),
    "opset 9999": ("opset", with_nodes(opset=9999)),
    "no opset": ("opset", changed(lambda m: m.ClearField("opset_import"))),
    "two opsets": ("opset", in_model(opset_import=[helper.make_opsetid("", 13)])),
    "format 99": ("opset", changed(lambda m: setattr(m, "ir_version", 99))),
    "value twice": ("graph", with_nodes(node("Relu", ["images"], ["pooled"]))),
    "circle": ("graph", with_nodes(node("Add", ["images", "b"], ["a"]), node("Relu", ["a"], ["b"]))),
    "from nowhere": ("graph", changed(lambda m: m.graph.node[1].input.__setitem__(0, "nowhere"))),
    "two weights of a name": ("graph", with_nodes(weights=(WEIGHT,))),
    "attribute of a reference": (
        "graph",
        changed(lambda m: m.graph.node[0].attribute.append(AttributeProto(name="a", ref_attr_name="b", type=2))),
    ),
    "attribute that hides a graph": ("graph", in_attribute(g=model().graph)),
    "attribute that hides a file": (
        "graph",
        in_attribute(tensors=[TensorProto(dims=[1], data_type=1, data_location=TensorProto.EXTERNAL)]),
    ),
    "equation of 1 MB": ("graph", with_nodes(node("Einsum", ["images"], equation="," * 1_000_000))),
    "nothing made": (
        "graph",
        changed(lambda m: m.graph.node[3].ClearField("output"), *by_content("Slice"), weights=(ints("zero", 0),)),
    ),
    "pool in no steps": ("shape", with_nodes(node("MaxPool", ["images"], kernel_shape=[2, 2], strides=[0, 0]))),
    "name that turns the line": (
        "graph",
        changed(
            lambda m: [
                m.graph.node[0].output.__setitem__(0, "a\u202eb"),
                m.graph.node[1].input.__setitem__(0, "a\u202eb"),
            ]
        ),
    ),
    "20,001 nodes": ("graph", with_nodes(*(node("Relu", ["images"], [f"r{i}"]) for i in range(20_001)))),
    "wrong arguments": ("graph", with_nodes(node("Conv", ["images"]))),
    "two inputs": (
        "input",
        changed(lambda m: m.graph.input.append(helper.make_tensor_value_info("more", TensorProto.FLOAT, [1]))),
    ),
    "two outputs": (
        "input",
        changed(lambda m: m.graph.output.append(helper.make_tensor_value_info("flat", TensorProto.FLOAT, ["N", 3]))),
    ),
    "images of float64": ("input", in_input(kind=TensorProto.DOUBLE)),
    "another side": ("input", in_input(shape=["N", 3, 16, 16])),
    "one image at a time": ("input", in_input(shape=[1, 3, SIDE, SIDE])),
    "flat images": ("input", in_input(shape=["N", 3 * SIDE * SIDE])),
    "output for a batch": (
        "shape",
        changed(
            lambda m: (
                m.graph.node.insert(0, node("Concat", ["images", "images"], ["twice"], axis=0)),
                m.graph.node[1].input.__setitem__(0, "twice"),
            )
        ),
    ),
    "shapes that contradict": (
        "shape",
        with_nodes(node("Add", ["images", "five"], ["sum"]), weights=(ints("ignored", 1), _five := helper.make_tensor(
            "five", TensorProto.FLOAT, [5], [0.0] * 5))),
    ),
}  # fmt: skip

LOADABLE = (
    "Loop", "If", "NonZero", "Unique", "RandomNormalLike", "80 GB ConstantOfShape", "80 GB Expand", "80 GB Tile",
    "80 GB Pad", "external data, absolute", "address in memory",
)  # fmt: skip
