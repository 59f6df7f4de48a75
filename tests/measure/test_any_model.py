"""`python -m harness measure` of ONNX files that aren't ours."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper

from harness.errors import HarnessError
from harness.measure import any_model, process
from harness.measure.any_model import figures
from harness.measure.clock import prepared
from harness.measure.cost import macs, macs_of_onnx
from harness.measure.fastest import _checker
from harness.models.build import build
from harness.models.spec import ModelSpec
from harness.rules.competition import Competition
from harness.runtime.export import export
from harness.runtime.model_input import ModelInput
from harness.runtime.onnx import inputs_of
from harness.submission.operators import OPERATORS
from harness.verbs import measure
from tests.models_of_others import MACS, MAKERS, SIZES

COUNTS = {
    "batch_of_8": 8 * MACS,
    "oblong": (MACS - 160) * 48 // 32 + 160,
    "gray": MACS - 16 * 16 * 16 * 2 * 9,
    "all_free": MACS - 16 * 16 * 16 * 2 * 9,
    "map": MACS - 160,
    "scikit_learn": 3 * 4,
    "words": 16 * 4,
}
"""Of those that aren't `classifier` itself."""


@pytest.mark.parametrize("name", MAKERS)
def test_macs_are_those_of_the_network_however_it_is_written(name: str, tmp_path: Path) -> None:
    """Quantised, fused, saved by the engine, of free sizes: the same work; by pen and paper."""
    path = MAKERS[name](tmp_path / "model.onnx")
    assert macs_of_onnx(path, inputs_of(path, SIZES.get(name))) == COUNTS.get(name, MACS)


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small network's file."""
    model = build(ModelSpec.from_dict({"stages": [{"block": "conv", "channels": 16}]}), 5, 16)
    return export(model, 16, tmp_path_factory.mktemp("reference") / "reference.onnx")


# What has to be said of each; where nothing has, the list is empty.
NOTES = {
    "batch_of_8": ["a run is of 8 images, and so are the figures", "no end-to-end time"],
    "free_sizes": [],
    "colours_last": ["takes float32 of 1x32x32x3"],
    "alone": ["takes float32 of 3x32x32", "takes no batch: a run is of one image"],
    "images_second": ["got ones: scale"],
    "uint8": ["takes uint8"],
    "outputs": ["computes 3 outputs", "not compared: label, shares"],
    "scikit_learn": ["not compared: maps", "no end-to-end time"],
    "words": ["got ones: mask", "no end-to-end time"],
}


@pytest.mark.parametrize("name", NOTES)
def test_any_classifier_is_timed_and_what_couldnt_be_done_is_said(
    name: str, reference: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A time for each; no missing figure takes the others away."""
    monkeypatch.setattr(process, "NOISY", 9.0)  # what is looked for is larger than a busy machine's noise
    path = MAKERS[name](tmp_path / "model.onnx")
    found = figures(path, reference, Competition(), seconds=0.1, patience_s=0.0, size=SIZES.get(name))
    assert found["ms"] > 0 and found["macs"] > 0
    assert (found["end_to_end_ms"] is None) == any("end-to-end" in note for note in found["notes"])
    said = " | ".join(found["notes"])
    assert all(note in said for note in NOTES[name]) and bool(found["notes"]) == bool(NOTES[name])
    json.dumps(found)


@pytest.mark.parametrize(
    ("shape", "dtype", "batch", "said"),
    [
        ((1, 3, 8, 8), "float32", 1, "its batch is fixed: a run is of one image"),
        ((1, 1, 8, 8), "float32", None, "takes float32 of 1x1x8x8"),
        ((1, 3, 8, 8), "float16", None, "takes float16 of 1x3x8x8"),
        ((1, 3, 8, 8), "float32", None, ""),
    ],
)
def test_what_is_unlike_an_entry_is_said(shape: tuple[int, ...], dtype: str, batch: int | None, said: str) -> None:
    """And nothing of what is like one."""
    assert " ".join(any_model.unlike([ModelInput("x", shape, dtype, batch)])).startswith(said)
    assert bool(said) == bool(any_model.unlike([ModelInput("x", shape, dtype, batch)]))


def test_an_operator_that_nobody_knows_leaves_the_time_and_is_named(
    reference: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Never a silent 0."""
    monkeypatch.setattr(process, "NOISY", 9.0)
    path = MAKERS["free_sizes"](tmp_path / "model.onnx")
    model = onnx.load(path)
    model.graph.node.insert(0, helper.make_node("Inverse2", ["images"], ["y"], domain="com.microsoft", name="odd"))
    with pytest.raises(HarnessError, match=r"node 'odd' \(com.microsoft.Inverse2\): what it costs isn't known"):
        macs(model.graph.node, {}, "m.onnx")
    counted = macs_of_onnx

    def fails(path: Path, takes: object) -> int:
        raise HarnessError(f"{path}: node 'odd' (com.microsoft.Inverse2): what it costs isn't known", "export")

    monkeypatch.setattr("harness.measure.any_model.macs_of_onnx", fails)
    found = figures(path, reference, Competition(), seconds=0.1, patience_s=0.0, size=(32, 32))
    assert found["macs"] is None and found["ms"] > 0 and "Inverse2" in " ".join(found["notes"])
    assert counted(path, inputs_of(path, (32, 32))) == MACS


@pytest.mark.parametrize(
    "name",
    [
        "batch_of_1",
        "batch_of_8",
        "free_sizes",
        "colours_last",
        "alone",
        "alone_colours_last",
        "images_second",
        "one_at_a_time",
        "uint8",
        "outputs",
        "words",
    ],
)
def test_openvino_is_compared_on_what_the_model_takes(name: str, tmp_path: Path) -> None:
    """A batch that is fixed, or only seems free, isn't asked for another."""
    pytest.importorskip("openvino", reason="OpenVINO isn't installed")
    path = MAKERS[name](tmp_path / "model.onnx")
    assert _checker(path, 1, None, SIZES.get(name))("openvino") is None


def test_auto_says_why_an_engine_was_left_out(reference: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """OpenVINO knows no operator of ONNX Runtime's own."""
    pytest.importorskip("openvino", reason="OpenVINO isn't installed")
    monkeypatch.setattr(process, "NOISY", 9.0)
    path = MAKERS["blocked"](tmp_path / "model.onnx")
    found = figures(path, reference, Competition(runtime="auto"), seconds=0.1, patience_s=0.0)
    assert found["runtime"] == "onnx"
    assert any("not timed with openvino" in note and "com.microsoft.nchwc" in note for note in found["notes"])


@pytest.mark.parametrize("size", ["0,32", "32,abc", "-1", "1.5", ""])
def test_a_size_that_is_none_is_refused(size: str, tmp_path: Path) -> None:
    """Before anything is measured."""
    path = MAKERS["free_sizes"](tmp_path / "model.onnx")
    with pytest.raises(HarnessError, match=f"size={size}: allowed: whole numbers"):
        measure([str(path), f"size={size}"], as_json=True)


def test_free_sizes_are_named_by_the_process_that_would_time_them(reference: Path, tmp_path: Path) -> None:
    """What is said isn't an exit code."""
    path = MAKERS["free_sizes"](tmp_path / "model.onnx")
    with pytest.raises(HarnessError, match=r"model.onnx: its input 'images' is FLOAT .*'axis2', 'axis3'\]: allowed"):
        process.measure(path, reference, seconds=0.1)


@pytest.mark.parametrize(
    ("shape", "dtype"),
    [
        ((1, 3, 8, 8), "float32"),
        ((1, 1, 8, 12), "float32"),
        ((1, 8, 12, 3), "uint8"),
        ((1, 3, 12, 8), "float16"),
        ((3, 8, 12), "float32"),
        ((8, 12, 3), "uint8"),
        ((8, 12, 1), "float32"),
    ],
)
def test_a_photograph_becomes_what_the_model_takes(shape: tuple[int, ...], dtype: str) -> None:
    """Layout, colours, kind of number; of red pixels, the red channel is the bright one."""
    images = ModelInput("x", shape, dtype, None, alone=len(shape) == 3)
    red = np.zeros((16, 16, 3), dtype=np.uint8)
    red[..., 2] = 255  # blue first
    found = prepared(red, images)
    assert found.shape == shape and found.dtype == dtype
    if 3 in shape:
        first, last = found.take(0, images.colour_axis), found.take(2, images.colour_axis)
        assert first.min() > last.max()


def test_every_operator_that_an_entry_may_use_can_be_counted() -> None:
    """The gate lets through nothing that the judge's count then stumbles over."""
    shapes = {"x": (1, 2, 4, 4)}
    for name in sorted(OPERATORS):
        node = helper.make_node(name, ["x"] * 8, ["x"])
        if name == "Einsum":
            node.attribute.append(helper.make_attribute("equation", ",".join(["abcd"] * 8)))
        assert macs([node], shapes, "m.onnx") >= 0
