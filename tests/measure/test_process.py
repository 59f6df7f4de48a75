"""A saved model runs and is timed in a process of its own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from harness.errors import HarnessError
from harness.measure.process import measure, predict
from harness.models.build import build, export_ready
from harness.models.spec import ModelSpec
from harness.runtime.export import export


def network(channels: int, repeat: int = 1, side_px: int = 16) -> nn.Module:
    """Build a plain network."""
    stages = [{"block": "conv", "channels": channels, "repeat": repeat}, {"block": "repvgg", "channels": channels}]
    return build(ModelSpec.from_dict({"stages": stages}), 5, side_px)


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small network's file."""
    return export(network(16), 16, tmp_path_factory.mktemp("reference") / "reference.onnx")


def test_predictions_are_torchs(tmp_path: Path) -> None:
    """Logits of the file equal the network's, more images than one batch holds, in order."""
    model = network(8)
    inputs = np.random.default_rng(0).standard_normal((300, 3, 16, 16), dtype=np.float32)
    found = predict(export(model, 16, tmp_path / "model.onnx"), inputs)
    with torch.no_grad():
        expected = export_ready(model)(torch.from_numpy(inputs)).numpy()
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("content", [b"", b"garbage" * 1000])
def test_a_file_that_is_no_model_is_an_error(content: bytes, reference: Path, tmp_path: Path) -> None:
    """To run and to time it; the path is named and the next measurement works."""
    path = tmp_path / "bad.onnx"
    path.write_bytes(content)
    with pytest.raises(HarnessError, match="bad.onnx"):
        predict(path, np.zeros((1, 3, 16, 16), dtype=np.float32))
    with pytest.raises(HarnessError, match="bad.onnx"):
        measure(path, reference, seconds=0.1)


def test_a_model_that_isnt_there_is_an_error(tmp_path: Path) -> None:
    """Its path is in the message."""
    with pytest.raises(HarnessError, match="nothing.onnx"):
        predict(tmp_path / "nothing.onnx", np.zeros((1, 3, 16, 16), dtype=np.float32))


def test_images_of_another_size_are_an_error(reference: Path) -> None:
    """The shape is named."""
    with pytest.raises(HarnessError, match=r"inputs of shape \(2, 1, 16, 16\)"):
        predict(reference, np.zeros((2, 1, 16, 16), dtype=np.float32))


def test_logits_that_arent_numbers_are_an_error(tmp_path: Path) -> None:
    """A network with a NaN inside is not scored as if it had an opinion."""
    model = network(8)
    nn.init.constant_(next(m for m in model.modules() if isinstance(m, nn.Linear)).bias, float("nan"))
    with pytest.raises(HarnessError, match="finite"):
        predict(export(model, 16, tmp_path / "nan.onnx"), np.zeros((2, 3, 16, 16), dtype=np.float32))


def test_a_run_that_takes_too_long_is_ended(reference: Path) -> None:
    """No process outlives its time."""
    with pytest.raises(HarnessError, match="still running after 0 s"):
        predict(reference, np.zeros((1, 3, 16, 16), dtype=np.float32), timeout_s=0.05)


def test_a_bigger_network_has_the_bigger_ratio(reference: Path, tmp_path: Path) -> None:
    """The reference beside itself is near 1; more of everything is slower than it, and less of it faster.

    Takes some 6 s: three measurements with their warm-up.
    """
    paths = {"same": reference}
    for name, model in (("bigger", network(64, repeat=4)), ("smaller", network(4))):
        paths[name] = export(model, 16, tmp_path / f"{name}.onnx")
    found = {name: measure(path, reference, seconds=0.6) for name, path in paths.items()}
    assert found["smaller"].ratio < found["same"].ratio < found["bigger"].ratio
    assert found["same"].ratio == pytest.approx(1.0, abs=0.2)
    assert found["bigger"].ratio_low > 1.5
    for latency in found.values():
        assert len(latency.samples_ms) == len(latency.reference_ms) == len(latency.wall_ms) >= 10
        assert min(latency.samples_ms) > 0 and latency.machine["cpu"]
