"""How a network is trained: memory layout and number format."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from harness.errors import HarnessError

LAYOUTS = {"channels_last": torch.channels_last, "contiguous": torch.contiguous_format}
DTYPES = ("float32", "bfloat16", "float16", "mixed")
AUTO = "auto"


class _GroupedInFloat32(TorchFunctionMode):
    """Run convolutions with groups in float32 inside a bfloat16 context: oneDNN has slow bfloat16 kernels for them."""

    def __torch_function__(
        self, function: Callable[..., Any], types: Any, args: tuple = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if function is torch.conv2d and (kwargs.get("groups", 1) if len(args) < 7 else args[6]) > 1:
            with torch.autocast(args[0].device.type, enabled=False):
                return function(args[0].float(), *args[1:], **kwargs).to(torch.bfloat16)
        return function(*args, **kwargs)


@dataclass(frozen=True)
class Precision:
    """How a network is trained: recorded with the trial. images_per_s: seen in the probe, 0 where none was made.

    dtype: float32; bfloat16; float16, whose loss is scaled in training; or mixed (bfloat16, with depthwise and other
    grouped convolutions in float32).
    """

    layout: str = "channels_last"
    dtype: str = "float32"
    images_per_s: float = 0.0

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return asdict(self)

    def place(self, x: torch.Tensor) -> torch.Tensor:
        """Lay out a batch (N, C, H, W) or a network."""
        return x.to(memory_format=LAYOUTS[self.layout])

    @contextlib.contextmanager
    def autocast(self, device: torch.device) -> Iterator[None]:
        """Open the context for the forward pass."""
        with contextlib.ExitStack() as stack:
            if self.dtype != "float32":
                half = torch.float16 if self.dtype == "float16" else torch.bfloat16
                stack.enter_context(torch.autocast(device.type, half))
            if self.dtype == "mixed":
                stack.enter_context(_GroupedInFloat32())
            yield


def fixed(layout: str, dtype: str) -> Precision | None:
    """Return the precision that the settings fix, or None where a part of it is left to the probe.

    Raises:
        HarnessError: an unknown layout or number format, or only one of the two is fixed.
    """
    for name, value, allowed in (("layout", layout, tuple(LAYOUTS)), ("dtype", dtype, DTYPES)):
        if value not in (AUTO, *allowed):
            raise HarnessError(f"{name}={value}: allowed: {', '.join((AUTO, *allowed))}", f"set {name}={AUTO}")
    if (layout == AUTO) != (dtype == AUTO):
        raise HarnessError(
            f"layout={layout} dtype={dtype}: one is fixed and the other is not",
            "fix both, or leave both to the probe (auto)",
        )
    return None if layout == AUTO else Precision(layout, dtype)
