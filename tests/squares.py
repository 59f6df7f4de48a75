"""Coloured squares, a network that tells them apart, and a cheat's hand."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper

from harness.data.split import Images
from harness.record.files import sha256
from harness.record.manifest import MANIFEST

CLASSES = ("red", "green", "blue")
SIDE = 8


def squares(count: int, prefix: str, seed: int) -> Images:
    """Make noisy squares, each brightest in its class's channel; one label in ten is wrong."""
    rng = np.random.default_rng(seed)
    shown = rng.integers(0, 3, count)
    pixels = rng.integers(0, 120, (count, SIDE, SIDE, 3), dtype=np.uint8)
    pixels[np.arange(count), :, :, shown] += 100
    labels = np.where(np.arange(count) % 10 == 0, (shown + 1) % 3, shown)
    return Images(pixels, labels.astype(np.int64), tuple(f"{prefix}-{i:03}" for i in range(count)))


def save_network(path: Path, side: int = SIDE, batch: int | str = "N", classes: int = 3) -> None:
    """Write a network that says which channel is brightest: global average pooling and a linear layer."""
    weight = np.eye(3, dtype=np.float32)[:, np.arange(classes) % 3]
    nodes = [
        helper.make_node("GlobalAveragePool", ["images"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["flat"]),
        helper.make_node("Gemm", ["flat", "weight", "bias"], ["logits"]),
    ]
    weights = {"weight": weight, "bias": np.zeros(classes, dtype=np.float32)}
    graph = helper.make_graph(
        nodes,
        "brightest",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, [batch, 3, side, side])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [batch, classes])],
        [onnx.numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), str(path))


def seal(folder: Path) -> Path:
    """Write the files' present hashes into the manifest, as a cheat would after changing them."""
    path = folder / MANIFEST
    raw = json.loads(path.read_text())
    raw["files"] = {name: sha256(folder / name) for name in raw["files"]}
    path.write_text(json.dumps(raw))
    return folder
