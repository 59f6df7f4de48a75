"""What a model takes is read from its file, whoever wrote it."""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnxruntime
import pytest
import torch

from harness.errors import HarnessError
from harness.runtime.model_input import sized
from harness.runtime.onnx import inputs_of, load
from tests.models_of_others import MAKERS, SIZES, classifier, write

# shape of a run, kind of number, fixed batch, axis of the colours
TAKES = {
    "batch_of_1": ((1, 3, 32, 32), "float32", 1, 1),
    "batch_of_8": ((8, 3, 32, 32), "float32", 8, 1),
    "free_sizes": ((1, 3, 32, 32), "float32", None, 1),
    "all_free": ((1, 1, 32, 32), "float32", None, 1),
    "unknown_rank": ((1, 3, 32, 32), "float32", None, 1),
    "minus_one": ((1, 3, 32, 32), "float32", None, 1),
    "oblong": ((1, 3, 32, 48), "float32", None, 1),
    "gray": ((1, 1, 32, 32), "float32", None, 1),
    "colours_last": ((1, 32, 32, 3), "float32", None, 3),
    "colours_last_free": ((1, 32, 32, 3), "float32", None, 3),
    "all_free_colours_last": ((1, 32, 32, 3), "float32", None, 3),
    "alone": ((3, 32, 32), "float32", 3, 0),
    "alone_colours_last": ((32, 32, 3), "uint8", 32, 2),
    "images_second": ((1, 3, 32, 32), "float32", None, 1),
    "uint8": ((1, 3, 32, 32), "uint8", None, 1),
    "half": ((1, 3, 32, 32), "float16", None, 1),
    "scikit_learn": ((1, 4), "float32", None, None),
    "words": ((1, 12), "int64", None, None),
}


@pytest.mark.parametrize("name", TAKES)
def test_what_a_model_takes_is_what_it_runs_on(name: str, tmp_path: Path) -> None:
    """Shape, kind of number, batch and layout; the engine takes what is made up by them."""
    path = MAKERS[name](tmp_path / "model.onnx")
    images, *others = inputs_of(path, SIZES.get(name))
    assert (images.shape, images.dtype, images.batch, images.colour_axis) == TAKES[name]
    count = images.batch or 3
    load(path, others=others)(images.noise(count))  # no error, of any count of images where the batch is free


@pytest.mark.parametrize("name", SIZES)
def test_free_sizes_are_asked_for_in_the_gates_words(name: str, tmp_path: Path) -> None:
    """With the input, its sizes as they stand, and the setting."""
    path = MAKERS[name](tmp_path / "model.onnx")
    said = r"onnx: its input '\w+' is (FLOAT|INT64|UINT8) .*: allowed: fixed sizes, only the batch free\n.*size="
    with pytest.raises(HarnessError, match=said):
        inputs_of(path)


@pytest.mark.parametrize(
    ("free", "size", "shape"),
    [
        ("023", (48, 64), (1, 3, 48, 64)),
        ("023", (48,), (1, 3, 48, 48)),
        ("02", (48, 32), (1, 3, 48, 32)),
        ("0", (32, 32), (1, 3, 32, 32)),
        ("", (32,), (1, 3, 32, 32)),
    ],
)
def test_a_size_fills_what_is_free(free: str, size: tuple[int, ...], shape: tuple[int, ...], tmp_path: Path) -> None:
    """Height and width, or one number for both; a size that the model has itself may be said too."""
    path = write(tmp_path / "model.onnx", classifier(), torch.zeros(1, 3, 32, 32), free=free)
    assert inputs_of(path, size)[0].shape == shape


@pytest.mark.parametrize(
    ("sizes", "alone"),
    [
        ([3, 8, 8], True), ([3, "H", "W"], True), (["H", "W", 3], True), ([8, 8, 1], True), ([12], True),
        (["N", 8, 8], False), ([1, 28, 28], False), (["N", 28, 3], False), ([1, 128, 3], False), (["N"], False),
    ],
)  # fmt: skip
def test_one_image_without_a_batch_is_told_from_a_batch_of_rows(sizes: list[int | str], alone: bool) -> None:
    """By where its colours are; what isn't plain is a batch."""
    declared = SimpleNamespace(name="x", shape=sizes, type="tensor(float)")
    (images,) = sized(Path("m.onnx"), [declared], (8, 8) if len(sizes) == 3 and "H" in sizes else None)
    assert images.alone == alone and images.noise(images.shape[0]).shape == images.shape


@pytest.mark.parametrize("kind", ["seq(tensor(float))", "tensor(string)", "optional(tensor(float))"])
def test_a_kind_of_input_that_is_no_image_is_said_before_its_sizes_are_asked_for(kind: str) -> None:
    """Nobody is sent for a size that wouldn't help."""
    declared = SimpleNamespace(name="x", shape=[], type=kind)
    with pytest.raises(HarnessError, match=f"its input 'x' is {re.escape(kind)}; allowed: tensor"):
        sized(Path("m.onnx"), [declared])


@pytest.mark.parametrize(("free", "size"), [("0", (64, 64)), ("02", (64, 64)), ("023", (1, 2, 3))])
def test_a_size_that_isnt_the_models_is_refused(free: str, size: tuple[int, ...], tmp_path: Path) -> None:
    """It is never ignored."""
    path = write(tmp_path / "model.onnx", classifier(), torch.zeros(1, 3, 32, 32), free=free)
    with pytest.raises(HarnessError, match="size="):
        inputs_of(path, size)


def test_of_several_outputs_the_first_of_fractions_is_returned(tmp_path: Path) -> None:
    """Labels come before the logits in some files."""
    path = MAKERS["outputs"](tmp_path / "model.onnx")
    x = inputs_of(path)[0].noise(3)
    session = onnxruntime.InferenceSession(str(path))
    np.testing.assert_allclose(load(path)(x), session.run(["logits"], {"images": x})[0], rtol=1e-5)
