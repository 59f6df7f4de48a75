"""Where the training runs."""

from __future__ import annotations

import torch

from harness.errors import HarnessError


def device_of(name: str) -> torch.device:
    """Turn `auto`, `cpu` or `cuda` into a device; `auto` takes the accelerator where there is one."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if name not in ("cpu", "cuda") or (name == "cuda" and not torch.cuda.is_available()):
        here = "auto, cpu" + (", cuda" if torch.cuda.is_available() else " (no CUDA device is seen here)")
        raise HarnessError(f"device={name}: not available; allowed: {here}", "use device=auto")
    return torch.device(name)
