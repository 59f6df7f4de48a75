"""The processors that this process is given, and how many threads it uses of them."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from harness.errors import HarnessError

ROOT = Path("/")
"""Where the system's own files lie: `proc` and `sys`."""


@dataclass(frozen=True)
class Given:
    """What this process gets of its machine.

    present: how many processors the machine has. allowed: those that this process may run on. quota: of how many
    processors' time its control groups let it have; infinite where they set no limit.
    """

    present: int
    allowed: tuple[int, ...]
    quota: float = math.inf

    @property
    def cores(self) -> int:
        """Count the processors that can work for this process at once, at least 1."""
        return int(max(1, min(len(self.allowed), self.quota)))

    def __str__(self) -> str:
        """Say it in words, with what takes the others away."""
        plural = "processor" if self.present == 1 else "processors"
        if self.cores == self.present and self.quota >= self.present:
            return f"{self.present} {plural}"
        why = f"a CPU quota of {self.quota:g}" if self.quota < len(self.allowed) else "the others aren't allowed"
        return f"{self.cores} of {self.present} {plural} ({why})"


def given(root: Path = ROOT) -> Given:
    """Look up what this process gets now."""
    present = os.cpu_count() or 1
    allowed = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else range(present)
    return Given(present, tuple(sorted(allowed)), quota(root))


def cores() -> int:
    """Count the processors that this process may use at once: by its affinity and its CPU quota; at least 1."""
    return given().cores


def threads(asked: int = 0, workers: int = 1) -> tuple[int, str]:
    """Return how many threads each of some workers uses, and why; '' where there is nothing to say.

    asked: by a setting, which wins; 0: by OMP_NUM_THREADS, where it is set, else an even share. Never more than given.
    """
    here = given()
    share = max(1, here.cores // max(1, workers))
    wanted, by, most = (asked, "threads", here.cores) if asked else (_of_openmp(), "OMP_NUM_THREADS", share)
    used = min(wanted or share, most)
    if not wanted or (used == wanted and (asked or used == share)):
        return used, ""
    who = f"each of {workers} workers uses" if workers > 1 else "uses"
    return used, f"{by}={wanted}: {who} {used} thread{'s' * (used > 1)}; this machine gives {here}"


def check_threads(asked: int, workers: int = 1, name: str = "competition.threads") -> None:
    """Refuse to time a network on more threads than there are processors: they would wait for one another.

    workers: how many of us do so on this machine, each on its share of the processors.

    Raises:
        HarnessError: this process isn't given as many.
    """
    here = given()
    if asked * workers <= max(here.cores, workers):
        return
    each = f", shared by workers={workers}" if workers > 1 else ""
    fewer = ", or fewer workers" if workers > 1 else ""
    raise HarnessError(
        f"{name}={asked}: as many processors are needed, and this process is given {here}{each}",
        f"measure on a machine that gives it {asked * workers}{fewer}; or set {name}={max(1, here.cores // workers)}",
    )


def listed(text: str) -> tuple[int, ...]:
    """Read a list of processors as Linux writes it, such as `0-3,8`.

    Source: https://man7.org/linux/man-pages/man7/cpuset.7.html (list format)
    """
    ranges = [part.split("-") for part in text.strip().split(",") if part]
    return tuple(number for ends in ranges for number in range(int(ends[0]), int(ends[-1]) + 1))


def quota(root: Path = ROOT) -> float:
    """Return of how many processors' time this process's control groups let it have: the least on the way up.

    Source: https://www.kernel.org/doc/html/latest/admin-guide/cgroup-v2.html#cpu-interface-files,
        https://www.kernel.org/doc/html/latest/scheduler/sched-bwc.html (cpu.cfs_quota_us, of version 1)
    """
    return min((limit for folder in _groups(root) for limit in _limits(folder)), default=math.inf)


def _of_openmp() -> int:
    """Read OMP_NUM_THREADS; of a list, one number a level, the first. 0 where it isn't set, or says nothing."""
    first = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()
    return int(first) if first.isdecimal() else 0


def _groups(root: Path) -> Iterator[Path]:
    """Yield the folders of this process's control groups that can limit its time, and of all those above them."""
    try:
        mine = [line.split(":", 2) for line in (root / "proc/self/cgroup").read_text().splitlines()]
        mounts = [line.split(" - ") for line in (root / "proc/self/mountinfo").read_text().splitlines()]
    except OSError:  # no Linux, or a /proc that is closed
        return
    # an empty list of controllers is version 2's
    paths = {"cgroup2" if not names else "cgroup": path for _, names, path in mine if {"", "cpu"} & {*names.split(",")}}
    for before, after in (mount for mount in mounts if len(mount) == 2):
        kind, _, options = after.split(" ", 2)
        top, point = (_unescaped(word) for word in before.split(" ")[3:5])
        if kind not in paths or (kind == "cgroup" and "cpu" not in options.split(",")):
            continue
        below = Path(paths[kind])
        below = below.relative_to(top) if below.is_relative_to(top) else Path()  # seen from within a container
        for part in (below, *below.parents):
            yield root / point.lstrip("/") / part


def _unescaped(word: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda code: chr(int(code[1], 8)), word)


def _limits(folder: Path) -> Iterator[float]:
    """Yield a group's own limit, in processors, where it has one."""
    try:
        if (both := folder / "cpu.max").exists():
            most, period = both.read_text().split()
        else:
            most, period = ((folder / f"cpu.cfs_{name}_us").read_text().strip() for name in ("quota", "period"))
        if most not in ("max", "-1"):
            yield int(most) / int(period)
    except (OSError, ValueError):  # the topmost group has no such files
        return
