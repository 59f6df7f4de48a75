"""The command line that makes a strict box with bubblewrap.

Source: https://github.com/containers/bubblewrap (bwrap(1), version 0.8)
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

from harness.errors import HarnessError

NAMESPACES = ("pid", "net", "ipc", "uts", "mnt") + (() if os.geteuid() == 0 else ("user",))  # by their names in /proc
TEMPORARY_BYTES = 16_000_000
ENVIRONMENT = {"LD_LIBRARY_PATH": "/python/lib", "OPENBLAS_NUM_THREADS": "1", "HOME": "/tmp"}  # all of it
ROOT = {"usr", "lib", "lib64", "python", "packages", "boot.py", "program.py", "file", "tmp", "proc", "sys"}
"""The most that may be seen at the box's root."""
PYTHON = "/python/bin/python3"
_NOBODY = "65534"
_UNSHARED = ["--unshare-pid", "--unshare-net", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup-try"]
_BY_ROOT = ["--cap-drop", "ALL", "--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID"]  # `boot` gives these two up
_BY_USER = ["--unshare-user", "--uid", _NOBODY, "--gid", _NOBODY, "--disable-userns", "--cap-drop", "ALL"]


def program() -> str:
    """Find bubblewrap.

    Raises:
        HarnessError: it isn't installed.
    """
    if found := shutil.which("bwrap"):
        return found
    raise HarnessError(
        "the sandbox: bubblewrap isn't installed (no bwrap on PATH)",
        "apt-get install bubblewrap (docs/sandbox.md); sandbox=unsafe is for your own models alone",
    )


def arguments(readable: Mapping[str, Path], file: int | None, info: int) -> list[str]:
    """Return the command up to the interpreter.

    readable: place in the box to path on the host. file: descriptor whose content becomes /file, read once. info:
    descriptor for the number of the process.
    """
    box = [program(), *_UNSHARED, *(_BY_ROOT if os.geteuid() == 0 else _BY_USER)]
    box += ["--die-with-parent", "--new-session", "--hostname", "box", "--info-fd", str(info)]
    for name, value in ENVIRONMENT.items():
        box += ["--setenv", name, value]
    places = _system() | dict(readable)
    for folder in sorted({str(parent) for place in places for parent in Path(place).parents if parent.name}):
        box += ["--perms", "0755", "--dir", folder]  # those made in passing may be root's alone
    for place, path in places.items():
        box += ["--symlink", os.readlink(path), place] if path.is_symlink() else ["--ro-bind", str(path), place]
    if file is not None:
        box += ["--perms", "0444", "--ro-bind-data", str(file), "/file"]
    box += ["--size", str(TEMPORARY_BYTES), "--perms", "1777", "--tmpfs", "/tmp"]
    return [*box, "--remount-ro", "/", "--chdir", "/", PYTHON]


def _system() -> dict[str, Path]:
    """Libraries of the system and the interpreter: no program but that, no settings, no /proc, no devices."""
    prefix = Path(sys.base_prefix)
    wanted = {place: Path(place) for place in ("/usr/lib", "/usr/lib64", "/lib", "/lib64")}
    wanted |= {f"/python/{name}": (prefix / name).resolve() for name in ("lib", "lib64")}
    wanted["/python/bin/python3"] = Path(sys.executable).resolve()
    wanted["/proc/cpuinfo"] = Path("/proc/cpuinfo")  # ONNX Runtime chooses its kernels by it
    wanted["/sys/devices/system/cpu"] = Path("/sys/devices/system/cpu")
    return {place: path for place, path in wanted.items() if path.exists()}
