"""A small network of our own that is timed beside the reference now and then: how far it moves, measurements lie apart.

The reference beside itself would say too little: whatever moves one network and not another leaves it alone.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from harness.record import files

SIDE_PX = 16
CHANNELS = (32, 64, 64, 64)
STRIDES = (1, 2, 1, 2)
CLASSES = 10
SECONDS = 1.0
PATIENCE_S = 5.0
"""What a measurement of it takes, about, and how long it waits for a clean time."""


def control_model(folder: Path) -> Path:
    """Return the ONNX file of the control network, writing it once a folder: four convolutions, and a classifier."""
    path = folder / f"control-{'-'.join(map(str, CHANNELS))}.onnx"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        files.write(path, _network().SerializeToString())
    return path


def _network() -> onnx.ModelProto:
    random = np.random.default_rng(0)  # weights don't matter for time
    weights, nodes, came, channels = [], [], "image", 3

    def weight(name: str, *shape: int) -> str:
        values = random.standard_normal(shape, dtype=np.float32) / np.sqrt(np.prod(shape[1:]))
        weights.append(numpy_helper.from_array(values.astype(np.float32), name))
        return name

    for i, (out, stride) in enumerate(zip(CHANNELS, STRIDES, strict=True)):
        taken = [came, weight(f"w{i}", out, channels, 3, 3)]
        nodes.append(helper.make_node("Conv", taken, [f"c{i}"], strides=[stride] * 2, pads=[1] * 4))
        nodes.append(helper.make_node("Relu", [f"c{i}"], [f"r{i}"]))
        came, channels = f"r{i}", out
    nodes.append(helper.make_node("GlobalAveragePool", [came], ["pooled"]))
    nodes.append(helper.make_node("Flatten", ["pooled"], ["flat"]))
    nodes.append(helper.make_node("Gemm", ["flat", weight("w", CLASSES, channels)], ["logits"], transB=1))
    shapes = {"image": ("N", 3, SIDE_PX, SIDE_PX), "logits": ("N", CLASSES)}
    image, logits = (helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in shapes.items())
    graph = helper.make_graph(nodes, "control", [image], [logits], weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
