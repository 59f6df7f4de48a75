"""Which machine and which versions a number comes from."""

from __future__ import annotations

import os
import platform
from pathlib import Path

PACKAGES = ("torch", "torchvision", "onnxruntime", "onnx", "optuna", "albumentations", "numpy", "wandb")


def cpu_name() -> str:
    """Read the processor's name."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or "unknown"


def microcode() -> str:
    """Read the version of the processor's microcode; empty where nobody says."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("microcode")), "")


def cores() -> int:
    """Count the processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def steal_s() -> float:
    """Sum the seconds that the host has taken from this process's processors since boot; 0.0 where nobody counts."""
    stat = Path("/proc/stat")
    if not stat.exists():
        return 0.0
    mine = {f"cpu{i}" for i in os.sched_getaffinity(0)}
    rows = (line.split() for line in stat.read_text().splitlines() if line.startswith("cpu"))
    # Source: https://man7.org/linux/man-pages/man5/proc_stat.5.html (steal is the eighth figure)
    return sum(int(row[8]) for row in rows if row[0] in mine) / os.sysconf("SC_CLK_TCK")


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
    from importlib import metadata  # here, for it takes 20 ms that the process of a measurement has better uses for

    from harness import __version__

    return {"harness": __version__} | {name: metadata.version(name) for name in PACKAGES}
