"""A process that can read what it was given, answer its parent, and nothing else: bubblewrap, seccomp and rlimits."""

from __future__ import annotations

import base64
import itertools
import json
import math
import os
import select
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from harness.errors import HarnessError
from harness.measure.pinning import choose, siblings
from harness.processors import given
from harness.sandbox import boot, bubblewrap, inspection
from harness.sandbox.box import WATCHED, Box
from harness.sandbox.limits import Limits
from harness.sandbox.refused import Refused
from harness.sandbox.syscalls import rules

Mode = Literal["strict", "unsafe"]
START_S = 30
"""The longest that an empty box may take to start, on a machine however busy."""
LIBRARIES_MB = 1024  # of addresses, not of memory: what interpreter and engine map before they hold anything
_BOOT = Path(boot.__file__)
_ISOLATED = ["-I", "-S", "-B"]
_USERS = range(61184, 65520)  # for short-lived users, by systemd's and Debian's rules
_QUIET = {"OPENBLAS_NUM_THREADS": "1"}  # numpy's library would start threads for nothing
_turn = itertools.count()
_ALLOW = (
    "let this user make namespaces (sysctl kernel.unprivileged_userns_clone=1, user.max_user_namespaces; on Ubuntu "
    "an AppArmor profile for bwrap), or run as root with CAP_SYS_ADMIN (docs/sandbox.md)"
)
_HELP = "docs/sandbox.md says how to get it; sandbox=unsafe is for your own models alone"


@dataclass(frozen=True)
class Content:
    """What is in a box.

    program: a Python file, its only process; its first argument is the path of its file in the box. packages:
    importable folders by their path on the host. file: copied in. arguments: the further ones. processors: that it is
    pinned to. threads: that it may have; where it is one, it can't even ask for more.
    """

    program: Path
    packages: tuple[Path, ...] = ()
    file: Path | None = None
    arguments: tuple[str, ...] = ()
    processors: int = 1
    threads: int = 1


def check() -> None:
    """Make a box and throw it away.

    Raises:
        HarnessError: strict mode can't be had here; names what is missing and how to get it.
    """
    with _locked(Content(_BOOT), Limits(), "strict"):
        pass


def own() -> str:
    """Return the setting by which one's own models are judged here: " sandbox=unsafe" where strict can't be had."""
    try:
        check()
    except HarnessError:
        return " sandbox=unsafe"
    return ""


@contextmanager
def open_box(content: Content, limits: Limits, mode: Mode = "strict") -> Iterator[Box]:
    """Run a program in a box; with the context everything in it ends, and with the calling thread too.

    mode: "unsafe" is a plain child with rlimits, for one's own models alone.

    Raises:
        HarnessError: the box can't be had here; never is it a weaker one.
    """
    with _locked(content, limits, mode) as box:
        box.send(boot.GO, START_S)
        box.begin()
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
                _inspect(pid, orders)
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
    if not WATCHED:  # macOS refuses the limit of the address space, and pins to no processor
        del rlimits["RLIMIT_AS"]
        return {"cores": [], "rlimits": rlimits, "user": None, "filter": ""}
    allowed = given().allowed
    cores = choose(allowed, siblings(allowed), content.processors, {})  # the same for each box of a measurement
    return {"cores": cores, "rlimits": rlimits, "user": None, "filter": ""}


Started = tuple[subprocess.Popen[bytes], int, dict[str, Any]]


@contextmanager
def _strict(content: Content, orders: dict[str, Any]) -> Iterator[Started]:
    if not WATCHED:
        what = "sandbox=strict: is made of what Linux alone has"
        raise HarnessError(what, "sandbox=unsafe is for your own models; or judge on Linux")
    places = {f"/packages/{path.name}": path for path in content.packages}
    readable = places | {"/boot.py": _BOOT, "/program.py": content.program}
    orders = orders | {
        "program": "/program.py",
        "arguments": [*(["/file"] if content.file else []), *content.arguments],
        "packages": ["/packages"],
        "user": _user() if os.geteuid() == 0 else None,
        "filter": base64.b64encode(rules(threads=content.threads > 1)).decode(),
        "rlimits": orders["rlimits"] | {"RLIMIT_NPROC": content.threads + 1},  # and bubblewrap's
    }
    with ExitStack() as stack:
        file = stack.enter_context(open(content.file, "rb")).fileno() if content.file else None
        reader, writer = os.pipe()
        stack.callback(os.close, reader)
        box = [*bubblewrap.arguments(readable, file, writer), *_ISOLATED, "/boot.py", json.dumps(orders)]
        try:
            process = stack.enter_context(_child(box, {}, [writer] if file is None else [writer, file]))
        finally:
            os.close(writer)
        yield process, _pid(reader, process), orders


def _pid(reader: int, process: subprocess.Popen[bytes]) -> int:
    """Find the boxed process's number here: it is the only child of the box's first process, which bubblewrap names.

    That one is bubblewrap's own, and root's in root's box: a process of another user would outlive bubblewrap's death,
    as the signal of a parent's death needs the right to send it. With it the kernel ends all of the box.
    """
    end, said, children = time.monotonic() + START_S, b"", []
    while not children:
        if time.monotonic() > end or process.poll() is not None:
            raise _no_box(process)
        if b"}" not in said:
            ready, _, _ = select.select([reader], [], [], 0.1)
            said += os.read(reader, 4096) if ready else b""
            continue
        first = json.loads(said)["child-pid"]
        try:
            children = Path(f"/proc/{first}/task/{first}/children").read_text().split()
        except FileNotFoundError:
            continue  # it has ended, and bubblewrap will with it
        time.sleep(0.001)
    return int(children[0])


@contextmanager
def _unsafe(content: Content, orders: dict[str, Any]) -> Iterator[Started]:
    file = [str(content.file.resolve())] if content.file else []  # the box works at the root
    orders = orders | {
        "program": str(content.program.resolve()),
        "arguments": [*file, *content.arguments],
        "packages": sorted({str(path.resolve().parent) for path in content.packages}),
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
        answer = box.receive(1, START_S)
    except Refused as e:
        raise _no_box(box.process, box.complaint()) from e
    if answer != boot.LOCKED:
        raise _no_box(box.process, "its first program doesn't answer as it should")


def _inspect(pid: int, orders: dict[str, Any]) -> None:
    try:
        missing = inspection.lacking(pid, orders)
    except OSError as e:
        raise HarnessError(f"the sandbox: the box can't be looked at from outside: {e}", _HELP) from e
    if missing:
        raise HarnessError(f"the sandbox: the box came up without {', '.join(missing)}", _HELP)


def _no_box(process: subprocess.Popen[bytes], said: str = "") -> HarnessError:
    process.kill()
    process.wait()
    if not said:
        os.set_blocking(process.stderr.fileno(), False)
        said = (process.stderr.read() or b"").decode("ascii", "replace").strip() or f"exit code {process.returncode}"
    forbidden = any(word in said for word in ("namespace", "uid map", "Operation not permitted"))
    return HarnessError(f"the sandbox: the box can't be made here: {said.strip(': ')}", _ALLOW if forbidden else _HELP)
