"""A network is measured once a machine: the same graph is the same latency, another graph never is."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from harness.measure import cache
from harness.models.build import build
from harness.models.spec import ModelSpec
from harness.rules.competition import Competition
from harness.runtime.export import export

COMPETITION = Competition(
    reference={"model": {"stages": [{"block": "conv", "channels": 8}]}, "resolution_px": 8, "classes": 10}
)
STAGE = {"block": "conv", "channels": 8, "stride": 2, "kernel": 3}


@pytest.fixture(scope="module")
def write(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Export a network of one convolution, or of the stages given."""
    folder = tmp_path_factory.mktemp("models")

    def write(*stages: dict[str, Any], seed: int = 0, px: int = 8, classes: int = 10) -> Path:
        spec = ModelSpec.from_dict({"stages": list(stages or (STAGE,))}, "model")
        return export(build(spec, classes, px, seed=seed), px, folder / f"{len([*folder.iterdir()])}.onnx")

    return write


@pytest.mark.parametrize("block", ["conv", "repvgg", "inverted_v3", "ghost"])
def test_two_exports_with_other_weights_are_the_same_graph(write: Callable[..., Path], block: str) -> None:
    """The files themselves differ."""
    stages = [STAGE, {"block": block, "channels": 16}]
    one, other = (write(*stages, seed=seed) for seed in (1, 2))
    assert cache.graph(one) == cache.graph(other)
    assert one.read_bytes() != other.read_bytes()


def test_two_descriptions_of_one_network_are_the_same_graph(write: Callable[..., Path]) -> None:
    """A stage of two blocks, and two stages of one; of three they are another."""
    block = {"block": "conv", "channels": 16}
    twice = cache.graph(write(STAGE, block | {"repeat": 2}))
    assert twice == cache.graph(write(STAGE, block, block))
    assert twice != cache.graph(write(STAGE, block, block, block))


@pytest.mark.parametrize(
    "change",
    [
        {"channels": 16},
        {"stride": 1},
        {"kernel": 5},
        {"repeat": 2},
        {"block": "ghost"},
        {"residual": True, "repeat": 2},
    ],
)
def test_another_network_is_another_graph(write: Callable[..., Path], change: dict[str, Any]) -> None:
    """Whatever of it changes."""
    assert cache.graph(write(STAGE | change)) != cache.graph(write())


def test_another_input_or_output_is_another_graph(write: Callable[..., Path]) -> None:
    """The nodes are the same then, what they work on is not."""
    graphs = [cache.graph(path) for path in (write(), write(px=12), write(classes=12))]
    assert len(set(graphs)) == 3


def by_hand(path: Path, weight: Any = (1, 2, 3), limit: float = 6, shape: Any = (1, 3), kind: Any = np.float32) -> str:
    """The graph of a file with a weight, a limit, a shape and a note."""
    values = {"weight": np.array(weight, kind), "limit": np.array(limit, kind), "shape": np.array(shape, np.int64)}
    nodes = [
        helper.make_node("Mul", ["x", "weight"], ["scaled"], doc_string=f"written at {path}"),
        helper.make_node("Min", ["scaled", "limit"], ["limited"]),
        helper.make_node("Reshape", ["limited", "shape"], ["y"]),
    ]
    ends = [helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(np.dtype(kind)), [3]) for name in "xy"]
    graph = helper.make_graph(
        nodes, "g", ends[:1], ends[1:], [numpy_helper.from_array(v, n) for n, v in values.items()]
    )
    onnx.save(helper.make_model(graph), path)
    return cache.graph(path)


def test_values_that_are_no_weights_belong_to_the_graph(tmp_path: Path) -> None:
    """Shapes and limits are kept apart from weights; who wrote the file, and where, is nobody's concern."""
    first = by_hand(tmp_path / "a.onnx")
    assert by_hand(tmp_path / "b.onnx", weight=(9, 8, 7)) == first
    others = [{"limit": 5}, {"shape": (3, 1)}, {"kind": np.float16}, {"weight": (1,)}]
    assert all(by_hand(tmp_path / "c.onnx", **other) != first for other in others)


def whole_file(model: Path) -> str:
    """Identify a graph as one would at first: by its file."""
    return hashlib.sha256(model.read_bytes()).hexdigest()


def kinds_alone(model: Path) -> str:
    """Identify a graph too broadly: by its operations."""
    return " ".join(node.op_type for node in onnx.load(model).graph.node)


def test_the_checks_notice_a_wrong_hash(write: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """The control of the tests above: a hash of too much, and one of too little."""
    monkeypatch.setattr(cache, "graph", whole_file)
    with pytest.raises(AssertionError):
        test_two_exports_with_other_weights_are_the_same_graph(write, "conv")
    monkeypatch.setattr(cache, "graph", kinds_alone)
    with pytest.raises(AssertionError):
        test_another_network_is_another_graph(write, {"channels": 16})
    with pytest.raises(AssertionError):
        test_another_input_or_output_is_another_graph(write)


def test_a_latency_hangs_on_how_it_is_measured(write: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """Reference, threads, engine, seconds, processor, system and the engines' versions."""
    model, reference = write(), write(STAGE | {"channels": 32})
    keys = [
        cache.key(model, reference, COMPETITION, 1.0),
        cache.key(model, model, COMPETITION, 1.0),
        cache.key(model, reference, replace(COMPETITION, threads=2), 1.0),
        cache.key(model, reference, replace(COMPETITION, runtime="openvino"), 1.0),
        cache.key(model, reference, COMPETITION, 2.0),
    ]
    for name in ("cpu_name", "_distribution"):
        with monkeypatch.context() as patch:
            patch.setattr(cache, name, lambda *_: None)
            keys.append(cache.key(model, reference, COMPETITION, 1.0))
    with monkeypatch.context() as patch:
        patch.setattr(cache.platform, "platform", lambda **_: "Linux-5.10")
        keys.append(cache.key(model, reference, COMPETITION, 1.0))
    assert len(set(keys)) == len(keys)
    assert cache.key(write(seed=7), write(STAGE | {"channels": 32}, seed=8), COMPETITION, 1.0) == keys[0]


def test_a_network_is_measured_once(write: Callable[..., Path], tmp_path: Path) -> None:
    """Over 5 s on a busy machine: two real measurements. A damaged file is measured again; nothing half-written stays.

    The second trial's record names the network that was measured; its raw samples are the first one's.
    """
    reference, first, second = write(STAGE | {"channels": 16}), write(seed=1), write(seed=2)
    made = [cache.timed(tmp_path / "new", model, reference, COMPETITION, 1.0) for model in (first, second)]
    assert made[0] == made[1] and made[0].model == str(first)
    (file,) = (tmp_path / "new").iterdir()
    for damage in (file.read_text()[:-20], "[]", "{}", json.dumps({"model": "m", "runtime": "onnx", "latency": {}})):
        file.write_text(damage)
        if damage == "[]":
            anew = cache.timed(tmp_path / "new", second, reference, COMPETITION, 1.0)
            assert anew.model == str(second) and anew.name != made[0].name
            assert cache.timed(tmp_path / "new", first, reference, COMPETITION, 1.0) == anew
        else:
            assert cache.read(file) is None
    assert [*(tmp_path / "new").iterdir()] == [file]
