"""An ONNX file as a torch module, for the engines that are torch's own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import torch
from google.protobuf.message import DecodeError
from torch import Tensor, fx, nn
from torch.nn import functional as F

from harness.errors import HarnessError

FIX = "choose runtime=onnx, which knows every operator"


def network(path: Path) -> nn.Module:
    """Read an ONNX file as a torch module: float32 (N, 3, R, R) to float32 logits (N, classes).

    A library for this exists (onnx2torch), but has had no release since 2024; the operators that a classifier needs
    fit on this page.

    Raises:
        HarnessError: it is no ONNX network, or has an operator that isn't in `OPERATORS`.
    """
    try:
        model = onnx.load(str(path))
        onnx.checker.check_model(model)
    except (OSError, DecodeError, onnx.checker.ValidationError) as e:
        reason = (str(e).strip() or type(e).__name__).splitlines()[0]
        raise HarnessError(f"{path}: not a sound ONNX network: {reason}", "export the model again") from e
    # Traced once, the walk over the nodes becomes straight code.
    return fx.symbolic_trace(_Nodes(model.graph, path)).eval()


class _Nodes(nn.Module):
    """The nodes of a graph, run one by one."""

    def __init__(self, graph: onnx.GraphProto, path: Path) -> None:
        super().__init__()
        self.graph, self.path = graph, path
        self.known: dict[str, Any] = {"": None}  # weights as tensors; shapes, sizes and single numbers as plain ones
        constants = {
            node.output[0]: attribute.t
            for node in graph.node
            for attribute in node.attribute
            if node.op_type == "Constant" and attribute.name == "value"
        }
        for name, tensor in ({i.name: i for i in graph.initializer} | constants).items():
            value = torch.from_numpy(onnx.numpy_helper.to_array(tensor).copy())
            plain = value.dim() == 0 or not value.is_floating_point()
            self.known[name] = value.tolist() if plain else value
            if not plain:
                self.register_buffer(f"weight{len(self.known)}", value)

    def forward(self, images: Tensor) -> Tensor:
        names = [i.name for i in self.graph.input if i.name not in self.known]
        if len(names) != 1:
            raise HarnessError(f"{self.path}: {len(names)} inputs; allowed: one", "export a model of images alone")
        values = self.known | {names[0]: images}
        for node in self.graph.node:
            if node.output[0] not in self.known:
                values |= self._run(node, [values[name] for name in node.input])
        return values[self.graph.output[0].name]

    def _run(self, node: onnx.NodeProto, inputs: list[Any]) -> dict[str, Any]:
        where = f"{self.path}: node '{node.name}'"
        if node.domain or node.op_type not in OPERATORS:
            raise HarnessError(f"{where}: {node.op_type} is no operator that torch is taught here", FIX)
        attributes = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
        try:
            out = OPERATORS[node.op_type](*inputs, **attributes)
            return dict(zip(node.output, out if isinstance(out, tuple) else (out,), strict=True))
        except (TypeError, ValueError) as e:  # its form isn't one that the function in the table takes
            raise HarnessError(f"{where}: {node.op_type} in a form that torch can't take: {e}", FIX) from e


def _even(pads: list[int]) -> list[int]:
    """Turn (top, left, bottom, right) into torch's (top, left)."""
    half = len(pads) // 2
    if pads[:half] != pads[half:]:
        raise ValueError(f"pads {pads}")
    return pads[:half]


def _conv(x, weight, bias=None, *, kernel_shape=None, strides=1, pads=(0, 0), dilations=1, group=1):
    return F.conv2d(x, weight, bias, strides, _even(list(pads)), dilations, group)


def _gemm(x, weight, bias=None, *, alpha=1.0, beta=1.0, transB=0):
    if (alpha, beta) != (1.0, 1.0):
        raise ValueError(f"alpha {alpha}, beta {beta}")
    return F.linear(x, weight if transB else weight.t(), bias)


def _norm(x, weight, bias, mean, var, *, epsilon=1e-5, momentum=0.9, training_mode=0):
    return F.batch_norm(x, mean, var, weight, bias, eps=epsilon)


def _max_pool(x, *, kernel_shape, strides=(1, 1), pads=(0, 0), dilations=1, ceil_mode=0):
    return F.max_pool2d(x, kernel_shape, strides, _even(list(pads)), dilations, bool(ceil_mode))


def _average_pool(x, *, kernel_shape, strides=(1, 1), pads=(0, 0), ceil_mode=0, count_include_pad=0):
    return F.avg_pool2d(x, kernel_shape, strides, _even(list(pads)), bool(ceil_mode), bool(count_include_pad))


def _flatten(x, *, axis=1):
    if axis != 1:
        raise ValueError(f"axis {axis}")
    return x.flatten(1)


def _hard_sigmoid(x, *, alpha=0.2, beta=0.5):
    if abs(alpha - 1 / 6) < 1e-6 and beta == 0.5:
        return F.hardsigmoid(x)
    return (x * alpha + beta).clamp(0, 1)


def _reshape(x, shape, *, allowzero=0):
    return x.reshape([x.shape[i] if n == 0 and not allowzero else n for i, n in enumerate(shape)])


def _unsqueeze(x, axes):
    (axis,) = axes
    return x.unsqueeze(axis)


def _split(x, sizes, *, axis=0):
    parts = x.split(sizes, axis)
    return tuple(parts[i] for i in range(len(sizes)))


OPERATORS: dict[str, Callable[..., Any]] = {
    "Add": lambda a, b: a + b,
    "AveragePool": _average_pool,
    "BatchNormalization": _norm,
    "Clip": lambda x, low=None, high=None: x.clamp(low, high),
    "Concat": lambda *xs, axis: torch.cat(xs, axis),
    "Conv": _conv,
    "Div": lambda a, b: a / b,
    "Erf": torch.erf,
    "Flatten": _flatten,
    "Gemm": _gemm,
    "GlobalAveragePool": lambda x: F.adaptive_avg_pool2d(x, 1),
    "HardSigmoid": _hard_sigmoid,
    "HardSwish": F.hardswish,
    "Identity": lambda x: x,
    "LeakyRelu": lambda x, *, alpha=0.01: F.leaky_relu(x, alpha),
    "MatMul": torch.matmul,
    "MaxPool": _max_pool,
    "Mul": lambda a, b: a * b,
    "ReduceMean": lambda x, *, axes, keepdims=1: x.mean(axes, bool(keepdims)),
    "Relu": F.relu,
    "Reshape": _reshape,
    "Sigmoid": torch.sigmoid,
    "Split": _split,
    "Sub": lambda a, b: a - b,
    "Transpose": lambda x, *, perm: x.permute(perm),
    "Unsqueeze": _unsqueeze,
}
"""An ONNX operator as a torch call: inputs by position, attributes by name; what it doesn't take is refused.

Source: https://onnx.ai/onnx/operators/
"""
