"""A candidate's file is read as what it says, or refused by name; whoever writes one by hand makes mistakes."""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from harness.errors import HarnessError
from harness.models.build import build
from harness.record.run_folder import read_candidate
from harness.train.optimizers import optimizer_of

GOOD = {
    "model": {"stages": [{"block": "conv", "channels": 8, "repeat": 1, "stride": 2, "stride_on": "first"}]},
    "resolution_px": 8,
    "augment": {"n": 0, "m": 0, "flip": False, "crop": 0.1, "cutout": 0.0},
    "recipe": {
        "epochs": 1, "batch": 32, "weight_decay": 0.0, "schedule": "cosine", "label_smoothing": 0.0, "ema": 0.0,
        "start": "he", "optimizer": {"name": "sgd", "lr": 0.1, "momentum": 0.9, "nesterov": True},
    },
}  # fmt: skip
STRANGE = (None, "x", [], [1], {"a": 1}, -1, 0, 1.5, math.nan, math.inf, True)


def paths(node: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """All that stands in a tree, by path."""
    yield path
    if isinstance(node, dict | list):
        for key, inner in node.items() if isinstance(node, dict) else enumerate(node):
            yield from paths(inner, (*path, key))


def changed(path: tuple[Any, ...], value: Any) -> Any:
    """The good one with another value at a path."""
    if not path:
        return value
    tree = copy.deepcopy(GOOD)
    node: Any = tree
    for key in path[:-1]:
        node = node[key]
    node[path[-1]] = value
    return tree


@pytest.mark.parametrize("path", [*paths(GOOD)], ids=lambda path: ".".join(map(str, path)) or "all")
def test_a_strange_value_is_a_mistake_that_is_named_and_no_crash(path: tuple[Any, ...], tmp_path: Path) -> None:
    """Wherever it stands: it is refused, or what it makes is a network that can be trained."""
    file = tmp_path / "candidate.json"
    for value in STRANGE:
        file.write_text(json.dumps(changed(path, value)))
        try:
            candidate = read_candidate(file)
            model = build(candidate.model, 10, candidate.resolution_px)
            optimizer_of(candidate.recipe, model)
        except HarnessError as e:
            assert not path or str(path[-1]) in e.what or "stages" in e.what


def test_the_good_one_is_read_and_rebuilt(tmp_path: Path) -> None:
    """So that the mistakes are those of the strange values."""
    file = tmp_path / "candidate.json"
    file.write_text(json.dumps(GOOD))
    assert read_candidate(file).to_dict() == GOOD


def test_a_resolution_is_taken_as_it_stands(tmp_path: Path) -> None:
    """It was cut to a whole number in silence."""
    file = tmp_path / "candidate.json"
    file.write_text(json.dumps(GOOD | {"resolution_px": 8.9}))
    with pytest.raises(HarnessError, match=r"resolution_px=8.9: allowed: a whole number, 1 to 1,024"):
        read_candidate(file)


def test_what_is_no_text_is_no_candidate(tmp_path: Path) -> None:
    """Such as a model's file that was named by mistake."""
    file = tmp_path / "model.onnx"
    file.write_bytes(b"\x08\xff\x00")
    with pytest.raises(HarnessError, match=r"candidate=.*model.onnx:1: not UTF-8 text"):
        read_candidate(file)
