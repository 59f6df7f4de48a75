"""The YAML files of conf/: the user's own folder is searched first, then the one that the package carries."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml

from harness.errors import HarnessError
from harness.record import files

_PACKAGE = Path(__file__).resolve().parent
CONF = _PACKAGE / "conf" if (_PACKAGE / "conf").is_dir() else _PACKAGE.parent / "conf"
"""The package's own: a wheel carries it inside, a checkout has it beside."""
OWN = Path("conf")
"""The user's own, in the working folder, unless conf=DIR names another."""


def given(overrides: Sequence[str], key: str) -> str | None:
    """Return what the command line sets a key to."""
    values = [o.split("=", 1)[1] for o in overrides if o.split("=", 1)[0] == key and "=" in o]
    return values[-1] if values else None


def folders(overrides: Sequence[str] = ()) -> list[Path]:
    """Return the folders that are searched, the user's first.

    Raises:
        HarnessError: conf=DIR is no folder.
    """
    named = given(overrides, "conf")
    own = Path(named.strip("\"'")).expanduser() if named is not None else OWN
    if named is not None and not own.is_dir():
        raise HarnessError(f"conf={named}: no such folder", "name a folder laid out as conf/: conf/space/mine.yaml ...")
    return [own.resolve(), CONF] if own.is_dir() and own.resolve() != CONF else [CONF]


def groups(overrides: Sequence[str] = ()) -> dict[str, list[str]]:
    """List the choices of each group, over all folders."""
    found: dict[str, set[str]] = {d.name: set() for d in sorted(CONF.iterdir()) if d.is_dir()}
    for group, names in found.items():
        names |= {path.stem for folder in folders(overrides) for path in (folder / group).glob("*.yaml")}
    return {group: sorted(names) for group, names in found.items()}


def find(group: str, name: str, overrides: Sequence[str] = ()) -> Path | None:
    """Return the file of a group's choice, or of the file that is named in its place; None where there is none.

    group: "" for the files of the commands themselves, such as tune.yaml.
    """
    if is_file(name):
        path = Path(name).expanduser()
        return path if path.is_file() else None
    paths = [folder / group / f"{name}.yaml" for folder in folders(overrides)]
    return next((path for path in paths if path.is_file()), None)


def is_file(choice: str) -> bool:
    """Tell whether a choice is written as a file rather than as a name."""
    return "/" in choice or choice.endswith((".yaml", ".yml"))


def read_yaml(path: Path, setting: str = "") -> Any:
    """Read a YAML file. setting: what named it.

    Raises:
        HarnessError: it isn't there, is a folder, in another encoding, or isn't YAML; the message has the line.
    """
    text = files.read_text(path, setting, "a YAML file")
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as e:
        raise not_yaml(path, e) from e
    except (ValueError, RecursionError) as e:
        raise HarnessError(f"{path}: not YAML: {' '.join(str(e).split())}", "mend the file") from e


def not_yaml(path: Path | str, e: yaml.YAMLError) -> HarnessError:
    """Say where a file stops being YAML, and why."""
    mark, problem = getattr(e, "problem_mark", None), getattr(e, "problem", None) or " ".join(str(e).split())
    line = f", line {mark.line + 1}" if mark else ""
    return HarnessError(f"{path}{line}: not YAML: {problem}", "mend that line")


def line_of(path: Path, keys: Sequence[str], value: str | None = None, *, deepest: bool = False) -> int:
    """Return the number of the line of a key within keys in a YAML file; 0 where it isn't there.

    Of a choice the branches are named without `choice`, as a parameter of a space is. value: a text that stands below
    the key; its line is taken, if it is there. deepest: where the last keys aren't there, those that are will do.
    """
    try:
        node = yaml.compose(path.read_text(encoding="utf-8-sig"), Loader=yaml.SafeLoader)
    except (OSError, ValueError, RecursionError, yaml.YAMLError):
        return 0
    line = 0
    for key in keys:
        pair = _pair(node, key) or _pair((_pair(node, "choice") or (None, None))[1], key)
        if pair is None:
            if not deepest:
                return 0
            break
        line, node = pair[0].start_mark.line + 1, pair[1]
    scalars = _scalars(node) if value is not None and line else []
    return next((s.start_mark.line + 1 for s in scalars if s.value == value), line)


def _pair(node: Any, key: str) -> tuple[Any, Any] | None:
    """Return what names a part of a node and the part itself."""
    if isinstance(node, yaml.MappingNode):
        return next(((k, v) for k, v in node.value if k.value == key), None)
    if isinstance(node, yaml.SequenceNode) and key.isdecimal() and int(key) < len(node.value):
        return node.value[int(key)], node.value[int(key)]
    return None


def _scalars(node: Any) -> Iterator[Any]:
    if isinstance(node, yaml.ScalarNode):
        yield node
        return
    for part in node.value:
        for inner in part if isinstance(part, tuple) else (part,):
            yield from _scalars(inner)
