"""Run every attack three times: in a plain child, under rlimits alone, and in the strict box; print who got through.

    python tests/sandbox/matrix.py                    # the table, with a column of the box without its filter
    python tests/sandbox/matrix.py plain strict       # these columns, as JSON

It starts itself anew with a secret in its environment, as a judge might have a database's password.
"""

from __future__ import annotations

import json
import os
import secrets
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from tempfile import TemporaryDirectory, TemporaryFile
from typing import Any
from unittest.mock import patch

import attacks

from harness.sandbox import sandbox
from harness.sandbox.box import Box
from harness.sandbox.limits import Limits
from harness.sandbox.refused import Refused

PROGRAM = Path(attacks.__file__)
COLUMNS = {"plain": "plain child", "unsafe": "rlimits", "unfiltered": "no filter", "strict": "strict box"}
TWICE = ("cache_between_runs",)
LIMITS = Limits(wall_s=20, cpu_s=0.5, memory_mb=256)
WITHIN_S = 20


def matrix(columns: list[str]) -> dict[str, dict[str, str]]:
    """Return attack to column to "reached" or why not."""
    with TemporaryDirectory(prefix="harness-attacks-") as folder:
        os.chmod(folder, 0o755)  # nothing but the box shall keep it from them
        told, stop = _targets(Path(folder), os.environ["SECRET"])
        try:
            return {name: {column: _try(name, column, told) for column in columns} for name in attacks.ATTACKS}
        finally:
            stop()
            for place in (Path("/tmp"), Path("/var/tmp"), Path("/dev/shm"), Path.home(), Path(".")):
                (place / told["note"]).unlink(missing_ok=True)


def _targets(folder: Path, secret: str) -> tuple[dict[str, Any], Callable[[], None]]:
    """Lay out what is worth attacking; every byte worth reading is the secret."""
    for name in ("labels.csv", "board.db", "entry.onnx"):
        (folder / name).write_text(secret)
    servers = [socket.create_server(("127.0.0.1", 0)), socket.socket(socket.AF_UNIX)]
    servers[1].bind(f"{folder}/socket")
    servers[1].listen()
    for server in servers:
        threading.Thread(target=_serve, args=(server, secret.encode()), daemon=True).start()
    told = {
        "labels": f"{folder}/labels.csv",
        "database": f"{folder}/board.db",
        "folder": str(folder),
        "write": f"{folder}/written",
        "port": servers[0].getsockname()[1],
        "socket": f"{folder}/socket",
        "note": f"note-{secrets.token_hex(8)}",
        "cpu_s": 1.0,
    }
    return told, lambda: [server.close() for server in servers]


def _serve(server: socket.socket, secret: bytes) -> None:
    while True:
        try:
            link, _ = server.accept()
        except OSError:  # closed
            return
        with link:
            link.sendall(secret)


def _try(name: str, column: str, told: dict[str, Any]) -> str:
    """Let an attack loose on a process of ours, with a file open; the second time counts of those that leave notes."""
    with subprocess.Popen(["sleep", "60"]) as victim, open(told["labels"], "rb") as labels:
        os.set_inheritable(labels.fileno(), True)
        arguments = (name, json.dumps(told | {"victim": victim.pid}))
        try:
            for _ in range(1 + (name in TWICE)):
                answer = _plain(arguments) if column == "plain" else _boxed(arguments, column)
        finally:
            victim.kill()
    return _judged(answer)


def _plain(arguments: tuple[str, ...]) -> str:
    """As naive judges do: with their environment and their open files."""
    command = [sys.executable, str(PROGRAM), *arguments]
    return subprocess.run(command, close_fds=False, capture_output=True, text=True, timeout=WITHIN_S).stdout


def _boxed(arguments: tuple[str, ...], column: str) -> str:
    mode = "strict" if column == "unfiltered" else column
    with patch.object(sandbox, "rules", _all) if column == "unfiltered" else nullcontext():
        try:
            with sandbox.open_box(sandbox.Content(PROGRAM, arguments=arguments), LIMITS, mode) as box:
                return _line(box)
        except Refused as e:
            return f"held {e.reason}"


def _all(threads: bool) -> bytes:
    """A filter that lets everything pass: what do the box's other walls hold by themselves?"""
    import pyseccomp

    with TemporaryFile() as file:
        pyseccomp.SyscallFilter(pyseccomp.ALLOW).export_bpf(file)
        file.seek(0)
        return file.read()


def _line(box: Box) -> str:
    said = bytearray()
    while not said.endswith(b"\n"):
        said += box.receive(1, WITHIN_S)
    return said.decode()


def _judged(answer: str) -> str:
    word, _, rest = answer.partition(" ")
    if word.strip() != "reached":
        return rest.strip() or "no answer"
    evidence = json.loads(rest or "null")
    proven = evidence is None or evidence == "kept" or os.environ["SECRET"] in evidence
    return "reached" if proven else "found nothing"


def table(found: dict[str, dict[str, str]]) -> str:
    """Lay the matrix out, the fifteen first, each part with its sums."""
    rows = [f"{'attack':24}" + "".join(f"{head:>13}" for head in COLUMNS.values()) + "  what the strict box says"]
    for part in (attacks.FIFTEEN, attacks.MORE):
        names = [attack.__name__ for attack in part]
        for name in names:
            cells = ["reached" if found[name][column] == "reached" else "-" for column in COLUMNS]
            rows.append(f"{name:24}" + "".join(f"{cell:>13}" for cell in cells) + f"  {found[name]['strict'][:60]}")
        sums = [f"{reached(found, column, names)} of {len(names)}" for column in COLUMNS]
        rows.append(f"{'reached':24}" + "".join(f"{cell:>13}" for cell in sums))
    return "\n".join(rows)


def reached(found: dict[str, dict[str, str]], column: str, names: list[str]) -> int:
    """Count the attacks that got through."""
    return sum(found[name][column] == "reached" for name in names)


if __name__ == "__main__":
    if "SECRET" not in os.environ:
        os.execve(sys.executable, [sys.executable, *sys.argv], os.environ | {"SECRET": secrets.token_hex(16)})
    result = matrix(sys.argv[1:] or list(COLUMNS))
    print(json.dumps(result) if sys.argv[1:] else table(result))
