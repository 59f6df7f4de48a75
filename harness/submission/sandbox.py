"""A process that can read what it was given, answer its parent, and nothing else: bubblewrap, seccomp and rlimits."""

from __future__ import annotations

import base64
import itertools
import json
import math
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from harness.errors import HarnessError
from harness.submission import boot, bubblewrap
from harness.submission.box import Box
from harness.submission.limits import Limits
from harness.submission.refused import Refused
from harness.submission.syscalls import rules

Mode = Literal["strict", "unsafe"]
START_S = 30
"""The longest that an empty box may take to start, on a machine however busy."""
LIBRARIES_MB = 1024  # of addresses, not of memory: what interpreter and engine map before they hold anything
_BOOT = Path(boot.__file__)
_ISOLATED = ["-I", "-S", "-B"]
_USERS = range(61184, 65520)  # for short-lived users, by systemd's and Debian's rules
_QUIET = {"OPENBLAS_NUM_THREADS": "1"}  # numpy's library would start threads for nothing
_TITLES = {
    "RLIMIT_AS": "Max address space",
    "RLIMIT_CPU": "Max cpu time",
    "RLIMIT_FSIZE": "Max file size",
    "RLIMIT_NOFILE": "Max open files",
    "RLIMIT_CORE": "Max core file size",
    "RLIMIT_NPROC": "Max processes",
}
_turn = itertools.count()
_HELP = "docs/sandbox.md says how to get it; sandbox=unsafe is for your own models alone"


@dataclass(frozen=True)
class Content:
    """What is in a box.

    program: a Python file, its only process; its first argument is the path of its file in the box. packages:
    importable folders by their path on the host. file: copied in. arguments: the further ones. threads: that it may
    have, on as many processors.
    """

    program: Path
    packages: tuple[Path, ...] = ()
    file: Path | None = None
    arguments: tuple[str, ...] = ()
    threads: int = 1


def check() -> None:
    """Make a box and throw it away.

    Raises:
        HarnessError: strict mode can't be had here; names what is missing and how to get it.
    """
    with _locked(Content(_BOOT), Limits(), "strict"):
        pass


@contextmanager
def open_box(content: Content, limits: Limits, mode: Mode = "strict") -> Iterator[Box]:
    """Run a program in a box; with the context everything in it ends, and with the calling thread too.

    mode: "unsafe" is a plain child with rlimits, for one's own models alone.

    Raises:
        HarnessError: the box can't be had here; never is it a weaker one.
    """
    with _locked(content, limits, mode) as box:
        box.send(boot.GO, START_S)
        yield box


@contextmanager
def _locked(content: Content, limits: Limits, mode: Mode) -> Iterator[Box]:
    """Make a box whose process has given everything up and waits for the word."""
    start = {"strict": _strict, "unsafe": _unsafe}[mode]
    with start(content, _orders(content, limits)) as (process, pid, orders):
        try:
            box = Box(process, pid, limits)
        except ProcessLookupError:
            raise _no_box(process) from None
        try:
            _await(box)
            if mode == "strict":
                _verify(box.pid, orders)
            yield box
        finally:
            box.kill()


def _orders(content: Content, limits: Limits) -> dict[str, Any]:
    """What `boot` does in either mode."""
    rlimits = {
        "RLIMIT_AS": (limits.memory_mb + LIBRARIES_MB) * 1_000_000,
        "RLIMIT_CPU": math.ceil(limits.cpu_s) + 2,  # the parent's look comes first, and has a name for it
        "RLIMIT_FSIZE": bubblewrap.TEMPORARY_BYTES,
        "RLIMIT_NOFILE": 64,
        "RLIMIT_CORE": 0,
    }
    cores = sorted(os.sched_getaffinity(0))[-content.threads :]
    return {"cores": cores, "rlimits": rlimits, "user": None, "filter": ""}


Started = tuple[subprocess.Popen[bytes], int, dict[str, Any]]


@contextmanager
def _strict(content: Content, orders: dict[str, Any]) -> Iterator[Started]:
    places = {f"/packages/{path.name}": path for path in content.packages}
    readable = places | {"/boot.py": _BOOT, "/program.py": content.program}
    orders = orders | {
        "program": "/program.py",
        "arguments": ["/file", *content.arguments],
        "packages": ["/packages"],
        "user": _user() if os.geteuid() == 0 else None,
        "filter": base64.b64encode(rules(threads=content.threads > 1)).decode(),
        "rlimits": orders["rlimits"] | {"RLIMIT_NPROC": content.threads},
    }
    with ExitStack() as stack:
        file = stack.enter_context(open(content.file, "rb")).fileno() if content.file else None
        told, telling = os.pipe()
        stack.callback(os.close, told)
        box = [*bubblewrap.arguments(readable, file, telling), *_ISOLATED, "/boot.py", json.dumps(orders)]
        try:
            process = stack.enter_context(_child(box, {}, [telling] if file is None else [telling, file]))
        finally:
            os.close(telling)
        yield process, _pid(told, process), orders


def _pid(told: int, process: subprocess.Popen[bytes]) -> int:
    """Read the number that bubblewrap's child has here; it says it before that one runs anything."""
    said = b""
    while b"}" not in said:
        if not (more := os.read(told, 4096)):
            raise _no_box(process)
        said += more
    return int(json.loads(said)["child-pid"])


@contextmanager
def _unsafe(content: Content, orders: dict[str, Any]) -> Iterator[Started]:
    file = [str(content.file)] if content.file else []
    orders = orders | {
        "program": str(content.program),
        "arguments": [*file, *content.arguments],
        "packages": sorted({str(path.parent) for path in content.packages}),
    }
    with _child([sys.executable, *_ISOLATED, str(_BOOT), json.dumps(orders)], _QUIET, []) as process:
        yield process, process.pid, orders


@contextmanager
def _child(
    command: list[str], environment: dict[str, str], descriptors: list[int]
) -> Iterator[subprocess.Popen[bytes]]:
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    with subprocess.Popen(
        command, env=environment, pass_fds=descriptors, start_new_session=True, cwd="/", bufsize=0, **pipes
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def _user() -> int:
    """Choose the user of a new box: another than those of this process's last ones, and of its neighbours'."""
    return _USERS[(16 * os.getpid() + next(_turn) % 16) % len(_USERS)]


def _await(box: Box) -> None:
    try:
        if box.receive(1, START_S) != boot.LOCKED:
            raise HarnessError("sandbox: the box doesn't start as it should", _HELP)
    except Refused as e:
        raise _no_box(box.process, box.complaint()) from e


def _no_box(process: subprocess.Popen[bytes], said: str = "") -> HarnessError:
    said = said or process.stderr.read().decode("ascii", "replace").strip()
    return HarnessError(f"sandbox: the box can't be made here{': ' if said else ''}{said}", _HELP)


def _verify(pid: int, orders: dict[str, Any]) -> None:
    """Look from outside, and before its program runs, whether the process has really given everything up."""
    with open(f"/proc/{pid}/status") as file:
        status = dict(line.rstrip("\n").split(":\t", 1) for line in file if ":\t" in line)
    own = [name for name in bubblewrap.NAMESPACES if _same(pid, name)]
    lacking = [f"a {name} namespace of its own" for name in own]
    lacking += [] if status["Seccomp"].strip() == "2" else ["a seccomp filter"]
    lacking += [] if status["NoNewPrivs"].strip() == "1" else ["no_new_privs"]
    if any(int(status[f"Cap{kind}"], 16) for kind in ("Inh", "Prm", "Eff", "Amb")):
        lacking.append("a process without capabilities")
    users = {int(user) for user in status["Uid"].split()}
    if users != {orders["user"] or os.geteuid()} or 0 in users:
        lacking.append("a user without privileges")
    if os.sched_getaffinity(pid) != set(orders["cores"]):
        lacking.append("its own processors")
    found = _limits(pid)
    lacking += [name for name, most in orders["rlimits"].items() if found[name] != {str(most)}]
    if sorted(os.listdir(f"/proc/{pid}/fd")) != ["0", "1", "2"]:
        lacking.append("no descriptors but its pipes")
    if lacking:
        raise HarnessError(f"sandbox: the box came up without {', '.join(lacking)}", _HELP)


def _limits(pid: int) -> dict[str, set[str]]:
    """Read soft and hard limits from /proc: prlimit(2) would need a capability that containers' roots lack."""
    with open(f"/proc/{pid}/limits") as file:
        lines = {line[:26].strip(): set(line[26:].split()[:2]) for line in file}
    return {name: lines[title] for name, title in _TITLES.items()}


def _same(pid: int, namespace: str) -> bool:
    return os.readlink(f"/proc/{pid}/ns/{namespace}") == os.readlink(f"/proc/self/ns/{namespace}")
