"""How a process of ours ended, in words."""

from __future__ import annotations

import signal
from pathlib import Path


def words(code: int, kills: int) -> str:
    """Say why a process ended with a code, negative for a signal; '' where all went well. kills: `oom_kills` before."""
    if code == 0:
        return ""
    if code > 0:
        return f"its process ended with code {code}"
    if code == -signal.SIGKILL and oom_kills() > kills:
        return "out of memory: the system killed its process"
    hint = " (the system does that when memory runs out)" if code == -signal.SIGKILL else ""
    return f"its process was killed by signal {-code}{hint}"


def oom_kills() -> int:
    """Count what the system has killed for want of memory: in this control group, else on this machine, since boot.

    Source: https://docs.kernel.org/admin-guide/cgroup-v2.html (memory.events), and Linux' mm/vmstat.c
    """
    own = Path("/proc/self/cgroup")
    groups = [line[3:] for line in own.read_text().splitlines() if line.startswith("0::")] if own.exists() else []
    counters = [*(Path(f"/sys/fs/cgroup{group}/memory.events") for group in groups), Path("/proc/vmstat")]
    for counter in counters:
        if counter.exists():
            rows = dict(line.split() for line in counter.read_text().splitlines())
            return int(rows.get("oom_kill", 0))
    return 0
