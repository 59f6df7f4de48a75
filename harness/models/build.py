"""A description becomes a network."""

from __future__ import annotations

import copy
import inspect
import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from harness.errors import HarnessError, nearest, pick
from harness.models.bottleneck import bottleneck, res_bottleneck, short_bottleneck
from harness.models.conv import conv
from harness.models.dropout import dropout
from harness.models.dwconv import dwconv
from harness.models.fire import Fire
from harness.models.ghost import ghost
from harness.models.inverted import inverted_v2, inverted_v3
from harness.models.linear import flatten, linear
from harness.models.mbconv import fused_mbconv, mbconv
from harness.models.pool import avgpool, globalavgpool, maxpool
from harness.models.repvgg import RepVGG
from harness.models.shufflev2 import ShuffleV2
from harness.models.spec import ModelSpec, Stage

# Each is called as (input channels, output channels, stride, **options); its keyword arguments are its options.
BLOCKS: dict[str, Callable[..., nn.Module]] = {
    "conv": conv,
    "dwconv": dwconv,
    "bottleneck": bottleneck,
    "short_bottleneck": short_bottleneck,
    "res_bottleneck": res_bottleneck,
    "inverted_v2": inverted_v2,
    "inverted_v3": inverted_v3,
    "mbconv": mbconv,
    "fused_mbconv": fused_mbconv,
    "fire": Fire,
    "shufflev2": ShuffleV2,
    "ghost": ghost,
    "repvgg": RepVGG,
    "maxpool": maxpool,
    "avgpool": avgpool,
    "globalavgpool": globalavgpool,
    "dropout": dropout,
    "flatten": flatten,
    "linear": linear,
}


REPEATS = 1000
"""How often a stage may be repeated: more is a slip of the keyboard, and would be built for hours."""


def build(spec: ModelSpec, classes: int, resolution_px: int, in_channels: int = 3, seed: int = 0) -> nn.Module:
    """Build the stages, then mean over the map, flatten, linear to `classes`; in training mode, weights from `seed`.

    A batch of two is run through on the way, so what comes back works at `resolution_px`.

    Raises:
        HarnessError: a stage cannot be built; names the stage, the value and what is allowed.
    """
    # The CPU generator only: `torch.manual_seed` would also reset those of accelerators, which fork_rng skips here.
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.default_generator.manual_seed(seed)
        x = torch.zeros(2, in_channels, resolution_px, resolution_px)
        model = nn.Sequential()
        for i, stage in enumerate(spec.stages):
            built, x = _stage(stage, x, stage.source or f"model.stages.{i} ({stage.block})")
            model.add_module(f"stage{i}", built)
        model.add_module("head", _head(x, classes))
        model.apply(_initialise)
    return model.train()


def export_ready(model: nn.Module) -> nn.Module:
    """Return a copy in eval mode with every block that can `fuse()` re-parameterised; outputs stay the same."""
    return _fused(copy.deepcopy(model).eval())


def options_of(block: str) -> dict[str, Any]:
    """Return a block's options and their defaults."""
    parameters = inspect.signature(BLOCKS[block]).parameters.values()
    return {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY}


def _stage(stage: Stage, x: Tensor, where: str) -> tuple[nn.Sequential, Tensor]:
    """Build the repeats of a stage and run `x` through them."""
    builder = pick(BLOCKS, stage.block, where)
    _check_stage(stage, where)
    strided = 0 if stage.stride_on == "first" else stage.repeat - 1
    built = nn.Sequential()
    for i in range(stage.repeat):
        stride = stage.stride if i == strided else 1
        _check_map(x, stride, where)
        try:
            block = builder(x.shape[1], stage.channels or x.shape[1], stride, **stage.options).eval()
        except HarnessError as error:
            raise HarnessError(f"{where}: {error.what}", error.fix) from error
        x = _run(block, x, where)
        built.append(block)
    return built, x


def _run(block: nn.Module, x: Tensor, where: str) -> Tensor:
    try:
        return block(x)
    except RuntimeError as error:
        shape = "x".join(str(n) for n in x.shape[1:])
        raise HarnessError(
            f"{where}: does not take an input of {shape} ({str(error).splitlines()[0]})",
            "use a larger resolution or fewer strides before it; `linear` needs `flatten` before it, no map after it",
        ) from error


def _check_map(x: Tensor, stride: int, where: str) -> None:
    if stride > 1 and x.dim() == 4 and x.shape[-1] == 1:
        raise HarnessError(
            f"{where}: stride {stride} on a map that earlier strides have already shrunk to 1x1",
            "use a larger resolution, or fewer stages with stride 2",
        )


def _check_stage(stage: Stage, where: str) -> None:
    """Refuse wrong stage facts and options that the block does not have."""
    for name, low, high in (("channels", 0, math.inf), ("repeat", 1, REPEATS), ("stride", 1, 16)):
        value = getattr(stage, name)
        if type(value) is not int or not low <= value <= high:
            allowed = f"a whole number of at least {low}" + ("" if high == math.inf else f" and at most {high}")
            raise HarnessError(f"{where}: {name} {value!r}: must be {allowed}", f"change `{name}`")
    if stage.stride_on not in ("first", "last"):
        raise HarnessError(f"{where}: stride_on {stage.stride_on!r}: must be first or last", "change `stride_on`")
    defaults = options_of(stage.block)
    listed = ", ".join(f"{k}={v!r}" for k, v in defaults.items()) or "none"
    for name, value in stage.options.items():
        if name not in defaults:
            raise HarnessError(
                f"{where}: unknown option '{name}'; options with their defaults: {listed}",
                f"{nearest(name, defaults)}use one of the options above",
            )
        if not _fits(value, defaults[name]):
            raise HarnessError(
                f"{where}: option {name}={value!r} has the wrong type; options with their defaults: {listed}",
                f"write `{name}` like its default",
            )


def _fits(value: Any, default: Any) -> bool:
    """Say whether a value has the type of a default; a whole number serves for a fraction, None stands for a number."""
    if default is None:
        return value is None or type(value) is int
    return type(value) is type(default) or (type(default) is float and type(value) is int)


def _head(x: Tensor, classes: int) -> nn.Sequential:
    if x.dim() == 4:
        return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(x.shape[1], classes))
    return nn.Sequential(nn.Linear(x.shape[1], classes))


def _initialise(module: nn.Module) -> None:
    """Draw weights: He normal over what a weight feeds (a group's own outputs), Glorot uniform for linear layers."""
    if isinstance(module, nn.Conv2d):
        fan_out = module.weight[0, 0].numel() * module.out_channels // module.groups
        module.weight.normal_(0.0, math.sqrt(2 / fan_out))
    if isinstance(module, nn.Linear):
        nn.init.xavier_uniform_(module.weight)
    if isinstance(module, nn.Conv2d | nn.Linear) and module.bias is not None:
        module.bias.zero_()


def _fused(module: nn.Module) -> nn.Module:
    if callable(getattr(module, "fuse", None)):
        return module.fuse()
    for name, child in module.named_children():
        setattr(module, name, _fused(child))
    return module
