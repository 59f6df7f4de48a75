"""A model file is looked at before anything runs it."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper
from squares import SIDE, save_network

from harness.errors import HarnessError
from harness.submission.artefact import check


@pytest.fixture
def network(tmp_path: Path) -> onnx.ModelProto:
    """A sound network."""
    save_network(tmp_path / "model.onnx")
    return onnx.load(str(tmp_path / "model.onnx"))


def test_a_sound_network_passes(network: onnx.ModelProto) -> None:
    """What the harness itself packs is fine, also with weights listed among the inputs, as old files do."""
    check(Path("m"), network.SerializeToString(), SIDE)
    network.graph.input.append(helper.make_tensor_value_info("weight", TensorProto.FLOAT, [3, 3]))
    check(Path("m"), network.SerializeToString(), SIDE)


def test_bytes_that_are_no_network_are_refused() -> None:
    """Random bytes, and an empty file, which protobuf takes for an empty message."""
    with pytest.raises(HarnessError, match="m: not an ONNX file"):
        check(Path("m"), b"\xff\x00 not a model", SIDE)
    with pytest.raises(HarnessError, match="m: not a sound ONNX network"):
        check(Path("m"), b"", SIDE)


def test_weights_in_another_file_are_refused(network: onnx.ModelProto) -> None:
    """A path inside the model could point anywhere; also inside a node's attribute."""
    network.graph.initializer[0].data_location = TensorProto.EXTERNAL
    with pytest.raises(HarnessError, match="m: weights stand in another file"):
        check(Path("m"), network.SerializeToString(), SIDE)
    network.graph.initializer[0].data_location = TensorProto.DEFAULT
    hidden = helper.make_tensor("t", TensorProto.FLOAT, [1], [0.0])
    hidden.data_location = TensorProto.EXTERNAL
    network.graph.node.append(helper.make_node("Constant", [], ["c"], value=hidden))
    with pytest.raises(HarnessError, match="m: weights stand in another file"):
        check(Path("m"), network.SerializeToString(), SIDE)


def test_an_unsound_graph_is_refused(network: onnx.ModelProto) -> None:
    """A node that reads what nothing writes."""
    network.graph.node[1].input[0] = "nowhere"
    with pytest.raises(HarnessError, match="m: not a sound ONNX network: .*nowhere"):
        check(Path("m"), network.SerializeToString(), SIDE)


def test_two_inputs_are_refused(network: onnx.ModelProto) -> None:
    """The judge has images to give and nothing else."""
    network.graph.input.append(helper.make_tensor_value_info("more", TensorProto.FLOAT, [1]))
    with pytest.raises(HarnessError, match="m: 2 inputs and 1 outputs; allowed: one of each"):
        check(Path("m"), network.SerializeToString(), SIDE)


@pytest.mark.parametrize(("side", "batch", "found"), [(16, "N", "'N', 3, 16, 16"), (SIDE, 1, "1, 3, 8, 8")])
def test_another_input_than_the_manifests_is_refused(tmp_path: Path, side: int, batch: int | str, found: str) -> None:
    """Side and free batch are those of the manifest."""
    save_network(tmp_path / "model.onnx", side, batch)
    with pytest.raises(HarnessError, match=rf"the input is FLOAT \[{found}\]; allowed: FLOAT \['N', 3, 8, 8\]"):
        check(tmp_path / "model.onnx", (tmp_path / "model.onnx").read_bytes(), SIDE)
