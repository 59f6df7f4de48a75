"""The memory that a process holds during and between trainings."""

from __future__ import annotations

import ctypes
import gc
import re
from pathlib import Path

MADV_DONTNEED = 4
MMAP_THRESHOLD, TRIM_THRESHOLD = -3, -1  # glibc's numbers for what `mallopt` sets
LARGE = 1 << 30
AREA = re.compile(r"^([0-9a-f]+)-([0-9a-f]+) r-[x-]p .*\.so", re.MULTILINE)


def keep() -> None:
    """Let glibc keep what a training step frees for the next step.

    By default it maps each large tensor anew, and the kernel clears its pages: 5 % of a step on one thread, 7 % to
    16 % on two.
    Source: https://man7.org/linux/man-pages/man3/mallopt.3.html
    """
    if mallopt := getattr(ctypes.CDLL(None), "mallopt", None):  # glibc's own
        mallopt(MMAP_THRESHOLD, LARGE)
        mallopt(TRIM_THRESHOLD, LARGE)


def give_back() -> None:
    """Give back what is free: glibc keeps pieces of what each network took, 100 MB and more in all.

    Source: https://man7.org/linux/man-pages/man3/malloc_trim.3.html
    """
    gc.collect()
    if trim := getattr(ctypes.CDLL(None), "malloc_trim", None):  # glibc's own
        trim(0)
    _unmap_libraries()


def _unmap_libraries() -> None:
    """Let go of the pages of libraries that loading alone has touched; the system maps them again where they are used.

    A torch built for CUDA touches 200 MB of libraries that a CPU never runs. Only areas without a page of our own
    are let go: those hold what the file holds. Linux alone; elsewhere nothing happens.
    Source: https://man7.org/linux/man-pages/man2/madvise.2.html
    """
    areas = Path("/proc/self/smaps")
    if not areas.exists():
        return
    madvise = ctypes.CDLL(None).madvise
    madvise.argtypes = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int
    for area in re.split(r"\n(?=[0-9a-f]+-[0-9a-f]+ )", areas.read_text()):
        found = AREA.match(area)
        if found and re.search(r"^Anonymous: +0 kB", area, re.MULTILINE):
            begin, end = (int(edge, 16) for edge in found.groups())
            madvise(begin, end - begin, MADV_DONTNEED)
