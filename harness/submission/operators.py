"""The ONNX operators that an entry may use, and which of their inputs decide a shape."""

from __future__ import annotations

OPSETS = range(11, 25)
"""Of the standard domain: from what torch has written since 2019 to what ONNX Runtime is tested with here."""

# What the harness' blocks, the course's model files, torchvision's and timm's classifiers and their int8 forms need,
# and the element-wise functions beside them. Each computes the same from the same input, and as much of it: nothing
# random, no control flow, no strings, sequences or optional values, and none whose output's *size* comes from what is
# in the image (NonZero, Compress, Unique, NonMaxSuppression, TopK): with one of those a network could stop early on
# images that it knows.
_TEXT = """
    Conv ConvTranspose Gemm MatMul Einsum
    QuantizeLinear DequantizeLinear DynamicQuantizeLinear QLinearConv QLinearMatMul ConvInteger MatMulInteger
    BatchNormalization InstanceNormalization LayerNormalization GroupNormalization RMSNormalization LpNormalization LRN
    MeanVarianceNormalization
    AveragePool MaxPool LpPool GlobalAveragePool GlobalMaxPool GlobalLpPool
    Relu LeakyRelu PRelu Elu Selu Celu ThresholdedRelu Clip Sigmoid HardSigmoid HardSwish Swish Mish Gelu Tanh Softplus
    Softsign Erf Softmax LogSoftmax Hardmax Shrink
    Add Sub Mul Div Pow Mod Max Min Mean Sum Neg Abs Sqrt Reciprocal Exp Log Floor Ceil Round Sign
    Sin Cos Tan Sinh Cosh Asin Acos Atan Asinh Acosh Atanh
    And Or Xor Not Equal Greater GreaterOrEqual Less LessOrEqual Where IsNaN IsInf
    BitShift BitwiseAnd BitwiseOr BitwiseXor BitwiseNot
    ReduceMean ReduceSum ReduceMax ReduceMin ReduceProd ReduceL1 ReduceL2 ReduceSumSquare ReduceLogSum ReduceLogSumExp
    ArgMax ArgMin CumSum
    Identity Dropout Cast CastLike Constant ConstantOfShape Shape Size Range EyeLike Trilu
    Reshape Flatten Transpose Squeeze Unsqueeze Concat Split Slice Pad Expand Tile
    Gather GatherElements GatherND ScatterElements ScatterND OneHot
    DepthToSpace SpaceToDepth Resize Upsample GridSample Attention
"""
OPERATORS = frozenset(_TEXT.split())

CONTROL_FLOW = frozenset({"If", "Loop", "Scan", "SequenceMap"})
"""Refused as all others that aren't in the table; named for the message."""

SHAPED_BY: dict[str, tuple[int, ...]] = {
    "Reshape": (1,), "Expand": (1,), "Tile": (1,), "ConstantOfShape": (0,), "Range": (0, 1, 2), "Slice": (1, 2, 3, 4),
    "Pad": (1, 3), "Resize": (1, 2, 3), "Upsample": (1,), "Squeeze": (1,), "Unsqueeze": (1,), "Split": (1,),
    "OneHot": (1,), "Attention": (6,),
    **{f"Reduce{kind}": (1,) for kind in
       ("Mean", "Sum", "Max", "Min", "Prod", "L1", "L2", "SumSquare", "LogSum", "LogSumExp")},
}  # fmt: skip
"""Positions of the inputs whose values decide the output's shape, or (Attention) how much of the input is looked at."""

BLIND = frozenset({"Shape", "Size", "EyeLike"})
"""Look at no value of their input, only at its shape."""
