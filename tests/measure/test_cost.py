"""What a model costs, counted from the artefact."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnx
import pytest
import torch
from onnx import TensorProto, helper
from torch import Tensor, nn

from harness.errors import HarnessError
from harness.measure.cost import macs, macs_of_onnx, parameters_of_onnx
from harness.models.build import BLOCKS, build, export_ready
from harness.models.spec import ModelSpec
from harness.rules.reference import reference_model
from harness.runtime.export import export

BODIES = sorted(set(BLOCKS) - {"flatten", "linear", "globalavgpool", "avgpool", "maxpool", "dropout"})


def counted_by_hooks(model: nn.Module, side_px: int) -> int:
    """Count convolutions and linear layers in torch, by what goes in and out of each."""
    total = 0

    def add(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal total
        inner = module.weight[0].numel()
        total += output.numel() * inner

    handles = [m.register_forward_hook(add) for m in model.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    with torch.no_grad():
        model(torch.zeros(1, 3, side_px, side_px))
    for handle in handles:
        handle.remove()
    return total


@pytest.mark.parametrize("block", BODIES)
def test_macs_are_those_of_the_layers(block: str, tmp_path: Path) -> None:
    """The file's count equals the network's own, for every block, with and without a stride."""
    stages = [{"block": "conv", "channels": 16}, *({"block": block, "channels": 16, "stride": s} for s in (1, 2))]
    model = build(ModelSpec.from_dict({"stages": stages}), 5, 16)
    path = export(model, 16, tmp_path / "model.onnx")
    assert macs_of_onnx(path) == counted_by_hooks(export_ready(model), 16)


def test_a_plain_network_costs_what_pen_and_paper_say(tmp_path: Path) -> None:
    """A 3x3 convolution to 8 channels on 6x6 and a linear layer to 4 classes."""
    model = build(ModelSpec.from_dict({"stages": [{"block": "conv", "channels": 8}]}), 4, 6)
    path = export(model, 6, tmp_path / "model.onnx")
    assert macs_of_onnx(path) == 6 * 6 * 8 * 3 * 9 + 8 * 4
    assert parameters_of_onnx(path) == (8 * 3 * 9 + 8) + (8 * 4 + 4)


def save(path: Path, nodes: list[onnx.NodeProto], sizes: list[Any], weights: dict[str, list[int]]) -> Path:
    """Write a graph from `images` of the given sizes to `logits`."""
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, sizes)],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, None)],
        [helper.make_tensor(k, TensorProto.FLOAT, d, [0.0] * torch.Size(d).numel()) for k, d in weights.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), str(path))
    return path


@pytest.mark.parametrize(("op", "weight"), [("Conv", [4, 3, 3, 3]), ("MatMul", [8, 5])])
def test_a_size_that_cant_be_inferred_names_the_node(op: str, weight: list[int], tmp_path: Path) -> None:
    """A free height, or an operator nobody knows before the node, is an error and never a count of 1."""
    node = helper.make_node(op, ["images", "weight"], ["logits"], name="middle")
    free = save(tmp_path / "free.onnx", [node], ["N", 3, "H", 8], {"weight": weight})
    with pytest.raises(HarnessError, match=rf"free.onnx: node 'middle' \({op}\): the shape of '\w+' can't be inferred"):
        macs_of_onnx(free)
    unknown = helper.make_node("Mystery", ["images"], ["x"], domain="nowhere")
    node.input[0] = "x"
    path = save(tmp_path / "unknown.onnx", [unknown, node], ["N", 3, 8, 8], {"weight": weight})
    with pytest.raises(HarnessError, match=r"unknown.onnx: node 'x' \(nowhere.Mystery\): what it costs isn't known"):
        macs_of_onnx(path)


def test_a_transposed_product_counts_the_right_side(tmp_path: Path) -> None:
    """Gemm with transA sums over the first side of its first input."""
    nodes = [
        helper.make_node("Flatten", ["images"], ["flat"]),
        helper.make_node("Gemm", ["flat", "weight"], ["logits"], transA=1),
    ]
    path = save(tmp_path / "t.onnx", nodes, ["N", 3, 2, 2], {"weight": [1, 5]})
    assert macs_of_onnx(path) == 12 * 5 * 1


SHAPES = {
    "x": (2, 4, 6), "y": (2, 6, 5), "out": (2, 4, 5),
    "image": (1, 8, 5, 5), "kernel": (8, 2, 3, 3), "big": (1, 4, 11, 11), "small": (16, 8, 3, 3), "made": (1, 16, 3, 3),
    "left": (1, 6, 4), "words": (2, 5, 8), "qkv": (8, 24), "keys": (2, 7, 8), "values": (2, 7, 6), "steps": (5, 2, 3),
    "w": (1, 16, 3), "r": (1, 16, 4), "packed": (5, 1, 4),
    "q": (1, 2, 7, 16), "k": (1, 2, 9, 16), "v": (1, 2, 9, 4), "heads": (1, 2, 7, 4),
}  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "inputs", "output", "attributes", "expected"),
    [
        ("MatMul", "x y", "out", {}, 2 * 4 * 5 * 6),
        ("Einsum", "x y", "out", {"equation": "bij, bjk -> bik"}, 2 * 4 * 5 * 6),
        ("Einsum", "x y", "out", {"equation": "...ij,...jk"}, 2 * 4 * 5 * 6),
        ("Einsum", "x", "out", {"equation": "bij->bji"}, 0),
        ("MatMulInteger", "x y", "out", {}, 2 * 4 * 5 * 6),
        ("QLinearMatMul", "x s z y s z s z", "out", {}, 2 * 4 * 5 * 6),
        ("QLinearConv", "image s z small s z s z", "made", {}, 16 * 9 * 8 * 9),
        ("ConvTranspose", "image kernel", "big", {"group": 2}, 8 * 25 * 2 * 9),
        ("Attention", "q k v", "heads", {}, 2 * 7 * 9 * (16 + 4)),
        ("Mul", "x x", "x", {}, 0),
        ("LSTM", "steps w r", "heads", {}, 5 * 2 * (16 * 3 + 16 * 4)),
        ("com.microsoft.DynamicQuantizeLSTM", "steps w r", "heads", {}, 5 * 2 * (16 * 3 + 16 * 4)),
        ("com.microsoft.FusedConv", "image small", "made", {"activation": "Relu"}, 16 * 9 * 8 * 9),
        ("com.microsoft.NhwcConv", "image small", "made", {}, 16 * 9 * 8 * 9),
        ("com.microsoft.QLinearConv", "image s z small s z s z", "made", {}, 16 * 9 * 8 * 9),
        ("com.microsoft.nchwc.Conv", "image small", "made", {}, 16 * 9 * 8 * 9),
        ("com.microsoft.FusedMatMul", "x y", "out", {"alpha": 0.5}, 2 * 4 * 5 * 6),
        ("com.microsoft.FusedMatMul", "left y", "out", {"transA": 1}, 2 * 4 * 5 * 6),
        ("com.microsoft.FusedGemm", "x y", "out", {}, 2 * 4 * 5 * 6),
        ("com.microsoft.QGemm", "x s z y s z", "out", {}, 2 * 4 * 5 * 6),
        ("com.microsoft.DynamicQuantizeMatMul", "x y", "out", {}, 2 * 4 * 5 * 6),
        ("com.microsoft.MatMulIntegerToFloat", "x y", "out", {}, 2 * 4 * 5 * 6),
        ("com.microsoft.MatMulNBits", "x packed s", "out", {"K": 6, "N": 5}, 2 * 4 * 5 * 6),
        ("com.microsoft.QAttention", "words qkv", "words", {"num_heads": 2}, 2 * 5 * (8 * 24 + 5 * 16)),
        ("com.microsoft.Attention", "words qkv", "words", {"num_heads": 2}, 2 * 5 * (8 * 24 + 5 * 16)),
        ("com.microsoft.MultiHeadAttention", "words keys values", "words", {}, 2 * 5 * 7 * (8 + 6)),
        ("com.microsoft.QLinearAdd", "x s z x s z s z", "x", {}, 0),
    ],
)
def test_every_kind_of_product_costs_what_it_computes(
    kind: str, inputs: str, output: str, attributes: dict, expected: int
) -> None:
    """Whole numbers of 8 bits as floats do: a formula of MACs isn't fooled by another name for the same work."""
    domain, _, name = kind.rpartition(".")
    node = helper.make_node(name, inputs.split(), [output], domain=domain, **attributes)
    assert macs([node], SHAPES, "m.onnx") == expected


UNKNOWN = ("com.microsoft.QMoE", "nowhere.Conv", "Convolution", "DFT", "ai.onnx.ml.SVMClassifier")


@pytest.mark.parametrize("kind", UNKNOWN)
def test_what_an_unknown_operator_costs_is_an_error_that_names_it(kind: str) -> None:
    """Never a silent 0."""
    domain, _, name = kind.rpartition(".")
    with pytest.raises(HarnessError, match=rf"m.onnx: node 'odd' \(.*{name}\): what it costs isn't known"):
        macs([helper.make_node(name, ["x"], ["x"], name="odd", domain=domain)], SHAPES, "m.onnx")


@pytest.mark.parametrize(("inner", "counted"), [("Relu", True), ("MatMul", False)])
def test_a_product_inside_a_loop_isnt_counted_as_nothing(inner: str, counted: bool) -> None:
    """How often it runs isn't in the file; element by element it costs nothing, however often."""
    body = helper.make_graph([helper.make_node(inner, ["x", "x"][: 1 + (not counted)], ["y"])], "body", [], [])
    node = helper.make_node("Loop", ["x"], ["x"], name="loop", body=body)
    if counted:
        assert macs([node], SHAPES, "m.onnx") == 0
        return
    with pytest.raises(HarnessError, match=r"node 'loop' \(Loop\): how often its MatMul runs"):
        macs([node], SHAPES, "m.onnx")


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ({}, "no 'model'; there is nothing"),
        ({"model": {"stages": []}, "classes": 2}, "no 'resolution_px'; there is model, classes"),
        ({"model": {"stages": [{"block": "conv"}]}, "resolution_px": 8, "classes": "two"}, "classes='two'"),
        ({"model": {"stages": [{"block": "conv"}]}, "resolution_px": 0, "classes": 2}, "resolution_px=0"),
        ({"model": "resnet", "resolution_px": 8, "classes": 2}, "model='resnet'"),
        ({"model": {"stages": []}, "resolution_px": 8, "classes": 2}, "competition.reference.model: no stages"),
    ],
)
def test_a_competition_without_a_whole_reference_is_refused(
    reference: dict[str, Any], message: str, tmp_path: Path
) -> None:
    """The missing or wrong part is named."""
    with pytest.raises(HarnessError, match=message):
        reference_model(reference, tmp_path)


def test_the_reference_is_built_once_and_always_alike(tmp_path: Path) -> None:
    """A second call leaves the file; another cache gets the very same bytes."""
    reference = {"model": {"stages": [{"block": "conv", "channels": 8}]}, "resolution_px": 8, "classes": 3}
    first = reference_model(reference, tmp_path / "a")
    stamp = first.stat().st_mtime_ns
    assert reference_model(reference, tmp_path / "a").stat().st_mtime_ns == stamp
    assert reference_model(reference, tmp_path / "b").read_bytes() == first.read_bytes()
    assert reference_model(reference | {"classes": 4}, tmp_path / "a") != first
