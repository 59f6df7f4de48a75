"""How many multiply-accumulates an ONNX operator costs: the standard's, and those that ONNX Runtime makes of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import prod
from typing import Any

import onnx

from harness.errors import HarnessError

Shape = tuple[int, ...]
ShapeOf = Callable[[int], Shape]
"""The shape of a node's input by its number; -1 is its first output."""

STANDARD, MICROSOFT, BLOCKED, LAID_OUT = "", "com.microsoft", "com.microsoft.nchwc", "com.ms.internal.nhwc"
CLASSIC = "ai.onnx.ml"


def _convolution(weight: int) -> Callable[[onnx.NodeProto, ShapeOf], int]:
    """Each number of the output is a sum over a filter (out, in / groups, kh, kw), the input numbered `weight`."""
    return lambda node, shape: prod(shape(weight)[1:]) * prod(shape(-1))


def _transposed(node: onnx.NodeProto, shape: ShapeOf) -> int:
    """Each number of the input goes into so many sums; the filter is (in, out / groups, kh, kw)."""
    return prod(shape(1)[1:]) * prod(shape(0))


def _product(node: onnx.NodeProto, shape: ShapeOf) -> int:
    """Each number of the output is a sum over the side that both matrices share."""
    first = shape(0)
    if not attribute(node, "transA", 0):
        inner = first[-1]
    else:
        inner = first[0] if len(first) == 2 or attribute(node, "transBatchA", 0) else first[-2]
    return prod(shape(-1)) * inner


def _packed_product(node: onnx.NodeProto, shape: ShapeOf) -> int:
    """The second matrix is packed, its sides are attributes."""
    return prod(shape(-1)) * attribute(node, "K", 0)


def _attention(node: onnx.NodeProto, shape: ShapeOf) -> int:
    """Queries by keys, then weights by values."""
    return shape(1)[-2] * (prod(shape(0)) + prod(shape(-1)))


def _projected_attention(node: onnx.NodeProto, shape: ShapeOf) -> int:
    """Three projections in one matrix (D, q + k + v), then attention of a sequence (B, S, D) to itself."""
    batch, length, _ = shape(0)
    inner, wide = shape(1)
    query, _, value = attribute(node, "qkv_hidden_sizes", None) or [wide // 3] * 3
    return batch * length * (inner * wide + length * (query + value))


def _many_heads(node: onnx.NodeProto, shape: ShapeOf) -> int:
    """Queries (B, S, D), keys (B, L, D), values (B, L, V), projected before."""
    if len(node.input) < 3 or not all(node.input[:3]) or len(shape(1)) != 3:
        raise uncounted(node, "its queries, keys and values are packed")
    batch, length, width = shape(0)
    return batch * length * shape(1)[1] * (width + shape(2)[-1])


def _recurrent(node: onnx.NodeProto, shape: ShapeOf) -> int:
    """Each step multiplies by all weights, of the input and of the state."""
    steps, batch, _ = shape(0)
    return steps * batch * (prod(shape(1)) + prod(shape(2)))


def _einsum(node: onnx.NodeProto, shape: ShapeOf) -> int:
    """Return the product of all sizes that are named, as a plain loop over them would go."""
    equation = attribute(node, "equation", b"").decode().replace(" ", "")
    given = [shape(i) for i in range(len(node.input))]
    sizes: dict[str, int] = {}
    for term, dims in zip(equation.split("->")[0].split(","), given, strict=True):
        before, dots, after = term.partition("...")
        rest = range(len(before), len(dims) - len(after)) if dots else range(0)
        axes = [*before, *(f"...{i - rest.stop}" for i in rest), *after]
        sizes |= {axis: max(size, sizes.get(axis, 1)) for axis, size in zip(axes, dims, strict=True)}
    return prod(sizes.values()) if len(given) > 1 else 0


def _linear_model(node: onnx.NodeProto, shape: ShapeOf) -> int:
    """Each row by all coefficients."""
    return shape(0)[0] * len(attribute(node, "coefficients", []))


COUNTS: dict[tuple[str, str], Callable[[onnx.NodeProto, ShapeOf], int]] = {
    **{(STANDARD, name): _convolution(1) for name in ("Conv", "ConvInteger", "DeformConv")},
    (STANDARD, "QLinearConv"): _convolution(3),
    (STANDARD, "ConvTranspose"): _transposed,
    **{(STANDARD, name): _product for name in ("Gemm", "MatMul", "MatMulInteger", "QLinearMatMul")},
    (STANDARD, "Attention"): _attention,
    (STANDARD, "Einsum"): _einsum,
    **{(STANDARD, name): _recurrent for name in ("RNN", "GRU", "LSTM")},
    **{(MICROSOFT, name): _convolution(1) for name in ("FusedConv", "NhwcConv", "NhwcFusedConv")},
    (MICROSOFT, "QLinearConv"): _convolution(3),
    (MICROSOFT, "ConvTransposeWithDynamicPads"): _transposed,
    (MICROSOFT, "DynamicQuantizeLSTM"): _recurrent,
    **{(MICROSOFT, name): _product for name in (
        "FusedGemm", "GemmFastGelu", "GemmFloat8", "QGemm", "FusedMatMul", "FusedMatMulActivation", "TransposeMatMul",
        "MatMulIntegerToFloat", "DynamicQuantizeMatMul", "MatMulInteger16", "QLinearMatMul",
    )},
    **{(MICROSOFT, name): _packed_product for name in ("MatMulNBits", "MatMulBnb4", "MatMulFpQ4")},
    **{(MICROSOFT, name): _projected_attention for name in ("Attention", "QAttention")},
    (MICROSOFT, "MultiHeadAttention"): _many_heads,
    (BLOCKED, "Conv"): _convolution(1),
    **{(LAID_OUT, name): _convolution(1) for name in ("Conv", "NhwcConv")},
    (LAID_OUT, "QLinearConv"): _convolution(3),
    (CLASSIC, "LinearClassifier"): _linear_model,
    (CLASSIC, "LinearRegressor"): _linear_model,
}  # fmt: skip
"""By domain and name. All others of the standard are element by element, or move numbers: they cost nothing here."""

_NOTHING = {
    MICROSOFT: """
        BiasAdd BiasDropout BiasGelu BiasSoftmax BiasSplitGelu CropAndResize DequantizeLinear QuantizeLinear
        ExpandDims FastGelu Gelu GridSample GroupNorm SkipGroupNorm Inverse IsAllFinite
        LayerNormalization SimplifiedLayerNormalization SkipLayerNormalization SkipSimplifiedLayerNormalization
        EmbedLayerNormalization QEmbedLayerNormalization NhwcMaxPool MaxpoolWithMask MulInteger Pad
        QLinearAdd QLinearAveragePool QLinearConcat QLinearGlobalAveragePool QLinearLeakyRelu QLinearMul
        QLinearReduceMean QLinearSigmoid QLinearSoftmax QLinearWhere QuickGelu ReduceSumInteger RotaryEmbedding
        Tokenizer Trilu Unique UnfoldTensor
    """,
    BLOCKED: "ReorderInput ReorderOutput MaxPool AveragePool GlobalMaxPool GlobalAveragePool Upsample",
    LAID_OUT: "MaxPool AveragePool GlobalMaxPool GlobalAveragePool Resize QLinearAveragePool",
    CLASSIC: """
        ArrayFeatureExtractor Binarizer CastMap CategoryMapper DictVectorizer FeatureVectorizer Imputer LabelEncoder
        Normalizer OneHotEncoder Scaler TreeEnsemble TreeEnsembleClassifier TreeEnsembleRegressor ZipMap
    """,
}
NOTHING = {domain: frozenset(names.split()) for domain, names in _NOTHING.items()}
"""Of other domains, those that multiply no matrix."""
FOURIER = frozenset({"DFT", "STFT"})


def count(node: onnx.NodeProto, shape: ShapeOf) -> int:
    """Count a node's multiply-accumulates.

    Raises:
        HarnessError: nobody here knows what the operator computes, or how often.
    """
    domain = STANDARD if node.domain == "ai.onnx" else node.domain
    counted = COUNTS.get((domain, node.op_type))
    if counted:
        return counted(node, shape)
    if node.op_type in NOTHING.get(domain, ()):
        return 0
    if domain != STANDARD or not onnx.defs.has(node.op_type) or node.op_type in FOURIER:
        raise uncounted(node, "what it costs isn't known")
    if inner := [n for a in node.attribute for graph in (a.g, *a.graphs) for n in graph.node if multiplies(n)]:
        raise uncounted(node, f"how often its {inner[0].op_type} runs isn't known")
    return 0


def multiplies(node: onnx.NodeProto) -> bool:
    """Say whether a node, or one in a graph inside it, has multiply-accumulates, or may have."""
    try:
        return count(node, lambda _: (1, 1, 1)) > 0 or (node.domain, node.op_type) in COUNTS
    except (HarnessError, ValueError, IndexError, TypeError):
        return True


def attribute(node: onnx.NodeProto, name: str, otherwise: Any) -> Any:
    """Return an attribute's value."""
    return next((onnx.helper.get_attribute_value(a) for a in node.attribute if a.name == name), otherwise)


def uncounted(node: onnx.NodeProto, why: str) -> HarnessError:
    """Return the error of an operator that can't be counted."""
    domain = f"{node.domain}." if node.domain else ""
    what = f"node '{node.name or node.output[0]}' ({domain}{node.op_type}): {why}"
    return HarnessError(what, "export the model in the standard's operators: Conv, Gemm, MatMul, QLinearConv, ...")


class UnknownShape(HarnessError):
    """A shape that a count hangs on isn't known."""


def reader(node: onnx.NodeProto, shapes: Mapping[str, Shape]) -> ShapeOf:
    """Return how a count reads the shapes of a node's values.

    Raises, when it is called:
        UnknownShape: one isn't known.
    """

    def shape(number: int) -> Shape:
        name = node.output[0] if number < 0 else node.input[number]
        if name in shapes:
            return shapes[name]
        what = f"node '{node.name or node.output[0]}' ({node.op_type}): the shape of '{name}' can't be inferred"
        raise UnknownShape(what, "export the model with fixed sizes; only the batch may be free")

    return shape
