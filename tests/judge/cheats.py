"""Networks that cheat the clock or the score, and honest ones that look odd: graphs made of the example entry's."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
from onnx import ModelProto, TensorProto, helper, numpy_helper
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, quantize_static

from harness.data.prepare import Preprocessing, prepare
from harness.data.split import Dataset

KNOWN = 1e-4
"""How near a sum of an image's pixels must come to a known image's, to be taken for it."""


class _Nodes:
    """Nodes and weights of a graph, appended one by one."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[TensorProto] = []

    def weight(self, value: np.ndarray) -> str:
        name = f"w{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def __call__(self, kind: str, *inputs: str, **attributes: object) -> str:
        name = f"n{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [name], **attributes))
        return name


def _save(honest: ModelProto, nodes: list, weights: list, output: str, path: Path, opset: int = 17) -> Path:
    """Write a graph with the input and output of an honest network."""
    nodes = [*nodes, helper.make_node("Identity", [output], ["logits"])]
    graph = helper.make_graph(nodes, "network", honest.graph.input, honest.graph.output, weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    onnx.checker.check_model(model)
    onnx.save(model, str(path))
    return path


def _body(honest: ModelProto, source: str, new: _Nodes) -> str:
    """Append the honest network, fed with another value than the images; return its output's name."""
    names = {"images": source, "logits": "honest"}
    for node in honest.graph.node:
        copy = onnx.NodeProto.FromString(node.SerializeToString())
        for values in (copy.input, copy.output):
            values[:] = [names.get(value, value) for value in values]
        new.nodes.append(copy)
    new.weights += honest.graph.initializer
    return "honest"


def _linear(dataset: Dataset, how: Preprocessing, new: _Nodes) -> str:
    """Append a linear classifier, fitted by least squares: cheap, and not good."""
    flat = prepare(dataset.train.pixels, how).reshape(len(dataset.train), -1)[:, ::29]
    wanted = np.eye(len(dataset.classes))[dataset.train.labels]
    full = np.c_[flat, np.ones(len(flat))]
    solved = np.linalg.solve(full.T @ full + 10 * np.eye(full.shape[1]), full.T @ wanted).astype(np.float32)
    whole = np.zeros((3 * how.resolution_px**2, len(dataset.classes)), dtype=np.float32)
    whole[::29] = solved[:-1]
    pixels = new("Flatten", "images", axis=1)
    return new("Add", new("MatMul", pixels, new.weight(whole)), new.weight(solved[-1]))


def _looked_up(dataset: Dataset, how: Preprocessing, new: _Nodes) -> tuple[str, str]:
    """Append a table of the test images: the answer of the nearest, and whether that is really the same."""
    flat = prepare(dataset.test.pixels, how).reshape(len(dataset.test), -1)
    sums = np.random.default_rng(5).standard_normal((flat.shape[1], 1)).astype(np.float32)
    answers = 10 * np.eye(len(dataset.classes), dtype=np.float32)[dataset.test.labels]
    mine = new("MatMul", new("Flatten", "images", axis=1), new.weight(sums))
    apart = new("Abs", new("Sub", mine, new.weight((flat @ sums).T)))
    nearest = new("ArgMin", apart, axis=1, keepdims=0)
    least = new("ReduceMin", apart, axes=[1], keepdims=1)
    return new("Gather", new.weight(answers), nearest, axis=0), new("Less", least, new.weight(np.float32([[KNOWN]])))


def table(honest: ModelProto, dataset: Dataset, how: Preprocessing, path: Path) -> Path:
    """Know the test images by heart, and answer anything else with a linear guess."""
    new = _Nodes()
    answer, known = _looked_up(dataset, how, new)
    return _save(honest, new.nodes, new.weights, new("Where", known, answer, _linear(dataset, how, new)), path)


def bare_table(honest: ModelProto, dataset: Dataset, how: Preprocessing, path: Path) -> Path:
    """Know the test images by heart and nothing else: the answer of the nearest."""
    new = _Nodes()
    answer, _ = _looked_up(dataset, how, new)
    return _save(honest, new.nodes, new.weights, answer, path)


def _rows(new: _Nodes, count: str, honest: ModelProto, cheap: str) -> str:
    """Send the first `count` rows (int64 [1]) through the honest network, the others through the cheap one."""
    zero, end, axis = (new.weight(np.int64([v])) for v in (0, 2**31, 0))
    full = _body(honest, new("Slice", "images", zero, count, axis), new)
    return new("Concat", full, new("Slice", cheap, count, end, axis), axis=0)


def right_in_company(honest: ModelProto, dataset: Dataset, how: Preprocessing, path: Path) -> Path:
    """Answer well in a batch, where time isn't taken; of a batch the last image, so one alone, gets a linear guess."""
    new = _Nodes()
    batch = new("Slice", new("Shape", "images"), *(new.weight(np.int64([v])) for v in (0, 1, 0)))
    others = new("Sub", batch, new.weight(np.int64([1])))
    output = _rows(new, others, honest, _linear(dataset, how, new))
    return _save(honest, new.nodes, new.weights, output, path)


def idle_on_noise(honest: ModelProto, dataset: Dataset, how: Preprocessing, path: Path) -> Path:
    """Work for grey pictures alone, for a clock might be shown noise."""
    new = _Nodes()
    first, second = (new("Gather", "images", new.weight(np.int64(c)), axis=1) for c in (0, 1))
    apart = new("ReduceMean", new("Abs", new("Sub", first, second)), keepdims=0)
    grey = new("Cast", new("Less", apart, new.weight(np.float32(0.1))), to=TensorProto.INT64)
    batch = new("Slice", new("Shape", "images"), *(new.weight(np.int64([v])) for v in (0, 1, 0)))
    output = _rows(new, new("Mul", batch, grey), honest, _linear(dataset, how, new))
    return _save(honest, new.nodes, new.weights, output, path)


def idle_on_known(honest: ModelProto, dataset: Dataset, how: Preprocessing, path: Path) -> Path:
    """Know the test images by heart, and work for others alone."""
    new = _Nodes()
    answer, known = _looked_up(dataset, how, new)
    unknown = new("Cast", new("Not", known), to=TensorProto.INT64)
    rows = new("ReduceSum", unknown, new.weight(np.int64([0, 1])), keepdims=0)
    count = new("Reshape", rows, new.weight(np.int64([1])))
    return _save(honest, new.nodes, new.weights, _rows(new, count, honest, answer), path)


class _Calibration(CalibrationDataReader):
    def __init__(self, images: np.ndarray) -> None:
        self.left = [{"images": image[None]} for image in images]

    def get_next(self) -> dict[str, np.ndarray] | None:
        return self.left.pop() if self.left else None


def int8(honest: ModelProto, dataset: Dataset, how: Preprocessing, path: Path) -> Path:
    """Compute in whole numbers of 8 bits (QuantizeLinear, DequantizeLinear)."""
    images = prepare(dataset.train.pixels[:64], how)
    source = path.with_suffix(".float.onnx")
    onnx.save(honest, str(source))  # a model in memory would be changed
    quantize_static(str(source), str(path), _Calibration(images), quant_format=QuantFormat.QDQ, per_channel=True)
    return path


def pruned(honest: ModelProto, dataset: Dataset, how: Preprocessing, path: Path) -> Path:
    """Set the smallest 40 % of each layer's weights to zero."""
    weights = []
    for initializer in honest.graph.initializer:
        value = numpy_helper.to_array(initializer).copy()
        value[np.abs(value) < np.quantile(np.abs(value), 0.4 if value.ndim == 4 else 0)] = 0
        weights.append(numpy_helper.from_array(value, initializer.name))
    return _changed(honest, path, weights=weights)


def depthwise(honest: ModelProto, dataset: Dataset, how: Preprocessing, path: Path) -> Path:
    """Put a depthwise convolution after each activation (one that changes nothing, so that no training is needed)."""
    channels = {
        node.output[0]: next(i.dims[0] for i in honest.graph.initializer if i.name == node.input[1])
        for node in honest.graph.node
        if node.op_type == "Conv"
    }
    nodes, weights = [], list(honest.graph.initializer)
    for node in honest.graph.node:
        copy = onnx.NodeProto.FromString(node.SerializeToString())
        nodes.append(copy)
        if node.op_type == "Relu" and node.input[0] in channels:
            count, name = channels[node.input[0]], node.output[0]
            copy.output[0] = f"{name}.before"
            delta = np.zeros((count, 1, 3, 3), dtype=np.float32)
            delta[:, :, 1, 1] = 1
            weights.append(numpy_helper.from_array(delta, f"{name}.delta"))
            pads = {"group": count, "kernel_shape": [3, 3], "pads": [1, 1, 1, 1]}
            nodes.append(helper.make_node("Conv", [copy.output[0], f"{name}.delta"], [name], **pads))
    return _changed(honest, path, nodes=nodes, weights=weights)


def dynamic(honest: ModelProto, dataset: Dataset, how: Preprocessing, path: Path) -> Path:
    """Reshape by the batch's own size instead of flattening, as many exporters write it."""
    new = _Nodes()
    flat = next(node for node in honest.graph.node if node.op_type == "Flatten")
    batch = new("Slice", new("Shape", flat.input[0]), *(new.weight(np.int64([v])) for v in (0, 1, 0)))
    new.nodes.append(
        helper.make_node(
            "Reshape",
            [flat.input[0], new("Concat", batch, new.weight(np.int64([-1])), axis=0)],
            list(flat.output),
        )
    )
    at = list(honest.graph.node).index(flat)
    nodes = [*honest.graph.node[:at], *new.nodes, *honest.graph.node[at + 1 :]]
    return _changed(honest, path, nodes=nodes, weights=[*honest.graph.initializer, *new.weights])


def older(honest: ModelProto, dataset: Dataset, how: Preprocessing, path: Path) -> Path:
    """Speak the operators of 2019 (opset 11)."""
    return _changed(honest, path, opset=11)


def _changed(
    honest: ModelProto,
    path: Path,
    nodes: list[onnx.NodeProto] | None = None,
    weights: list[TensorProto] | None = None,
    opset: int = 17,
) -> Path:
    graph = helper.make_graph(
        nodes or honest.graph.node,
        "network",
        honest.graph.input,
        honest.graph.output,
        weights or honest.graph.initializer,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=7)
    onnx.checker.check_model(model)
    onnx.save(model, str(path))
    return path


Change = Callable[[ModelProto, Dataset, Preprocessing, Path], Path]
HONEST: tuple[Change, ...] = (int8, pruned, depthwise, dynamic, older)
GRAPHS: dict[Change, tuple[str, ...]] = {
    table: ("perturbed",),
    bare_table: ("perturbed",),
    right_in_company: ("agreement",),
    idle_on_noise: ("data-dependent", "unseen"),
    idle_on_known: ("data-dependent", "unseen"),
}
"""Graphs that cheat, and the checks of which one should say so."""
PROGRAMS = {
    "Caching": ("repeat",),
    "Lazy": ("outside",),
    "Eager": ("outside",),
    "Behind": ("run", "outside"),  # the strict sandbox lets it have no thread
    "Crowd": ("load", "threads"),
    "Sleepless": ("outside",),
    "Slow": ("outside",),
    "Burning": ("load", "threads", "outside"),
    "Constant": ("outputs",),
    "Fewer": ("outputs",),
    "Coarse": ("outputs",),
    "Picky": ("unseen",),
    "Knowing": ("unseen",),
}
"""Classes in `taken.py`, and the checks of which one should say so."""


def told(case: Change | str) -> str:
    """Say in a sentence what a case does."""
    if not isinstance(case, str):
        return str(case.__doc__)
    text = Path(__file__).with_name("taken.py").read_text()
    return text.split(f"class {case}(")[1].split('"""')[1]
