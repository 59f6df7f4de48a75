"""What a model takes for one run: each input with all of its sizes and its kind of number."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from harness.errors import HarnessError

KINDS = {
    "tensor(float)": "float32", "tensor(double)": "float64", "tensor(float16)": "float16", "tensor(bool)": "bool",
    **{f"tensor({sign}int{bits})": f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)},
}  # fmt: skip
"""ONNX Runtime's names of the kinds of number, and numpy's."""
COLOURS = (1, 3)
"""How many channels tell that an axis is that of the colours."""


@dataclass(frozen=True)
class ModelInput:
    """An input of a model for one run.

    shape: all sizes, the batch first. dtype: numpy's name. batch: how long the first axis of a run is; None where it is
    free, and `shape` begins with 1 then. alone: a run is of one image, and no axis is the batch's: (3, H, W) or
    (H, W, 3); `batch` is the first axis's size all the same, and images lie one behind another along it.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    batch: int | None
    alone: bool = False

    @property
    def images(self) -> int:
        """How many images a run takes."""
        return 1 if self.alone else self.shape[0]

    @property
    def colour_axis(self) -> int | None:
        """Say which axis has the colours: 1 (NCHW) or 3 (NHWC), one less where it is alone; None if it is no image."""
        first = len(self.shape) - 3
        if first != (0 if self.alone else 1):
            return None
        return next((axis for axis in (first, first + 2) if self.shape[axis] in COLOURS), None)

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of an image."""
        first = len(self.shape) - 3
        height = first + (self.colour_axis == first)
        return self.shape[height], self.shape[height + 1]

    def noise(self, count: int) -> np.ndarray:
        """Make up (count, ...): normal numbers, or whole ones of one byte; 1 where it has no height and width."""
        random, shape = np.random.default_rng(0), (count, *self.shape[1:])
        kind = np.dtype(self.dtype)
        if kind.kind == "f":
            return random.standard_normal(shape, dtype=np.float32).astype(kind, copy=False)
        if len(self.shape) < (3 if self.alone else 4):
            return self.ones(count)  # a mask that hides nothing, a word of any vocabulary
        return random.integers(0, 128 if kind == np.int8 else 256, shape).astype(kind)

    def ones(self, count: int) -> np.ndarray:
        """Make an input beside the images: 1 everywhere."""
        return np.ones((count, *self.shape[1:]) if self.batch is None else self.shape, dtype=self.dtype)


def sized(path: Path, declared: Sequence[Any], size: Sequence[int] | None = None) -> tuple[ModelInput, ...]:
    """Give all inputs of a model their sizes. declared: ONNX Runtime's: name, shape and type.

    size: height and width of the images, one number for both, or all free sizes of an input that is no image.

    Raises:
        HarnessError: sizes are free and none is given; the size given isn't the model's; an input is no tensor.
    """
    if not declared:
        raise HarnessError(f"{path}: takes no input", "export a network that takes images")
    images = next((one for one in declared if len(one.shape) == 4), declared[0])  # a scale or a flag may stand first
    first = _first(path, images, size)
    named = dict(zip(images.shape, first.shape, strict=False))
    return first, *(_further(path, one, named) for one in declared if one is not images)


def _first(path: Path, declared: Any, size: Sequence[int] | None) -> ModelInput:
    kind = _kind(path, declared)
    given = [d if isinstance(d, int) and d > 0 else None for d in declared.shape]
    if not given and size:  # of unknown rank
        given = [None] * 4
    alone = _is_alone(given)
    whole = [1, *given] if alone else given
    filled = _images(path, declared, whole, size) if len(whole) == 4 else _flat(path, declared, whole, size)
    if any(d is None for d in filled[1:]) or not given:
        raise HarnessError(f"{_said(path, declared)}: allowed: fixed sizes, only the batch free", _fix(whole))
    shape = tuple(filled[1:]) if alone else (filled[0] or 1, *filled[1:])
    return ModelInput(declared.name, shape, kind, shape[0] if alone else filled[0], alone)


def _is_alone(given: list[int | None]) -> bool:
    """Tell whether sizes are those of one image without a batch, (3, H, W) or (H, W, 3), or of one row of numbers.

    One gray image with the colours first could as well be a batch of one of anything else.
    """
    if len(given) != 3:
        return len(given) == 1 and given[0] is not None
    return given[0] == 3 or (given[2] in COLOURS and given[0] != 1 and (given[0] is None) == (given[1] is None))


def _images(path: Path, declared: Any, given: list[int | None], size: Sequence[int] | None) -> list[int | None]:
    """Put height and width where an image has them. given: the batch first."""
    last = given[3] in COLOURS and given[1] not in COLOURS
    channels = 0
    if size and not last and given[1] is None:
        last, channels = _first_convolution(path)
    axes, colours = ((1, 2), 3) if last else ((2, 3), 1)
    found = list(given)
    if size is None:
        return found
    if len(size) > 2:
        raise HarnessError(f"size={_text(size)}: {_said(path, declared)}", "give height and width: size=H,W")
    for axis, side in zip(axes, (size[0], size[-1]), strict=True):
        if found[axis] not in (None, side):
            own = ",".join(str(given[a] or "free") for a in axes)
            raise HarnessError(f"size={_text(size)}: {path} takes {own}", "leave size out, or give the model's own")
        found[axis] = side
    if found[colours] is None:
        found[colours] = channels
    return found


def _flat(path: Path, declared: Any, given: list[int | None], size: Sequence[int] | None) -> list[int | None]:
    """Fill the free sizes, the batch aside, in their order."""
    free = [axis for axis, d in enumerate(given) if d is None and axis]
    if size is None:
        return given
    if len(size) not in (1, len(free)) or not free:
        what = f"size={_text(size)}: {_said(path, declared)}: {len(free)} sizes are free beside the batch"
        raise HarnessError(what, "give as many numbers, or none where none is free")
    sizes = dict(zip(free, size if len(size) > 1 else size * len(free), strict=True))
    return [sizes.get(axis, d) for axis, d in enumerate(given)]


def _further(path: Path, declared: Any, named: dict[Any, int]) -> ModelInput:
    """Give an input beside the images its sizes: numbers, or names that the images' input has too."""
    shape = [named.get(d) if isinstance(d, str) else d if d and d > 0 else None for d in declared.shape]
    fixed = bool(declared.shape) and isinstance(declared.shape[0], int)
    if shape and shape[0] is None:
        shape[0] = 1
    if None in shape:
        what = f"{_said(path, declared)}: its sizes don't follow from those of the first input"
        raise HarnessError(what, "export the model with fixed sizes; only the batch may be free")
    return ModelInput(declared.name, tuple(shape), _kind(path, declared), shape[0] if fixed or not shape else None)


def _first_convolution(path: Path) -> tuple[bool, int]:
    """Tell whether the axes are turned before it, as for colours that come last, and how many channels it takes.

    3 where there is none.
    """
    import onnx  # here alone: the process of a measurement seldom needs it

    graph = onnx.shape_inference.infer_shapes(onnx.load(str(path), load_external_data=False)).graph
    shapes = {weight.name: list(weight.dims) for weight in graph.initializer}
    for value in graph.value_info:  # weights that are unpacked first
        shapes.setdefault(value.name, [dim.dim_value for dim in value.type.tensor_type.shape.dim])
    turned = False
    for node in graph.node:
        turned |= node.op_type == "Transpose" and any(list(a.ints) == [0, 3, 1, 2] for a in node.attribute)
        at = {"Conv": 1, "FusedConv": 1, "ConvInteger": 1, "QLinearConv": 3}.get(node.op_type)
        if at and len(shape := shapes.get(node.input[at], [])) == 4:
            groups = next((a.i for a in node.attribute if a.name == "group"), 1)
            return turned, shape[1] * groups
    return turned, 3


def _kind(path: Path, declared: Any) -> str:
    if declared.type not in KINDS:
        what = f"{path}: its input '{declared.name}' is {declared.type}; allowed: {', '.join(KINDS)}"
        raise HarnessError(what, "export the model with images as its input")
    return KINDS[declared.type]


def _said(path: Path, declared: Any) -> str:
    shape = list(declared.shape) if declared.shape else "of unknown rank"
    kind = declared.type.removeprefix("tensor(").removesuffix(")").upper()
    return f"{path}: its input '{declared.name}' is {kind} {shape}"


def _fix(given: list[int | None]) -> str:
    form = "size=H,W" if len(given) in (0, 4) else "size=N"
    return f"say which: {form}, or export the model with fixed sizes"


def _text(size: Sequence[int]) -> str:
    return ",".join(map(str, size))
