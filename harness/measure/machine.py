"""Which machine and which versions a number comes from."""

from __future__ import annotations

import os
import platform
from importlib import metadata
from pathlib import Path

PACKAGES = ("torch", "torchvision", "onnxruntime", "onnx", "optuna", "albumentations", "numpy", "wandb")


def cpu_name() -> str:
    """Read the processor's name."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or "unknown"


def cores() -> int:
    """Count the processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def machine() -> dict[str, str | int | float]:
    """Describe this machine: processor, cores, system, load."""
    return {
        "cpu": cpu_name(),
        "cores": cores(),
        "system": platform.platform(terse=True),
        "python": platform.python_version(),
        "load": round(os.getloadavg()[0], 2),
    }


def versions() -> dict[str, str]:
    """List the installed versions of what a result depends on."""
    from harness import __version__

    return {"harness": __version__} | {name: metadata.version(name) for name in PACKAGES}
