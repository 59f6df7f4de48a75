"""Read the course's model files: `[repeat, module, args]`, depth and width multiples, its stride rule per module."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from harness.errors import HarnessError, nearest, pick, within
from harness.models.course_arguments import whole
from harness.models.course_modules import MODULES, Entry, stages_of
from harness.models.spec import ModelSpec, Stage

KEYS = ("input_channel", "depth_multiple", "width_multiple", "backbone")
SIZES = ("INPUT_SIZE", "input_size")
"""What teams wrote beside the model: the images' height and width."""


def read_course(source: Path | str | dict[str, Any]) -> ModelSpec:
    """Read a course model, from a file (a path, or a string that ends in .yaml or .yml), YAML text, or what it holds.

    The classifier at the end (the last `Linear` or `FixedConv`, with the pooling and flattening beside it) is left
    out: the builder adds one for the data set's classes.

    Raises:
        HarnessError: not a course file, a key that is missing or unknown, an unknown module, or an argument that a
            module doesn't take.
    """
    try:
        return ModelSpec(tuple(_stages(_parse(source))))
    except HarnessError as error:
        raise _named(source, error) from error


def _stages(raw: dict[str, Any]) -> list[Stage]:
    depth, width, cin = raw["depth_multiple"], raw["width_multiple"], raw["input_channel"]
    stages: list[Stage] = []
    left_out = _classifier(raw["backbone"])
    for i, (repeat, module, args) in enumerate(raw["backbone"]):
        entry = Entry(_repeats(repeat, depth), cin, width)
        read = stages_of(module, entry, args, f"backbone.{i}")  # those that are left out too: they have to be right
        if i not in left_out:
            stages += [replace(stage, source=f"backbone.{i} ({module})") for stage in read]
            cin = read[-1].channels or cin
    return stages


@dataclass(frozen=True)
class Images:
    """What images a course model was made for. side_px: as `INPUT_SIZE` or `input_size` has it, None without either."""

    channels: int
    side_px: int | None


def images_of(source: Path | str | dict[str, Any]) -> Images:
    """Read which images a course model takes. source: as `read_course` has it.

    Raises:
        HarnessError: as `read_course`; the height isn't the width.
    """
    try:
        raw = _parse(source)
        return Images(raw["input_channel"], _side_px(raw))
    except HarnessError as error:
        raise _named(source, error) from error


def _named(source: Path | str | dict[str, Any], error: HarnessError) -> HarnessError:
    """Say which file an error is of."""
    return HarnessError(f"{source}: {error.what}" if _is_path(source) else error.what, error.fix)


def _side_px(raw: dict[str, Any]) -> int | None:
    given = {name: raw[name] if isinstance(raw[name], list) else [raw[name]] for name in SIZES if name in raw}
    sides = [(name, side) for name, value in given.items() for side in value]
    for name, side in sides:
        within(side, 1, 1024, name, whole=True)
    if any(len(value) not in (1, 2) for value in given.values()) or len({side for _, side in sides}) > 1:
        stands = ", ".join(f"{name}: {raw[name]}" for name in given)
        raise HarnessError(f"{stands}: allowed: twice the same side", "write INPUT_SIZE: [64, 64]")
    return sides[0][1] if sides else None


def _repeats(repeat: float, depth: float) -> int:
    return max(round(repeat * depth), 1) if repeat > 1 else int(repeat)


def _is_path(source: Path | str | dict[str, Any]) -> bool:
    return isinstance(source, Path) or (isinstance(source, str) and source.strip().endswith((".yaml", ".yml")))


def _parse(source: Path | str | dict[str, Any]) -> dict[str, Any]:
    raw = source if isinstance(source, dict) else _loaded(source)
    if isinstance(raw, dict) and set(raw) == {"model"}:
        raw = raw["model"]
    if not isinstance(raw, dict) or not isinstance(raw.get("backbone"), list) or not raw["backbone"]:
        raise HarnessError("has no list named `backbone`", "write `backbone: [[1, Conv, [16, 3, 2]], …]`")
    for i, line in enumerate(raw["backbone"]):
        _check_line(line, f"backbone.{i}")
    _check_keys(raw)
    return raw


def _loaded(source: Path | str) -> Any:
    try:
        text = Path(source).read_text(encoding="utf-8-sig") if _is_path(source) else str(source)
    except FileNotFoundError as error:
        raise HarnessError("no such file", "give the path of a model YAML") from error
    except (OSError, UnicodeDecodeError) as error:
        raise HarnessError(f"can't be read as UTF-8 text: {error}", "save it as UTF-8") from error
    try:
        return yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # a date that can't be, brackets without an end
        raise HarnessError(f"not YAML: {error}", "mend the line named above, or the file") from error


def _check_keys(raw: dict[str, Any]) -> None:
    allowed = (*KEYS, *SIZES)
    for key in raw:
        if key not in allowed:
            what = f"unknown key '{key}'; allowed: {', '.join(allowed)}"
            raise HarnessError(what, f"{nearest(str(key), allowed)}rename or remove it")
    for key in KEYS:
        if key not in raw:
            example = "3" if key == "input_channel" else "1.0"
            raise HarnessError(f"no '{key}'; there is {', '.join(raw)}", f"add `{key}: {example}`")
    within(raw["input_channel"], 1, 1024, "input_channel", whole=True)
    for key in ("depth_multiple", "width_multiple"):
        within(raw[key], 0.01, 100, key)
    _side_px(raw)


def _check_line(line: Any, where: str) -> None:
    good = isinstance(line, list) and len(line) == 3 and isinstance(line[1], str) and isinstance(line[2], list)
    if not good:
        raise HarnessError(f"{where}: {line!r} is not [repeat, module, [args]]", "write [1, Conv, [16, 3, 2]]")
    pick(MODULES, line[1], where)
    whole(line[0], f"{where}: {line[1]}: repeat")


def _classifier(backbone: Sequence[list[Any]]) -> set[int]:
    """Return which lines the builder's own head repeats: the last Linear or FixedConv, poolings and flattenings beside.

    A Flatten of a whole map stays, because the head would average the map instead; so does a pooling to several means.
    """
    names = [module if module != "GlobalAvgPool" or args in ([], [1]) else "" for _, module, args in backbone]
    end = len(names)
    while end and names[end - 1] in ("GlobalAvgPool", "Flatten"):
        end -= 1
    if end and names[end - 1] in ("Linear", "FixedConv"):
        kept, left_out = end - 1, set(range(end - 1, len(names)))
    else:
        kept, left_out = len(names), set()
    for tail in (["GlobalAvgPool", "Flatten"], ["GlobalAvgPool"]):
        if names[:kept][-len(tail) :] == tail:
            return left_out | set(range(kept - len(tail), kept))
    return left_out
