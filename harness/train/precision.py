"""Memory layout and number format, found by trying them on this machine."""

from __future__ import annotations

import contextlib
import copy
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from torch.overrides import TorchFunctionMode

from harness.errors import HarnessError

LAYOUTS = {"channels_last": torch.channels_last, "contiguous": torch.contiguous_format}
DTYPES = ("float32", "bfloat16", "mixed")
AUTO = "auto"
WORTH = 1.1  # bfloat16 must be this much faster to be worth its rounding
AGREE = 0.05  # its outputs must be this near to float32's, relative to their spread
ALIGNED = (
    0.8  # and every weight's gradient must point in float32's direction (cosine; rounding alone leaves 0.92 to 0.99)
)


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

    dtype: float32, bfloat16, or mixed (bfloat16, with depthwise and other grouped convolutions in float32).
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
                stack.enter_context(torch.autocast(device.type, torch.bfloat16))
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


def probe(model: nn.Module, resolution_px: int, batch: int, device: torch.device, seed: int = 0) -> Precision:
    """Choose layout and format for a network: the fastest that computes what float32 does, forward and backward.

    Which one wins depends on network and processor: bfloat16 halves the time of dense nets and doubles that of
    depthwise ones on some, and some of its convolutions are wrong.
    Source: https://github.com/pytorch/pytorch/issues/163347, issues/169688, issues/183815
    """
    if device.type == "cuda":
        return Precision("channels_last", "bfloat16")
    batch = min(batch, 64)
    draw = torch.Generator().manual_seed(seed)
    images = torch.randn(batch, 3, resolution_px, resolution_px, generator=draw)
    grouped = any(isinstance(m, nn.Conv2d) and m.groups > 1 for m in model.modules())
    plain = _try(model, images, Precision("channels_last", "float32"), device)
    others = [Precision("contiguous", "float32"), Precision("channels_last", "bfloat16")]
    others += [Precision("channels_last", "mixed")] * grouped
    best = plain
    for plan in others:
        tried = _try(model, images, plan, device, limit_s=1.5 * best.seconds)
        needed = 1.0 if plan.dtype == best.plan.dtype else WORTH
        if best.seconds / tried.seconds > needed and (plan.dtype == "float32" or _agree(tried, plain)):
            best = tried
    return Precision(best.plan.layout, best.plan.dtype, round(batch / best.seconds, 1))


@dataclass(frozen=True)
class _Tried:
    """What a plan did: the best step's seconds, the first step's logits, and the gradient of every weight."""

    plan: Precision
    seconds: float
    logits: torch.Tensor
    gradients: list[torch.Tensor]


def _agree(tried: _Tried, plain: _Tried) -> bool:
    """Say whether a plan computes what float32 does, but for rounding."""
    off = (tried.logits - plain.logits).abs().mean() / (plain.logits.std() + 1e-6)
    pairs = zip(tried.gradients, plain.gradients, strict=True)
    worst = min(F.cosine_similarity(a.flatten(), b.flatten(), dim=0) for a, b in pairs if b.norm() > 0)
    return bool(off < AGREE and worst > ALIGNED)  # a NaN fails both


def _try(
    model: nn.Module, images: torch.Tensor, plan: Precision, device: torch.device, limit_s: float = float("inf")
) -> _Tried:
    """Time training steps on a copy; a plan whose steps take longer than `limit_s` is not tried on.

    CPU time of the process, and not the wall's: the neighbours on this machine train too.
    """
    net = plan.place(copy.deepcopy(model)).to(device).train()
    weights = [p for p in net.parameters() if p.ndim > 1 and p.requires_grad]
    images = plan.place(images)
    labels = torch.arange(len(images)) % 2
    best, logits, gradients, begin = float("inf"), None, [], time.process_time()
    for step in range(6):
        start = time.process_time()
        with plan.autocast(device):
            found = net(images)
        F.cross_entropy(found.float(), labels).backward()
        if step == 0:  # it pays for the library's own set-up
            logits, gradients = found.detach().float(), [w.grad.clone() for w in weights]
            continue
        best = min(best, (time.process_time() - start) / torch.get_num_threads())
        if best > limit_s or (step >= 2 and time.process_time() - begin > 0.6):
            break
    return _Tried(plan, best, logits, gradients)
