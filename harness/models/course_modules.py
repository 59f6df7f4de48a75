"""The course's modules and those that teams added: arguments become stages, by the rules of the code they are from.

A reader's parameters are the module's arguments in the course's order; their types say how each is read and checked.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, get_type_hints

from harness.errors import HarnessError
from harness.models.course_arguments import (
    Activation,
    Fixed,
    Flag,
    Number,
    Padding,
    PoolPadding,
    PoolStride,
    Share,
    Side,
    SmallStride,
    Whole,
)
from harness.models.rounding import nearest8
from harness.models.spec import Stage


@dataclass(frozen=True)
class Entry:
    """One line of a backbone with what surrounds it: repeats already scaled, channels that come in."""

    repeat: int
    cin: int
    width: float

    def scaled(self, channels: float) -> int:
        """Multiply by the width multiple and round to the nearest multiple of 8."""
        return nearest8(channels * self.width)


Reader = Callable[..., list[Stage]]


def stages_of(module: str, entry: Entry, args: list[Any], where: str) -> list[Stage]:
    """Turn a line into stages.

    Raises:
        HarnessError: an argument is missing, of the wrong kind or one too many; names it and the module's order.
    """
    for reader in MODULES[module]:
        try:
            given = inspect.signature(reader).bind(entry, *args).arguments
        except TypeError:  # another number of arguments
            continue
        kinds = get_type_hints(reader, include_extras=True)
        read = {
            name: kinds[name].__metadata__[0](value, f"{where}: {module}: {name}")
            for name, value in list(given.items())[1:]
        }
        try:
            return reader(entry, **read)
        except HarnessError as error:
            raise HarnessError(f"{where}: {module} {args!r}: {error.what}", error.fix) from error
    orders = (", ".join(list(inspect.signature(reader).parameters)[1:]) for reader in MODULES[module])
    what = f"{where}: {module} {args!r}: takes {' or '.join(f'[{order}]' for order in orders)}"
    raise HarnessError(what, "give the arguments in that order")


def _conv(
    e: Entry,
    out: Number,
    kernel: Side,
    stride: Side = 1,
    padding: Padding = None,
    groups: Whole = 1,
    activation: Activation = "ReLU",
) -> list[Stage]:
    options = _options(kernel, activation, padding) | {"groups": groups}
    return [Stage("conv", e.scaled(out), e.repeat, stride, "last", options)]


def _fixed_conv(
    e: Entry,
    out: Whole,
    kernel: Side,
    stride: Side = 1,
    padding: Padding = None,
    groups: Whole = 1,
    activation: Activation = "ReLU",
) -> list[Stage]:
    options = _options(kernel, activation, padding) | {"groups": groups}
    return [Stage("conv", out, e.repeat, stride, "last", options)]


def _dwconv(
    e: Entry, out: Number, kernel: Side, stride: Side = 1, padding: Padding = None, activation: Activation = "ReLU"
) -> list[Stage]:
    return [Stage("dwconv", e.scaled(out), e.repeat, stride, "last", _options(kernel, activation, padding))]


def _bottleneck(
    e: Entry,
    out: Number,
    shortcut: Flag = True,
    groups: Whole = 1,
    expansion: Number = 0.5,
    activation: Activation = "ReLU",
) -> list[Stage]:
    """The activation is the first convolution's alone."""
    options = {"residual": shortcut, "groups": groups, "expansion": float(expansion)}
    return _last_widens("short_bottleneck", e, out, options | {"activation": activation, "last_activation": "relu"})


def _res_bottleneck(
    e: Entry,
    out: Number,
    shortcut: Flag = True,
    groups: Whole = 1,
    expansion: Number = 0.5,
    activation: Activation = "ReLU",
) -> list[Stage]:
    """The activation is that of the first and the last convolution."""
    options = {"residual": shortcut, "groups": groups, "expansion": float(expansion)}
    return _last_widens("res_bottleneck", e, out, options | {"activation": activation, "middle_activation": "relu"})


def _last_widens(block: str, e: Entry, out: float, options: dict[str, Any]) -> list[Stage]:
    """All repeats but the last keep the input's channels."""
    same = [Stage(block, e.cin, e.repeat - 1, options=options)] if e.repeat > 1 else []
    return [*same, Stage(block, e.scaled(out), options=options)]


def _inverted_v2(e: Entry, out: Number, expand: Number, stride: SmallStride) -> list[Stage]:
    return [Stage("inverted_v2", e.scaled(out), e.repeat, stride, options={"expand": expand})]


def _inverted_v3(
    e: Entry, kernel: Side, expand: Number, out: Number, se: Flag, hard_swish: Flag, stride: SmallStride
) -> list[Stage]:
    options = {"kernel": kernel, "expand": expand, "se": se, "hardswish": hard_swish, "rounding": "nearest"}
    return [Stage("inverted_v3", e.scaled(out), e.repeat, stride, options=options)]


def _mbconv(e: Entry, expand: Number, out: Number, stride: SmallStride, kernel: Side) -> list[Stage]:
    options = {"kernel": kernel, "expand": expand, "padded": "as_course"}
    return [Stage("mbconv", e.scaled(out), e.repeat, stride, options=options)]


def _fused_mbconv(e: Entry, expand: Number, out: Number, stride: SmallStride, kernel: Side) -> list[Stage]:
    options = {"kernel": kernel, "expand": expand, "padded": "as_course"}
    return [Stage("fused_mbconv", e.scaled(out), e.repeat, stride, options=options)]


def _fire(e: Entry, squeeze: Whole, channels_1x1: Whole, channels_3x3: Whole) -> list[Stage]:
    """The width multiple does not reach it, as in the teams' own module."""
    out = channels_1x1 + channels_3x3
    return [Stage("fire", out, e.repeat, options={"squeeze": squeeze / out, "wide": channels_3x3 / out})]


def _shufflev2_by_stride(e: Entry, stride: SmallStride) -> list[Stage]:
    """The stride multiplies the channels, in every repeat."""
    return [Stage("shufflev2", e.cin * stride ** (i + 1), 1, stride) for i in range(e.repeat)]


def _shufflev2(e: Entry, out: Number, stride: SmallStride) -> list[Stage]:
    return [Stage("shufflev2", e.scaled(out), e.repeat, stride)]


def _shuffle_residual(e: Entry, out: Number, stride: Side) -> list[Stage]:
    """ShuffleNet's unit under torchvision's name: at stride 1 it keeps its channels."""
    channels = e.scaled(out)
    if stride == 1 and channels != e.cin:
        raise HarnessError(f"stride 1 keeps the {e.cin} channels, and {channels} are to come out", "change either")
    return [Stage("shufflev2", channels, e.repeat, stride)]


def _shuffle_residual_of_four(e: Entry, kernel: Side, expand: Number, out: Number, stride: Side) -> list[Stage]:
    """In the teams' code neither kernel nor expansion has an effect: the kernel is 3, and nothing is expanded."""
    if (kernel, expand) != (3, 1):
        what = f"kernel {kernel}, expand {expand}: allowed: 3 and 1, which is what this module does whatever is written"
        raise HarnessError(what, "write [3, 1, out, stride]")
    return _shuffle_residual(e, out, stride)


def _ghost(e: Entry, kernel: Side, expand: Number, out: Number, se: Flag, stride: SmallStride) -> list[Stage]:
    options = {"kernel": kernel, "expand": expand, "se": se, "rounding": "nearest"}
    return [Stage("ghost", e.scaled(out), e.repeat, stride, options=options)]


def _repvgg(e: Entry, out: Number, stride: SmallStride = 1, activation: Activation = "ReLU") -> list[Stage]:
    return [Stage("repvgg", e.scaled(out), e.repeat, stride, options={"activation": activation})]


def _max_pool(
    e: Entry,
    kernel: Side,
    stride: PoolStride = None,
    padding: PoolPadding = 0,
    dilation: Fixed = 1,
    return_indices: Fixed = False,
    ceil_mode: Flag = False,
) -> list[Stage]:
    if dilation != 1 or return_indices:
        raise HarnessError("dilation must be 1 and return_indices false", "leave both out")
    return _pool("maxpool", e, stride, {"kernel": kernel, "padding": padding, "ceil": ceil_mode})


def _avg_pool(
    e: Entry,
    kernel: Side,
    stride: PoolStride = None,
    padding: PoolPadding = 0,
    ceil_mode: Flag = False,
    count_include_pad: Flag = True,
    divisor_override: Fixed = None,
) -> list[Stage]:
    if divisor_override is not None:
        raise HarnessError("divisor_override must be null", "leave it out")
    options = {"kernel": kernel, "padding": padding, "ceil": ceil_mode, "count_padding": count_include_pad}
    return _pool("avgpool", e, stride, options)


def _pool(block: str, e: Entry, stride: int | None, options: dict[str, Any]) -> list[Stage]:
    """Every repeat strides, by the kernel where no stride is given, as torch's pooling does."""
    return [Stage(block, stride=options["kernel"] if stride is None else stride, options=options)] * e.repeat


def _global_avg_pool(e: Entry, size: Side = 1) -> list[Stage]:
    return [Stage("globalavgpool", options={} if size == 1 else {"size": size})]


def _flatten(e: Entry) -> list[Stage]:
    return [Stage("flatten")]


def _dropout(e: Entry, probability: Share = 0.5, inplace: Flag = False) -> list[Stage]:
    """In place or not is the same numbers."""
    return [Stage("dropout", repeat=e.repeat, options={"share": probability})]


def _linear(e: Entry, out: Whole, activation: Activation = "identity") -> list[Stage]:
    """One layer, whatever the repeats: the baseline does not apply them."""
    return [Stage("linear", out, options={"activation": activation})]


MODULES: dict[str, tuple[Reader, ...]] = {
    "Conv": (_conv,),
    "FixedConv": (_fixed_conv,),
    "DWConv": (_dwconv,),
    "Bottleneck": (_bottleneck,),
    "ResBottleneck": (_res_bottleneck,),
    "InvertedResidualv2": (_inverted_v2,),
    "InvertedResidualv3": (_inverted_v3,),
    "InvertedResidual": (_shuffle_residual, _shuffle_residual_of_four),
    "MBConv": (_mbconv,),
    "FusedMBConv": (_fused_mbconv,),
    "Fire": (_fire,),
    "ShuffleNetV2": (_shufflev2_by_stride, _shufflev2),
    "GhostBottleneck": (_ghost,),
    "Ghost": (_ghost,),
    "RepVGG": (_repvgg,),
    "MaxPool": (_max_pool,),
    "AvgPool": (_avg_pool,),
    "GlobalAvgPool": (_global_avg_pool,),
    "Flatten": (_flatten,),
    "Dropout": (_dropout,),
    "Linear": (_linear,),
}
"""By name; a module with two orders of arguments has a reader for each."""


def _options(kernel: int, activation: str, padding: int | None) -> dict[str, Any]:
    """Leave a padding of kernel // 2 out, but for an even kernel, of which our own blocks need it."""
    options = {"kernel": kernel, "activation": activation}
    given = kernel // 2 if padding is None else padding
    return options if kernel % 2 and given == kernel // 2 else options | {"padding": given}
