"""A network as pure data."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from harness.errors import HarnessError, within
from harness.models.rounding import nearest8


@dataclass(frozen=True)
class Stage:
    """One block, repeated.

    block: a name in `models.build.BLOCKS`. channels: output channels (0 where a block keeps its input's).
    stride_on: which repeat carries the stride (the course strides the last Conv but the first inverted residual).
    options: what this block alone takes (kernel, activation, expand, ...). source: where it stood, for messages alone.
    """

    block: str
    channels: int = 0
    repeat: int = 1
    stride: int = 1
    stride_on: Literal["first", "last"] = "first"
    options: dict[str, Any] = field(default_factory=dict)
    source: str = field(default="", compare=False)

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values, the options beside the rest."""
        base = {k: getattr(self, k) for k in ("block", "channels", "repeat", "stride", "stride_on")}
        return base | self.options

    def scaled(self, depth: float, width: float) -> Stage:
        """Multiply repeats (at least 1) and channels (to the nearest multiple of 8), as the course's multiples do."""
        repeat = max(round(self.repeat * depth), 1) if self.repeat > 1 else self.repeat
        channels = self.channels if width == 1 or not self.channels else nearest8(self.channels * width)
        return replace(self, repeat=repeat, channels=channels)

    @classmethod
    def from_dict(cls, raw: dict[str, Any], where: str = "stage") -> Stage:
        """Rebuild from plain values; unknown keys are the block's options, checked when it is built."""
        if not isinstance(raw, dict) or "block" not in raw:
            raise HarnessError(f"{where}: {raw!r} names no block", "write `block: conv` and its arguments")
        for name in ("channels", "repeat"):
            within(raw.get(name, 1), 0, 1e9, f"{where}.{name}", whole=True)
        known = {k: raw[k] for k in ("block", "channels", "repeat", "stride", "stride_on") if k in raw}
        return cls(**known, options={k: v for k, v in raw.items() if k not in known})


@dataclass(frozen=True)
class ModelSpec:
    """Stages in order; the builder adds global average pooling and the classifier."""

    stages: tuple[Stage, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {"stages": [s.to_dict() for s in self.stages]}

    @classmethod
    def from_dict(cls, raw: dict[str, Any], where: str = "model") -> ModelSpec:
        """Rebuild from plain values; a null stage (the space's `pass`) is left out.

        `depth_multiple` and `width_multiple` are worked into the stages, so that what is recorded is what is built.
        """
        stages = raw.get("stages") if isinstance(raw, dict) else None
        if not stages or not isinstance(stages, list):
            raise HarnessError(f"{where}: no stages", "list at least one stage under `model.stages`")
        unknown = set(raw) - {"stages", "depth_multiple", "width_multiple"}
        if unknown:
            raise HarnessError(
                f"{where}: unknown part '{sorted(unknown)[0]}'", "allowed: stages, depth_multiple, width_multiple"
            )
        depth, width = (raw.get(f"{name}_multiple", 1.0) for name in ("depth", "width"))
        within(depth, 0.01, 100, f"{where}.depth_multiple")
        within(width, 0.01, 100, f"{where}.width_multiple")
        kept = [(i, s) for i, s in enumerate(stages) if s is not None]
        read = [Stage.from_dict(s, f"{where}.stages.{i}") for i, s in kept]
        return cls(tuple(s.scaled(depth, width) for s in read))

    def digest(self) -> str:
        """Hash the canonical JSON (16 hex digits)."""
        return hashlib.sha256(json.dumps(self.to_dict(), sort_keys=True).encode()).hexdigest()[:16]
