"""Plain values checked against a dataclass's annotations by pydantic; one clear error for the first that is wrong."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from functools import cache
from typing import Any, NotRequired, get_type_hints

from pydantic import AfterValidator, ConfigDict, TypeAdapter, ValidationError, with_config
from pydantic_core import ErrorDetails
from typing_extensions import TypedDict

from harness.errors import HarnessError, nearest

STRICT = with_config(ConfigDict(strict=True, extra="forbid"))
"""Decorates a TypedDict whose values are taken as they are, by the names that it has and no others."""
LONGEST = 80


def rule(allowed: str, fine: Callable[[Any], object]) -> AfterValidator:
    """Allow, of an annotated type's values, those that are fine; `allowed` says which in the error."""

    def check(value: Any) -> Any:
        if not fine(value):
            raise ValueError(allowed)
        return value

    return AfterValidator(check)


def between(low: float, high: float) -> AfterValidator:
    """Allow the numbers from low to high, both included."""
    return rule(f"{low:,} to {high:,}", lambda value: low <= value <= high)


def check(kind: type, raw: Any, where: str, fix: str) -> None:
    """Hold plain values against the fields of a dataclass: no value is converted, no name unknown, none missing.

    where: what the values are of, for the error; a field's path follows. fix: what to do where no name is near.

    Raises:
        HarnessError: the field by its full path, its value and what is allowed.
    """
    try:
        _adapter(kind).validate_python(raw)
    except ValidationError as e:
        first = min(e.errors(include_url=False), key=lambda error: error["type"] != "extra_forbidden")
        raise _said(kind, first, where, fix) from None


@cache
def _adapter(kind: type) -> TypeAdapter:
    # A dataclass itself would be built by pydantic, which then wants instances within it; a mapping may stay one.
    hints = get_type_hints(kind, include_extras=True)
    fields = {
        f.name: hints[f.name] if f.default is f.default_factory is dataclasses.MISSING else NotRequired[hints[f.name]]
        for f in dataclasses.fields(kind)
    }
    return TypeAdapter(STRICT(TypedDict(kind.__name__, fields)))


def _said(kind: type, error: ErrorDetails, where: str, fix: str) -> HarnessError:
    path = ".".join(map(str, error["loc"]))
    if error["type"] == "extra_forbidden":
        known = _names(kind, error["loc"][:-1])
        close = nearest(str(error["loc"][-1]), known) or f"known here: {', '.join(known)}; "
        return HarnessError(f"{where}: unknown field '{path}'", f"{close}{fix}")
    if error["type"] == "missing":
        return HarnessError(f"{where}: field '{path}' is missing", fix)
    allowed = str(error["ctx"]["error"]) if error["type"] == "value_error" else error["msg"].partition(" should be ")[2]
    value = repr(error["input"])[:LONGEST]
    return HarnessError(f"{where}: {path or '(the whole file)'} is {value}; allowed: {allowed or error['msg']}", fix)


def _names(kind: type, path: Iterable[str | int]) -> list[str]:
    for name in path:
        kind = get_type_hints(kind)[str(name)]
    return list(get_type_hints(kind))
