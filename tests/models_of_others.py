"""ONNX files as other people's tools write them: layouts, kinds of number, free sizes, outputs of other kinds."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
from onnx import TensorProto, helper
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, quantize_dynamic, quantize_static
from torch import Tensor, nn

MACS = 16 * 16 * (16 * 3 * 9 + 16 * 9) + 16 * 10
"""Of `classifier` for an image of 32 x 32: a 3x3 at stride 2, a depthwise 3x3, a linear layer."""


def classifier(channels: int = 3) -> nn.Module:
    """A small network of the usual layers."""
    torch.manual_seed(0)
    body = (nn.Conv2d(channels, 16, 3, 2, 1), nn.ReLU(), nn.Conv2d(16, 16, 3, 1, 1, groups=16), nn.ReLU())
    return nn.Sequential(*body, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 10)).eval()


class Around(nn.Module):
    """A network with something before and after it."""

    def __init__(self, before: Callable[[Tensor], Tensor], inner: nn.Module, after: Callable[[Tensor], object]) -> None:
        super().__init__()
        self.before, self.inner, self.after = before, inner, after

    def forward(self, x: Tensor) -> object:
        return self.after(self.inner(self.before(x)))


def write(path: Path, model: nn.Module, x: Tensor, free: str = "0", outputs: tuple[str, ...] = ("logits",)) -> Path:
    """Export with torch; free: the axes of the input without a size."""
    axes = {int(axis): f"axis{axis}" for axis in free}
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            model, (x,), str(path), dynamo=False, opset_version=17, input_names=["images"],
            output_names=list(outputs), dynamic_axes={"images": axes} if axes else None,
        )  # fmt: skip
    return path


def changed(path: Path, change: Callable[[onnx.ModelProto], object]) -> Path:
    """Change a file in place."""
    model = onnx.load(path)
    change(model)
    onnx.save(model, path)
    return path


def optimised(path: Path, level: onnxruntime.GraphOptimizationLevel) -> Path:
    """Have ONNX Runtime save what it makes of a file; it takes the file's place."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level, options.log_severity_level = level, 3
    options.optimized_model_filepath = str(path.with_suffix(".saved.onnx"))
    onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return path.with_suffix(".saved.onnx")


class Noise(CalibrationDataReader):
    """Two images to calibrate a quantisation with."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        random = np.random.default_rng(0)
        self.rows = iter([{"images": random.standard_normal(shape, dtype=np.float32)} for _ in range(2)])

    def get_next(self) -> dict[str, np.ndarray] | None:
        """Return the next one."""
        return next(self.rows, None)


def quantised(path: Path, how: QuantFormat | None) -> Path:
    """Quantise a file with ONNX Runtime, dynamically without a format; beside the file."""
    found = path.with_suffix(".int8.onnx")
    if how is None:
        quantize_dynamic(str(path), str(found))
    else:
        quantize_static(str(path), str(found), Noise((1, 3, 32, 32)), quant_format=how)
    return found


def of_scikit_learn(path: Path) -> Path:
    """A linear classifier of four features, as skl2onnx writes it: a label, and a sequence of maps."""
    nodes = [
        helper.make_node(
            "LinearClassifier", ["x"], ["label", "p"], domain="ai.onnx.ml", coefficients=[0.1] * 12,
            intercepts=[0.0] * 3, classlabels_ints=[0, 1, 2], multi_class=0, post_transform="SOFTMAX",
        ),
        helper.make_node("ZipMap", ["p"], ["maps"], domain="ai.onnx.ml", classlabels_int64s=[0, 1, 2]),
    ]  # fmt: skip
    number = helper.make_tensor_type_proto(TensorProto.FLOAT, [])
    maps = helper.make_sequence_type_proto(helper.make_map_type_proto(TensorProto.INT64, number))
    outputs = [
        helper.make_tensor_value_info("label", TensorProto.INT64, ["N"]),
        helper.make_value_info("maps", maps),
    ]
    graph = helper.make_graph(
        nodes, "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 4])], outputs
    )  # fmt: skip
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 3)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8), path)
    return path


class Alone(nn.Module):
    """A classifier of one image without a batch."""

    def __init__(self, *order: int) -> None:
        super().__init__()
        self.inner, self.order = classifier(), order

    def forward(self, image: Tensor) -> Tensor:
        return self.inner(image.permute(*self.order).float()[None])[0]


class Scaled(nn.Module):
    """A classifier whose images are the second input."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = classifier()

    def forward(self, scale: Tensor, images: Tensor) -> Tensor:
        return self.inner(images * scale[..., None, None])


def of_scaled(path: Path) -> Path:
    """A scale comes before the images, whose height and width are free."""
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            Scaled(), (torch.ones(1, 1), torch.zeros(IMAGE)), str(path), dynamo=False, opset_version=17,
            input_names=["scale", "images"], output_names=["logits"],
            dynamic_axes={"scale": {0: "N"}, "images": {0: "N", 2: "H", 3: "W"}},
        )  # fmt: skip
    return path


class Words(nn.Module):
    """A classifier of words with a mask."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.head = nn.Embedding(50, 16), nn.Linear(16, 4)

    def forward(self, words: Tensor, mask: Tensor) -> Tensor:
        return self.head((self.table(words) * mask.float()[..., None]).mean(1))


def of_words(path: Path) -> Path:
    """Two inputs of whole numbers, of any length."""
    ones, axes = torch.ones(1, 12, dtype=torch.long), {0: "N", 1: "S"}
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            Words(), (ones, ones), str(path), dynamo=False, opset_version=17, input_names=["words", "mask"],
            dynamic_axes={"words": axes, "mask": axes},
        )  # fmt: skip
    return path


def _unknown_rank(model: onnx.ModelProto) -> None:
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.ClearField("shape")
    del model.graph.value_info[:]


def _minus_one(model: onnx.ModelProto) -> None:
    """Write free sizes as paddle2onnx does."""
    for dim in model.graph.input[0].type.tensor_type.shape.dim:
        if dim.dim_param:
            dim.dim_value = -1


def _external(path: Path) -> Path:
    onnx.save(
        onnx.load(path), path, save_as_external_data=True, location=f"{path.stem}.weights", size_threshold=0
    )  # fmt: skip
    return path


def as_is(x: object) -> object:
    """Change nothing."""
    return x


IMAGE = (1, 3, 32, 32)
MAKERS: dict[str, Callable[[Path], Path]] = {
    "batch_of_1": lambda p: write(p, classifier(), torch.zeros(IMAGE), free=""),
    "batch_of_8": lambda p: write(p, classifier(), torch.zeros(8, 3, 32, 32), free=""),
    "free_sizes": lambda p: write(p, classifier(), torch.zeros(IMAGE), free="023"),
    "all_free": lambda p: write(p, classifier(1), torch.zeros(1, 1, 32, 32), free="0123"),
    "unknown_rank": lambda p: changed(write(p, classifier(), torch.zeros(IMAGE)), _unknown_rank),
    "minus_one": lambda p: changed(write(p, classifier(), torch.zeros(IMAGE), free="023"), _minus_one),
    "oblong": lambda p: write(p, classifier(), torch.zeros(1, 3, 32, 48)),
    "gray": lambda p: write(p, classifier(1), torch.zeros(1, 1, 32, 32)),
    "colours_last": lambda p: write(
        p, Around(lambda x: x.permute(0, 3, 1, 2), classifier(), as_is), torch.zeros(1, 32, 32, 3)
    ),
    "colours_last_free": lambda p: write(
        p, Around(lambda x: x.permute(0, 3, 1, 2), classifier(), as_is), torch.zeros(1, 32, 32, 3), free="012"
    ),
    "all_free_colours_last": lambda p: quantised(
        write(
            p, Around(lambda x: x.permute(0, 3, 1, 2), classifier(), as_is), torch.zeros(1, 32, 32, 3), free="0123"
        ), None,
    ),
    "alone": lambda p: write(p, Alone(0, 1, 2), torch.zeros(3, 32, 32), free=""),
    "alone_colours_last": lambda p: write(
        p, Alone(2, 0, 1), torch.zeros(32, 32, 3, dtype=torch.uint8), free="01"
    ),
    "images_second": of_scaled,
    "one_at_a_time": lambda p: write(p, Around(as_is, classifier(), lambda y: y.reshape(1, 10)), torch.zeros(IMAGE)),
    "uint8": lambda p: write(
        p, Around(lambda x: x.float() / 255, classifier(), as_is), torch.zeros(IMAGE, dtype=torch.uint8)
    ),
    "half": lambda p: write(
        p, Around(lambda x: x.float(), classifier(), lambda y: y.half()), torch.zeros(IMAGE, dtype=torch.half)
    ),
    "outputs": lambda p: write(
        p, Around(as_is, classifier(), lambda y: (y.argmax(1), y, y.softmax(1))), torch.zeros(IMAGE),
        outputs=("label", "logits", "shares"),
    ),
    "map": lambda p: write(p, classifier()[:5], torch.zeros(IMAGE)),
    "external": lambda p: _external(write(p, classifier(), torch.zeros(IMAGE))),
    "scikit_learn": of_scikit_learn,
    "words": of_words,
    "dynamic": lambda p: quantised(write(p, classifier(), torch.zeros(IMAGE)), None),
    "qdq": lambda p: quantised(write(p, classifier(), torch.zeros(IMAGE)), QuantFormat.QDQ),
    "qoperator": lambda p: quantised(write(p, classifier(), torch.zeros(IMAGE)), QuantFormat.QOperator),
    "fused": lambda p: optimised(
        write(p, classifier(), torch.zeros(IMAGE)), onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    ),
    "blocked": lambda p: optimised(
        write(p, classifier(), torch.zeros(IMAGE)), onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    ),
    "fused_qdq": lambda p: optimised(
        quantised(write(p, classifier(), torch.zeros(IMAGE)), QuantFormat.QDQ),
        onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED,
    ),
}  # fmt: skip
"""By what is unlike our own files: each writes one and returns its path."""
SIZES = {
    "free_sizes": (32, 32), "all_free": (32, 32), "unknown_rank": (32, 32), "minus_one": (32,),
    "colours_last_free": (32, 32), "all_free_colours_last": (32, 32), "alone_colours_last": (32, 32),
    "images_second": (32, 32), "words": (12,),
}  # fmt: skip
"""What `size=` has to say for those whose sizes are free."""
