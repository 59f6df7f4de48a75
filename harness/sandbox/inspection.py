"""Look at a boxed process from outside: has it really given everything up?"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

from harness.sandbox import bubblewrap

_TITLES = {
    "RLIMIT_AS": "Max address space",
    "RLIMIT_CPU": "Max cpu time",
    "RLIMIT_FSIZE": "Max file size",
    "RLIMIT_NOFILE": "Max open files",
    "RLIMIT_CORE": "Max core file size",
    "RLIMIT_NPROC": "Max processes",
}


def lacking(pid: int, orders: dict[str, Any]) -> list[str]:
    """List what a strict box's process, still at its first program, should have and hasn't; by its number here.

    Raises:
        OSError: it is gone, or may not be looked at.
    """
    return [*_namespaces(pid), *_privileges(pid, orders["user"] or os.geteuid()), *_limits(pid, orders), *_sights(pid)]


def _namespaces(pid: int) -> Iterator[str]:
    for name in bubblewrap.NAMESPACES:
        if os.readlink(f"/proc/{pid}/ns/{name}") == os.readlink(f"/proc/self/ns/{name}"):
            yield f"a {name} namespace of its own"


def _privileges(pid: int, user: int) -> Iterator[str]:
    with open(f"/proc/{pid}/status") as file:
        status = dict(line.split(":", 1) for line in file)
    if status["Seccomp"].strip() != "2":
        yield "a seccomp filter"
    if status["NoNewPrivs"].strip() != "1":
        yield "no_new_privs"
    if any(int(status[f"Cap{kind}"], 16) for kind in ("Inh", "Prm", "Eff", "Amb")):
        yield "freedom from capabilities"
    if user == 0 or {int(number) for number in status["Uid"].split()} != {user}:
        yield "a user without privileges"


def _limits(pid: int, orders: dict[str, Any]) -> Iterator[str]:
    """Read /proc, as prlimit(2) needs a capability that a container's root lacks."""
    with open(f"/proc/{pid}/limits") as file:
        found = {line[:26].strip(): line[26:].split()[:2] for line in file}
    for name, most in orders["rlimits"].items():
        if found[_TITLES[name]] != [str(most), str(most)]:
            yield name
    if os.sched_getaffinity(pid) != set(orders["cores"]):
        yield "processors of its own"


def _sights(pid: int) -> Iterator[str]:
    if sorted(os.listdir(f"/proc/{pid}/fd")) != ["0", "1", "2"]:
        yield "freedom from descriptors but for its pipes"
    if set(os.listdir(f"/proc/{pid}/root")) - bubblewrap.ROOT:
        yield "a file system of its own"
    with open(f"/proc/{pid}/environ") as file:
        names = {pair.split("=", 1)[0] for pair in file.read().split("\0") if pair}
    if names - {*bubblewrap.ENVIRONMENT, "PWD"}:
        yield "an empty environment"
