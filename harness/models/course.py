"""Read the course's model files: `[repeat, module, args]`, depth and width multiples, its stride rule per module."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from harness.errors import HarnessError, pick
from harness.models.rounding import ceil8
from harness.models.spec import ModelSpec, Stage


@dataclass(frozen=True)
class Entry:
    """One line of a backbone with what surrounds it: repeats already scaled, channels that come in."""

    repeat: int
    cin: int
    width: float

    def scaled(self, channels: float) -> int:
        """Multiply by the width multiple and round up to a multiple of 8."""
        return ceil8(channels * self.width)


def read_course(source: Path | str | dict[str, Any]) -> ModelSpec:
    """Read a course model, from a file (a path, or a string that ends in .yaml or .yml) or from YAML text.

    The classifier at the end (the last `Linear` or `FixedConv`, with the pooling and flattening beside it) is left
    out: the builder adds one for the data set's classes.

    Raises:
        HarnessError: not a course file, an unknown module, or arguments that a module does not take.
    """
    raw = _parse(source)
    depth, width = raw.get("depth_multiple", 1.0), raw.get("width_multiple", 1.0)
    cin, stages = raw.get("input_channel", 3), []
    for i, (repeat, module, args) in _without_classifier(raw["backbone"]):
        repeat = max(round(repeat * depth), 1) if repeat > 1 else repeat
        stages += _call(module, Entry(repeat, cin, width), args, f"backbone.{i}")
        cin = stages[-1].channels or cin
    return ModelSpec(tuple(stages))


def _conv(e: Entry, out, kernel, stride=1, padding=None, groups=1, activation="ReLU") -> list[Stage]:
    options = _options(kernel, activation, padding) | {"groups": groups}
    return [Stage("conv", e.scaled(out), e.repeat, stride, "last", options)]


def _fixed_conv(e: Entry, out, kernel, stride=1, padding=None, groups=1, activation="ReLU") -> list[Stage]:
    options = _options(kernel, activation, padding) | {"groups": groups}
    return [Stage("conv", out, e.repeat, stride, "last", options)]


def _dwconv(e: Entry, out, kernel, stride=1, padding=None, activation="ReLU") -> list[Stage]:
    return [Stage("dwconv", e.scaled(out), e.repeat, stride, "last", _options(kernel, activation, padding))]


def _bottleneck(e: Entry, out, shortcut=True, groups=1, expansion=0.5, activation="ReLU") -> list[Stage]:
    """All repeats but the last keep the input's channels."""
    options = {"residual": bool(shortcut), "groups": groups, "expansion": expansion, "activation": _name(activation)}
    same = [Stage("short_bottleneck", e.cin, e.repeat - 1, options=options)] if e.repeat > 1 else []
    return [*same, Stage("short_bottleneck", e.scaled(out), options=options)]


def _inverted_v2(e: Entry, out, expand, stride) -> list[Stage]:
    return [Stage("inverted_v2", e.scaled(out), e.repeat, stride, options={"expand": expand})]


def _inverted_v3(e: Entry, kernel, expand, out, se, hardswish, stride) -> list[Stage]:
    options = {"kernel": kernel, "expand": expand, "se": bool(se), "hardswish": bool(hardswish)}
    return [Stage("inverted_v3", e.scaled(out), e.repeat, stride, options=options)]


def _mbconv(e: Entry, expand, out, stride, kernel) -> list[Stage]:
    return [Stage("mbconv", e.scaled(out), e.repeat, stride, options={"kernel": kernel, "expand": expand})]


def _fire(e: Entry, squeeze, one, three) -> list[Stage]:
    """The width multiple does not reach it, as in the teams' own module."""
    out = one + three
    return [Stage("fire", out, e.repeat, options={"squeeze": squeeze / out, "wide": three / out})]


def _shufflev2(e: Entry, *args) -> list[Stage]:
    """`[stride]` multiplies the channels by the stride, in every repeat; `[out, stride]` strides the first."""
    if len(args) == 2:
        return [Stage("shufflev2", e.scaled(args[0]), e.repeat, args[1])]
    if len(args) != 1:
        raise TypeError("too many or too few arguments")
    return [Stage("shufflev2", e.cin * args[0] ** (i + 1), 1, args[0]) for i in range(e.repeat)]


def _ghost(e: Entry, kernel, expand, out, se, stride) -> list[Stage]:
    options = {"kernel": kernel, "expand": expand, "se": bool(se)}
    return [Stage("ghost", e.scaled(out), e.repeat, stride, options=options)]


def _repvgg(e: Entry, out, stride=1, activation="ReLU") -> list[Stage]:
    return [Stage("repvgg", e.scaled(out), e.repeat, stride, options={"activation": _name(activation)})]


def _max_pool(e: Entry, kernel, stride=None, padding=0) -> list[Stage]:
    return _pool("maxpool", e, kernel, stride, padding)


def _avg_pool(e: Entry, kernel, stride=None, padding=0) -> list[Stage]:
    return _pool("avgpool", e, kernel, stride, padding)


def _global_avg_pool(e: Entry, _size=1) -> list[Stage]:
    return [Stage("globalavgpool")]


def _flatten(e: Entry) -> list[Stage]:
    return [Stage("flatten")]


def _linear(e: Entry, out, activation=None) -> list[Stage]:
    return [Stage("linear", out, options={"activation": _name(activation)})]


MODULES: dict[str, Callable[..., list[Stage]]] = {
    "Conv": _conv,
    "FixedConv": _fixed_conv,
    "DWConv": _dwconv,
    "Bottleneck": _bottleneck,
    "InvertedResidualv2": _inverted_v2,
    "InvertedResidualv3": _inverted_v3,
    "MBConv": _mbconv,
    "Fire": _fire,
    "ShuffleNetV2": _shufflev2,
    "GhostBottleneck": _ghost,
    "Ghost": _ghost,
    "RepVGG": _repvgg,
    "MaxPool": _max_pool,
    "AvgPool": _avg_pool,
    "GlobalAvgPool": _global_avg_pool,
    "Flatten": _flatten,
    "Linear": _linear,
}


def _pool(block: str, e: Entry, kernel: int, stride: int | None, padding: int) -> list[Stage]:
    """Every repeat strides, by the kernel where no stride is given, as torch's pooling does."""
    options = {"kernel": kernel, "padding": padding}
    return [Stage(block, stride=kernel if stride is None else stride, options=options)] * e.repeat


def _options(kernel: int, activation: str | None, padding: Any) -> dict[str, Any]:
    """The course's `padding or kernel // 2`: null and 0 mean the same size, a list like [0] means what it says."""
    given = padding[0] if isinstance(padding, list) and padding else padding or None
    options = {"kernel": kernel, "activation": _name(activation)}
    return options if given is None or given == kernel // 2 else options | {"padding": given}


def _name(activation: str | None) -> str:
    return "identity" if activation is None else activation


def _parse(source: Path | str | dict[str, Any]) -> dict[str, Any]:
    raw = source if isinstance(source, dict) else _loaded(source)
    if not isinstance(raw, dict) or not isinstance(raw.get("backbone"), list) or not raw["backbone"]:
        raise HarnessError("course model: has no list named `backbone`", "write `backbone: [[1, Conv, [16, 3, 2]], …]`")
    for i, line in enumerate(raw["backbone"]):
        _check_line(line, f"backbone.{i}")
    return raw


def _loaded(source: Path | str) -> Any:
    text = str(source)
    if isinstance(source, Path) or text.strip().endswith((".yaml", ".yml")):
        if not Path(source).is_file():
            raise HarnessError(f"course model {text}: no such file", "give the path of a model YAML")
        text = Path(source).read_text(encoding="utf-8")
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise HarnessError(f"course model: not YAML: {error}", "mend the line named above") from error


def _check_line(line: Any, where: str) -> None:
    good = isinstance(line, list) and len(line) == 3 and type(line[0]) is int and isinstance(line[1], str)
    if not good or line[0] < 1 or not isinstance(line[2], list):
        raise HarnessError(f"{where}: {line!r} is not [repeat, module, [args]]", "write [1, Conv, [16, 3, 2]]")
    pick(MODULES, line[1], where)


def _without_classifier(backbone: Sequence[list[Any]]) -> list[tuple[int, list[Any]]]:
    """Number the entries and drop the last Linear or FixedConv with its poolings and flattenings, those the builder's
    own head repeats; a Flatten of a whole map stays, because the head would average the map instead."""
    lines = list(enumerate(backbone))
    end = len(lines)
    while end and backbone[end - 1][1] in ("GlobalAvgPool", "Flatten"):
        end -= 1
    if end and backbone[end - 1][1] in ("Linear", "FixedConv"):
        lines = lines[: end - 1]
    names = [line[1] for _, line in lines]
    for tail in (["GlobalAvgPool", "Flatten"], ["GlobalAvgPool"]):
        if names[-len(tail) :] == tail:
            return lines[: -len(tail)]
    return lines


def _call(module: str, entry: Entry, args: list[Any], where: str) -> list[Stage]:
    """Turn an entry into stages, with the module's argument order in the error where the arguments don't fit it."""
    reader = MODULES[module]
    try:
        return reader(entry, *args)
    except (TypeError, ArithmeticError) as error:
        order = ", ".join(str(p).removeprefix("*") for p in list(inspect.signature(reader).parameters.values())[1:])
        raise HarnessError(
            f"{where}: {module} {args!r}: takes [{order}]", "give the arguments in that order"
        ) from error
