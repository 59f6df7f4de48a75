"""A model file is looked at before anything runs it: every hostile one is refused by its rule, honest ones pass."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
import torchvision
from hostile import FILES, IMAGES, LOGITS, SOUND, WEIGHT, model, node
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper
from squares import SIDE
from torch import nn

from harness.errors import HarnessError
from harness.models.build import build, export_ready
from harness.models.spec import ModelSpec
from harness.runtime.export import export
from harness.sandbox.refused import Refused
from harness.submission import gate, operators, sizes, wire

MOST_S, MOST_MB = 10.0, 400  # seen: 170 MB, most of it for numbers that grow in memory
LOOK = Path(__file__).with_name("look.py")


@pytest.fixture(scope="module")
def looks(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """How each file was refused, by name, in a process of its own: what other tests leave would count as memory."""
    folder = tmp_path_factory.mktemp("hostile")
    paths = [folder / str(number) for number in range(len(FILES))]
    for path, (_, built) in zip(paths, FILES.values(), strict=True):
        path.write_bytes(built())
    done = subprocess.run([sys.executable, LOOK, str(SIDE), *paths], stdout=subprocess.PIPE, text=True, check=True)
    return dict(zip(FILES, map(json.loads, done.stdout.splitlines()), strict=True))


@pytest.mark.parametrize("name", FILES)
def test_a_hostile_file_is_refused_by_its_rule(name: str, looks: dict[str, dict[str, Any]]) -> None:
    """In bounded time and memory; the message names the file and says what to do."""
    look = looks[name]
    assert look["reason"] == FILES[name][0], look
    assert look["what"].startswith("m.onnx: ") and look["what"].isprintable() and look["fix"]
    assert look["cpu_s"] < MOST_S
    assert look["peak_mb"] <= MOST_MB


def test_a_machine_that_is_too_busy_refuses_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a judge can't tell is never the entry's fault."""
    monkeypatch.setattr(sizes, "MOST_WALL_S", 0.01)
    with pytest.raises(HarnessError, match="less busy") as told:
        gate.check(Path("m.onnx"), model().SerializeToString(), SIDE)
    assert not isinstance(told.value, Refused)


def test_there_are_enough_of_them() -> None:
    """As many as were asked for, of every rule."""
    assert len(FILES) >= 40
    rules = {
        "format",
        "external-data",
        "control-flow",
        "function",
        "domain",
        "operator",
        "data-dependent",
        "tensor-size",
    }
    assert {reason for reason, _ in FILES.values()} >= rules | {"graph", "metadata", "opset", "input", "shape"}


@pytest.mark.parametrize(
    ("name", "alter"),
    [
        ("Loop", lambda m: (m.setattr(gate, "CONTROL_FLOW", ()), m.setattr(gate, "_check_nodes", lambda graph: None))),
        ("NonZero", lambda m: m.setattr(gate, "OPERATORS", gate.OPERATORS | {"NonZero"})),
        ("size from the image: Slice", lambda m: m.setattr(gate, "_check_shapes_are_blind", lambda graph: None)),
        ("external data, absolute", lambda m: m.setattr(gate, "_check_tensor", lambda tensor: None)),
        ("80 GB Expand", lambda m: [m.setattr(gate, name, 1 << 60) for name in ("LARGEST", "LARGEST_ALL")]),
        ("metadata of 5 MB", lambda m: m.setattr(wire, "walk", lambda content, kind: 0)),
    ],
)
def test_without_its_rule_it_is_not(name: str, alter: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    """The negative control: the file passes, or another rule has to catch it."""
    alter(monkeypatch)
    reason, built = FILES[name]
    try:
        gate.check(Path("m.onnx"), built(), SIDE)
    except Refused as e:
        assert e.reason != reason


def written(network: nn.Module, side: int, opset: int = 17) -> bytes:
    """Export a network as users do."""
    file = io.BytesIO()
    names = {
        "input_names": ["images"],
        "output_names": ["logits"],
        "dynamic_axes": {"images": {0: "N"}, "logits": {0: "N"}},
    }
    torch.onnx.export(
        network.eval(), (torch.zeros(1, 3, side, side),), file, dynamo=False, opset_version=opset, **names
    )
    return file.getvalue()


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("name", "opset"),
    [("resnet18", 11), ("mobilenet_v3_small", 13), ("efficientnet_b0", 17), ("shufflenet_v2_x0_5", 17)],
)
def test_torchvisions_networks_pass(name: str, opset: int) -> None:
    """With a free batch. Over 5 s in all: exports of whole networks."""
    content = written(getattr(torchvision.models, name)(num_classes=10), 64, opset)
    assert gate.check(Path("m"), content, 64).classes == 10


@pytest.mark.filterwarnings("ignore")
def test_multiply_accumulates_are_counted_where_shapes_are_worked_out() -> None:
    """Of a network whose channels are shuffled, too: 41 million. Source: https://arxiv.org/abs/1807.11164 (table 8)"""
    content = written(torchvision.models.shufflenet_v2_x0_5(), 224)
    assert 40e6 < gate.check(Path("m"), content, 224).macs < 42e6


BLOCKS = [
    {"block": "conv", "channels": 8, "stride": 2}, {"block": "inverted_v3", "channels": 8, "stride": 2},
    {"block": "mbconv", "channels": 8}, {"block": "ghost", "channels": 8}, {"block": "fire", "channels": 8},
    {"block": "shufflev2", "channels": 8}, {"block": "dwconv", "channels": 8}, {"block": "repvgg", "channels": 8},
    {"block": "bottleneck", "channels": 8}, {"block": "conv", "channels": 8, "repeat": 2, "residual": True},
]  # fmt: skip


@pytest.mark.parametrize("stage", BLOCKS, ids=lambda s: s["block"])
def test_the_harness_own_blocks_pass(stage: dict, tmp_path: Path) -> None:
    """As `export` writes them."""
    spec = ModelSpec.from_dict({"stages": [{"block": "conv", "channels": 8}, stage]}, "test")
    path = export(export_ready(build(spec, 3, 16)), 16, tmp_path / "m.onnx")
    assert gate.check(path, path.read_bytes(), 16).classes == 3


def test_an_int8_network_passes(tmp_path: Path) -> None:
    """As ONNX Runtime's own quantiser writes it (QDQ)."""
    from onnxruntime import quantization

    net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 3))
    path, small = export(net, SIDE, tmp_path / "m.onnx"), tmp_path / "int8.onnx"

    class Images(quantization.CalibrationDataReader):
        left = 4

        def get_next(self) -> dict | None:
            self.left -= 1
            return {"images": np.random.rand(1, 3, SIDE, SIDE).astype(np.float32)} if self.left >= 0 else None

    quantization.quantize_static(str(path), str(small), Images(), quant_format=quantization.QuantFormat.QDQ)
    assert gate.check(small, small.read_bytes(), SIDE).classes == 3


def test_weights_listed_among_the_inputs_pass() -> None:
    """As old files have them."""
    made = model()
    made.graph.input.append(helper.make_tensor_value_info("weight", TensorProto.FLOAT, [3, 3]))
    assert gate.check(Path("m"), made.SerializeToString(), SIDE).classes == 3


def test_a_shape_that_follows_the_images_shape_passes() -> None:
    """What is refused is a size that hangs on what is in the image."""
    nodes = [node("Shape", ["images"], ["size"]), node("ConstantOfShape", ["size"], ["zeros"])]
    graph = helper.make_graph([*nodes, *SOUND], "g", [IMAGES], [LOGITS], [WEIGHT])
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    assert gate.check(Path("m"), made.SerializeToString(), SIDE).classes == 3


def test_every_allowed_operator_is_the_standards() -> None:
    """A misspelt one would allow nothing."""
    known = {schema.name for schema in onnx.defs.get_all_schemas_with_history() if schema.domain == ""}
    assert known >= operators.OPERATORS and not operators.OPERATORS & operators.CONTROL_FLOW
    assert known >= set(operators.SHAPED_BY) | operators.BLIND


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_damaged_bytes_are_refused_or_still_a_network(data: st.DataObject) -> None:
    """Nothing but a refusal comes of any change to a sound file, up to the part that runs in a process of its own."""
    content = bytearray(model().SerializeToString())
    for _ in range(data.draw(st.integers(1, 6))):
        at = data.draw(st.integers(0, len(content) - 1))
        content[at : at + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=4))
        if not content:
            break
    before = gate.sizes_of
    gate.sizes_of = lambda content: {"classes": 3, "macs": 0, "largest_bytes": 0, "all_bytes": 0}
    try:
        gate.check(Path("m"), bytes(content), SIDE)
    except Refused as e:
        assert e.reason and e.what
    finally:
        gate.sizes_of = before
