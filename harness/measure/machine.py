"""Which machine and which versions a number comes from."""

from __future__ import annotations

import math
import os
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from harness.measure.pinning import siblings
from harness.processors import ROOT, given

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


def steal_s() -> float:
    """Sum the seconds that the host has taken from this process's processors since boot; 0.0 where nobody counts."""
    stat = Path("/proc/stat")
    if not stat.exists():
        return 0.0
    mine = {f"cpu{i}" for i in given().allowed}
    rows = (line.split() for line in stat.read_text().splitlines() if line.startswith("cpu"))
    # Source: https://man7.org/linux/man-pages/man5/proc_stat.5.html (steal is the eighth figure)
    return sum(int(row[8]) for row in rows if row[0] in mine) / os.sysconf("SC_CLK_TCK")


def machine(root: Path = ROOT) -> dict[str, Any]:
    """Describe this machine: processor, what of it this process is given, its frequencies, system, load.

    cores: processors that can work for this process at once. processors: that the machine has. quota: of how many
    processors' time; left out where there is no limit. threads_a_core: hyper-threads that are visible.
    """
    here = given(root)
    return {
        "cpu": cpu_name(),
        "cores": here.cores,
        "processors": here.present,
        **({"quota": here.quota} if here.quota < math.inf else {}),
        "threads_a_core": max(len(core) for core in siblings(here.allowed, root).values()),
        **frequencies(here.allowed, root),
        "system": platform.platform(terse=True),
        "python": platform.python_version(),
        "load": round(os.getloadavg()[0], 2),
    }


def frequencies(processors: Sequence[int], root: Path = ROOT) -> dict[str, Any]:
    """Read what sets the processors' frequency, where the system shows it (few virtual machines do).

    governor: who chooses (with a + where it isn't the same for all). low_mhz, high_mhz: what it chooses from. boost:
    whether it may go beyond the processor's nominal frequency.
    Source: https://www.kernel.org/doc/html/latest/admin-guide/pm/cpufreq.html,
        https://www.kernel.org/doc/html/latest/admin-guide/pm/intel_pstate.html (no_turbo)
    """
    cpu = root / "sys/devices/system/cpu"
    policies = [cpu / f"cpu{number}/cpufreq" for number in processors]
    governors = sorted({text for folder in policies if (text := _read(folder / "scaling_governor"))})
    lows, highs = (
        [int(text) // 1000 for folder in policies if (text := _read(folder / f"scaling_{end}_freq")).isdecimal()]
        for end in ("min", "max")
    )
    boost, no_turbo = _read(cpu / "cpufreq/boost"), _read(cpu / "intel_pstate/no_turbo")
    return {
        **({"governor": "+".join(governors)} if governors else {}),
        **({"low_mhz": min(lows), "high_mhz": max(highs)} if lows and highs else {}),
        **({"boost": boost == "1" if boost else no_turbo == "0"} if boost or no_turbo else {}),
    }


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:  # not there, or for root alone
        return ""


def versions() -> dict[str, str]:
    """List the installed versions of what a result depends on."""
    from importlib import metadata  # here, for it takes 20 ms that the process of a measurement has better uses for

    from harness import __version__

    return {"harness": __version__} | {name: metadata.version(name) for name in PACKAGES}
