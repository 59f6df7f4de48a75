"""What the arguments of a course module may be: each kind reads a value as the baseline does, or refuses it."""

from __future__ import annotations

from typing import Annotated, Any

from harness.errors import HarnessError, nearest
from harness.models.activation import ACTIVATIONS


def refuse(value: Any, where: str, allowed: str) -> HarnessError:
    """Return the error of a value that isn't understood."""
    return HarnessError(f"{where}={value!r}: allowed: {allowed}", f"write {where.rpartition(': ')[2]} as such a one")


def whole(value: Any, where: str, low: int = 1, high: float = 1e6) -> int:
    """Return a whole number; 2.0 is one, a number in quotes isn't.

    Raises:
        HarnessError: it is no whole number, or out of range.
    """
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not low <= value <= high or value != int(value):
        raise refuse(value, where, f"a whole number, {low} to {high:,g}")
    return int(value)


def positive(value: Any, where: str) -> float:
    """Return a number above 0."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not 0 < value <= 1e6:
        raise refuse(value, where, "a number above 0")
    return value


def flag(value: Any, where: str) -> bool:
    """Return 0 or 1, false or true, as a truth value."""
    if not isinstance(value, int) or value not in (0, 1):
        raise refuse(value, where, "0 or 1, false or true")
    return bool(value)


def side(value: Any, where: str) -> int:
    """Return a kernel or a size: a whole number, or a list of the same one for height and width."""
    if isinstance(value, list) and len(value) == 2 and value[0] == value[1]:
        value = value[0]
    if isinstance(value, list):
        raise refuse(value, where, "a whole number, or twice the same for height and width")
    return whole(value, where)


def small_stride(value: Any, where: str) -> int:
    """Return a stride of a block that has 1 or 2 alone."""
    found = side(value, where)
    if found > 2:
        raise refuse(value, where, "1 or 2")
    return found


def pool_stride(value: Any, where: str) -> int | None:
    """Return a stride, as `side`; null is the kernel's."""
    return None if value is None else side(value, where)


def padding(value: Any, where: str) -> int | None:
    """Return a padding, None for kernel // 2: the baseline's `padding or ...`, for which null and 0 are the same.

    A list means what it says: [0] is none at all.
    """
    if value is None or value == []:
        return None
    if isinstance(value, list):
        if len(value) > 2 or len(set(map(repr, value))) != 1:
            raise refuse(value, where, "null, a whole number, or a list of one for height and width")
        return whole(value[0], where, low=0)
    return whole(value, where, low=0) or None


def pool_padding(value: Any, where: str) -> int:
    """Return a pooling's padding: 0 is none, as torch has it."""
    if isinstance(value, list) and len(value) == 2 and value[0] == value[1]:
        value = value[0]
    return whole(value, where, low=0)


def activation(value: Any, where: str) -> str:
    """Return our name of an activation that the baseline takes from torch's or its own; null is none."""
    if value is None:
        return "identity"
    if not isinstance(value, str) or value.lower() not in ACTIVATIONS:
        names = ", ".join(sorted(ACTIVATIONS))
        raise HarnessError(
            f"{where}={value!r}: unknown activation; allowed, in any case: null, {names}",
            f"{nearest(str(value).lower(), ACTIVATIONS)}use one of these",
        )
    return TORCHS.get(value.lower(), value)


TORCHS = {"leakyrelu": "leakyrelu0.01"}
"""Where our own name means another function than torch's."""


def share(value: Any, where: str) -> float:
    """Return a number from 0 to below 1."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not 0 <= value < 1:
        raise refuse(value, where, "a number from 0 to below 1")
    return float(value)


def fixed(value: Any, where: str) -> Any:
    """Return 1, false or null: of an argument that has no other value in any file, and that we can't do otherwise."""
    if value not in (1, False, None) or value is True:
        raise refuse(value, where, "1, false or null alone")
    return value


Whole = Annotated[int, whole]
Number = Annotated[float, positive]
Flag = Annotated[bool, flag]
Side = Annotated[int, side]
SmallStride = Annotated[int, small_stride]
PoolStride = Annotated[int | None, pool_stride]
Padding = Annotated[int | None, padding]
PoolPadding = Annotated[int, pool_padding]
Activation = Annotated[str, activation]
Share = Annotated[float, share]
Fixed = Annotated[Any, fixed]
