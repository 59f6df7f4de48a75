"""What the command line changes within a group's tree, such as a space: a choice is replaced, other mappings merge."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from harness.errors import HarnessError
from harness.search.space import KINDS, branch_of, branches


def change(tree: dict[str, Any], path: str, value: Any, group: str) -> None:
    """Set what stands at a path in a tree; a branch of a choice is named without `choice`.

    The name of one of a choice's branches takes that branch: space.recipe.optimizer=adamw.

    Raises:
        HarnessError: the path leads through something that holds no others.
    """
    keys = path.split(".")
    node: Any = tree
    for number, key in enumerate(keys[:-1]):
        node = _inner(node, key, f"{group}.{path}", keys[number:])
    key = keys[-1]
    node = _holder(node, key, f"{group}.{path}", keys[-1:])
    at = int(key) if isinstance(node, list) else key
    before = node[at] if isinstance(node, list) or key in node else None
    value = branch_of(before, value)
    both = isinstance(before, dict) and isinstance(value, dict)
    node[at] = before | value if both and not is_range(before) and not is_range(value) else value


def is_range(node: Any) -> bool:
    """Tell whether a search decides a value."""
    return isinstance(node, dict) and any(kind in node for kind in KINDS)


def change_fixed(fix: dict[str, Any], path: str, value: Any) -> None:
    """Set what a proxy fixes in the space, by its path there: {"recipe.batch": 64}."""
    outer = next((key for key in fix if path.startswith(f"{key}.") and isinstance(fix[key], dict)), None)
    if outer is None:
        fix[path] = value
    else:
        fix[outer] = dict(fix[outer])
        change(fix[outer], path.removeprefix(f"{outer}."), value, f"proxy.fix.{outer}")


def let_go(fix: dict[str, Any], path: str, value: Any) -> bool:
    """Have a proxy no longer fix what the command line sets in the space: `space.PATH=...` goes before `proxy.fix`.

    Returns whether it is part of what the proxy fixes, and has been set there.

    Raises:
        HarnessError: the proxy fixes another branch than the one that is set.
    """
    for key in [key for key in fix if key == path or key.startswith(f"{path}.")]:
        del fix[key]
    for key, fixed in fix.items():
        inner = path.removeprefix(f"{key}.")
        if inner == path:
            continue
        branch, _, rest = inner.partition(".")
        if isinstance(fixed, dict) and branch in fixed:
            change_fixed(fix, path, value)
            return True
        if isinstance(fixed, dict) and rest in fixed and fixed.get("name") == branch:
            change_fixed(fix, f"{key}.{rest}", value)
            return True
        what = f"space.{path}: the proxy fixes {key} to {fixed}"
        raise HarnessError(what, f"set space.{key}=... as a whole, proxy.fix.{key}=..., or another proxy=")
    return False


def named(tree: Any, name: str, path: str = "") -> Iterator[str]:
    """Yield the paths of a tree that end with a name, as `change` takes them, with the branches where it has any."""
    if not isinstance(tree, dict):
        return
    for key, inner in tree.items():
        here = path if key == "choice" else f"{path}.{key}" if path else str(key)
        if key == name:
            yield f"{here}={'|'.join(branches(inner)) or '...'}"
        else:
            yield from named(inner, name, here)


def _inner(node: Any, key: str, path: str, rest: Sequence[str]) -> Any:
    node = _holder(node, key, path, rest)
    if isinstance(node, list):
        return node[int(key)]
    if not isinstance(node.get(key), (dict, list)):
        if key in node and node[key] is not None:
            raise HarnessError(f"{path}: {key} is {node[key]!r}, which has no parts", f"set {key} as a whole")
        node[key] = {}
    return node[key]


def _holder(node: Any, key: str, path: str, rest: Sequence[str]) -> Any:
    """Return what holds a key: of a choice its branches."""
    if isinstance(node, list):
        if not key.isdecimal() or int(key) >= len(node):
            raise HarnessError(f"{path}: '{key}' in a list of {len(node)}", f"give a number, 0 to {len(node) - 1}")
        return node
    if not branches(node) or key in node:
        return node
    if key not in branches(node):
        before, after = path.removesuffix(".".join(rest)), ".".join(rest)
        ways = " or ".join(f"{before}{name}.{after}=..." for name in branches(node))
        raise HarnessError(f"{path}: '{key}' beside a choice of {', '.join(branches(node))}", f"set {ways}")
    return node["choice"]
