"""The search space: a candidate written in YAML, with ranges where the search decides.

A space has the shape of a candidate. Any value in it may be a range instead:

    {choice: [a, b, c]}                 one of the values
    {choice: {name: subtree, ...}}      one of the subtrees; what stands in the others is not suggested
    {int: [low, high], step: k}         a whole number; `log: true` for a logarithmic scale
    {float: [low, high], step: x}       a number; likewise
    {each: [names], of: subtree}        a list with one copy of the subtree a name
    {down: [1, 2]}                      a stride: suggested while the map may still shrink, else 1

A parameter's name is its path with the branches taken (`model.stages.m3.conv.kernel`), so a parameter is suggested
only when it is used, and one name has one range.
"""

from __future__ import annotations

from collections import Counter
from typing import Any, Protocol

from harness.data.transforms import tried
from harness.errors import HarnessError, pick
from harness.models.build import BLOCKS, options_of
from harness.record.candidate import Candidate

KINDS = ("choice", "int", "float", "each", "down")
MODIFIERS = {"int": ("step", "log"), "float": ("step", "log"), "each": ("of",), "choice": (), "down": ()}


class Trial(Protocol):
    """What a space needs of a trial: Optuna's `suggest_*`."""

    def suggest_categorical(self, name: str, choices: list[Any]) -> Any: ...
    def suggest_int(self, name: str, low: int, high: int, *, step: int, log: bool) -> int: ...
    def suggest_float(self, name: str, low: float, high: float, *, step: float | None, log: bool) -> float: ...


def suggest(space: dict[str, Any], trial: Trial) -> Candidate:
    """Let a trial decide every range and return the candidate that results."""
    tree = {k: v for k, v in space.items() if k not in ("name", "min_map_px", "max_down")}
    return Candidate.from_dict(_Walk(trial, space).value(tree, ()), "space")


def branches(node: Any) -> list[str]:
    """Return the names of a choice's branches; none where it has no named ones, or is no choice."""
    choice = node.get("choice") if isinstance(node, dict) else None
    return list(choice) if isinstance(choice, dict) else []


def branch_of(node: Any, value: Any) -> Any:
    """Return the branch that a value names, where it stands for a choice of named ones; else the value."""
    return node["choice"][value] if isinstance(value, str) and value in branches(node) else value


def fixed(space: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """Return a copy of a space with subtrees replaced: {"augment.n": 2, "recipe.optimizer": {...}}.

    The name of one of a choice's branches stands for it: {"recipe.optimizer": "adamw"}.
    """
    result = dict(space)
    for path, value in changes.items():
        head, _, rest = path.partition(".")
        inner = result.get(head) or {}
        if rest and not isinstance(inner, dict):
            raise HarnessError(f"space: can't fix '{path}': '{head}' has no named parts", f"fix '{head}' as a whole")
        result[head] = fixed(inner, {rest: value}) if rest else branch_of(result.get(head), value)
    return result


def check(space: dict[str, Any]) -> None:
    """Try a space before a study uses it: every branch, with the smallest and the largest of everything.

    Raises:
        HarnessError: a range is misspelt or empty, a block or its option unknown, what it makes is no candidate, or
            its transforms make no images of the candidate's side.
    """
    for end in (0, -1):
        corner, turn = _Corner(end), 0
        while turn < corner.longest**2:  # a choice within a choice has its turns too
            candidate = suggest(space, corner)
            for stage in candidate.model.stages:
                pick(BLOCKS, stage.block, "space.model.stages")
                for name in stage.options:
                    pick(options_of(stage.block), name, f"space.model.stages ({stage.block})")
            try:
                tried(candidate.augment.transforms, candidate.resolution_px)
            except HarnessError as e:
                raise HarnessError(f"space.{e.what}", e.fix) from e
            turn += 1


class _Corner:
    """A trial that takes one end of every range and each of the choices in turn."""

    def __init__(self, end: int) -> None:
        self.end = end
        self.longest = 1
        self.taken: Counter[str] = Counter()

    def suggest_categorical(self, name: str, choices: list[Any]) -> Any:
        self.longest = max(self.longest, len(choices))
        self.taken[name] += 1
        return choices[(self.taken[name] - 1) % len(choices)]

    def suggest_int(self, name: str, low: int, high: int, *, step: int, log: bool) -> int:
        return (low, high)[self.end]

    def suggest_float(self, name: str, low: float, high: float, *, step: float | None, log: bool) -> float:
        return (low, high)[self.end]


class _Walk:
    """One walk through a space with one trial; it keeps count of the halvings so far."""

    def __init__(self, trial: Trial, space: dict[str, Any]) -> None:
        self.trial = trial
        self.max_down = int(space.get("max_down", 5))
        self.min_map_px = int(space.get("min_map_px", 2))
        self.downs = 0
        self.map_px: float | None = None

    def value(self, node: Any, path: tuple[str, ...]) -> Any:
        if isinstance(node, list):
            return [self.value(v, (*path, str(i))) for i, v in enumerate(node)]
        if not isinstance(node, dict):
            return node
        kind = next((k for k in KINDS if k in node), None)
        if kind is None:
            # the resolution comes first: how often the map may shrink depends on it
            keys = sorted(node, key=lambda k: k != "resolution_px") if not path else list(node)
            made = {}
            for key in keys:
                made[key] = self.value(node[key], (*path, str(key)))
                if not path and key == "resolution_px":
                    self.map_px = made[key]
            if made.get("block") and node.get("stride") in (2, 3):
                self._shrink(node["stride"])
            return made
        extra = set(node) - {kind} - set(MODIFIERS[kind])
        if extra:
            raise HarnessError(
                f"space {'.'.join(path)}: '{sorted(extra)[0]}' beside '{kind}'",
                f"beside '{kind}' only {', '.join(MODIFIERS[kind]) or 'nothing'} is allowed",
            )
        return getattr(self, f"_{kind}")(node, path)

    def _choice(self, node: dict[str, Any], path: tuple[str, ...]) -> Any:
        options, name = node["choice"], ".".join(path)
        if not options or not isinstance(options, (list, dict)):
            raise HarnessError(f"space {name}: choice of {options!r}", "list at least one value")
        taken = self.trial.suggest_categorical(name, list(options))
        return self.value(options[taken], (*path, str(taken))) if isinstance(options, dict) else taken

    def _int(self, node: dict[str, Any], path: tuple[str, ...]) -> int:
        low, high = _ends(node, "int", int, path)
        return self.trial.suggest_int(".".join(path), low, high, step=node.get("step", 1), log=node.get("log", False))

    def _float(self, node: dict[str, Any], path: tuple[str, ...]) -> float:
        low, high = _ends(node, "float", (int, float), path)
        step, log = node.get("step"), node.get("log", False)
        return self.trial.suggest_float(".".join(path), float(low), float(high), step=step, log=log)

    def _each(self, node: dict[str, Any], path: tuple[str, ...]) -> list[Any]:
        names = node["each"]
        if not isinstance(names, list) or not names or len(set(names)) < len(names) or "of" not in node:
            raise HarnessError(f"space {'.'.join(path)}: each of {names!r}", "write {each: [name, ...], of: subtree}")
        return [self.value(node["of"], (*path, str(name))) for name in names]

    def _down(self, node: dict[str, Any], path: tuple[str, ...]) -> int:
        if node["down"] not in ([1], [2], [1, 2], [2, 1]):
            raise HarnessError(f"space {'.'.join(path)}: down {node['down']!r}", "write down: [1, 2]")
        if self.downs >= self.max_down or (self.map_px or 1e9) / 2 < self.min_map_px:
            return 1
        taken = self.trial.suggest_categorical(".".join(path), list(node["down"]))
        if taken > 1:
            self._shrink(taken)
        return taken

    def _shrink(self, stride: int) -> None:
        self.downs += 1
        self.map_px = self.map_px / stride if self.map_px else None


def _ends(node: dict[str, Any], kind: str, types: Any, path: tuple[str, ...]) -> tuple[Any, Any]:
    """Return the ends of a range, in the order and of the kind that Optuna takes."""
    ends, step, log = node[kind], node.get("step"), node.get("log", False)
    where = f"space {'.'.join(path)}: {kind} {ends!r}"
    numbers = isinstance(ends, list) and len(ends) == 2 and all(isinstance(e, types) for e in ends)
    if not numbers or not ends[0] <= ends[1]:
        whole = "whole numbers " if kind == "int" else ""
        raise HarnessError(where, f"write {whole}[low, high] with low not above high")
    if step is not None and (not isinstance(step, types) or not step > 0):
        raise HarnessError(f"{where}, step {step!r}", "write a step above 0")
    if log and (step is not None or not ends[0] > 0):
        raise HarnessError(f"{where}, log: true", "write a low end above 0 and no step")
    return ends[0], ends[1]
