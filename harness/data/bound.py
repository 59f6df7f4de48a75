"""What fits into memory, asked before the first image is read."""

from __future__ import annotations

import math
from pathlib import Path

from harness.errors import HarnessError
from harness.torchrun import beside

SHARE = 0.25  # of the free memory: cutting the parts holds two copies for a moment, a trial a third at its own size


def refuse_too_big(count: int, side_px: int, max_gb: float = math.inf) -> None:
    """Refuse more pixels than fit, before the first is decoded.

    Raises:
        HarnessError: count squares of side_px take more than max_gb, or than `SHARE` of the memory that is free (both
            in 10^9 bytes); where torchrun has started several processes here, each reads its own.
    """
    need, free = count * side_px**2 * 3 / 1e9, free_gb() / (several := beside())
    allowed = min(max_gb, SHARE * free)
    if need <= allowed:
        return
    side = math.isqrt(int(allowed * 1e9 / 3 / count))
    if max_gb <= allowed:
        limit, way_out = f"data.max_gb allows {max_gb:g}", "raise data.max_gb"
    else:
        each = f" for each of {several} processes" if several > 1 else ""
        limit = f"{SHARE:.0%} of the free memory is {allowed:.1f}{each}"
        way_out = "take a machine with more memory"
    raise HarnessError(
        f"data.side_px={side_px}: {count:,} images take {need:.1f} GB, {limit}",
        f"lower data.side_px to {side} or less, or {way_out}",
    )


def free_gb() -> float:
    """Return the memory that can be had without swapping, in 10^9 bytes; infinite where the system doesn't tell."""
    return _memory_gb("MemAvailable")


def whole_gb() -> float:
    """Return all the memory that this machine, or this container, has, in 10^9 bytes; infinite likewise."""
    return _memory_gb("MemTotal")


def _memory_gb(row: str) -> float:
    """Read a row of Linux' table; a container's limit is another.

    Source: https://www.kernel.org/doc/html/latest/filesystems/proc.html#meminfo,
        https://www.kernel.org/doc/html/latest/admin-guide/cgroup-v2.html#memory-interface-files
    """
    found = math.inf
    if (info := Path("/proc/meminfo")).exists():
        rows = dict(line.split(":") for line in info.read_text().splitlines())
        found = int(rows[row].split()[0]) * 1024 / 1e9
    limit = Path("/sys/fs/cgroup/memory.max")  # a container's own
    if limit.exists() and (most := limit.read_text().strip()) != "max":
        found = min(found, int(most) / 1e9)
    return found
