"""Do something under another account of this host: in a fork of this process that has given root away."""

from __future__ import annotations

import os
import pickle
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can be two other accounts")
ANNA, BEN, TEAM = 61_101, 61_102, 61_190
"""Two users, each with a group of the same number, and a group that both may be in."""


@contextmanager
def common_folder(mode: int, group: int = 0) -> Iterator[Path]:
    """Make a folder that others can get to, which pytest's own can't be."""
    with TemporaryDirectory(prefix="harness-accounts-") as name:
        os.chown(name, -1, group)
        os.chmod(name, mode)
        yield Path(name)


def start_as(user: int, act: Callable[[], Any], groups: Sequence[int] = (), umask: int = 0o022) -> Callable[[], Any]:
    """Begin to do something as a user; returns what waits for its result, or raises what it raised."""
    end, start = os.pipe()
    if pid := os.fork():
        os.close(start)

        def result() -> Any:
            with open(end, "rb") as pipe:
                kind, value = pickle.loads(pipe.read())
            os.waitpid(pid, 0)
            if kind == "raised":
                raise value
            return value

        return result
    try:
        os.setgroups(list(groups))
        os.setgid(user)
        os.setuid(user)
        os.umask(umask)
        try:
            answer = pickle.dumps(("returned", act()))
        except BaseException as e:  # whatever it is, the test shall see it
            traceback.print_exc()
            answer = pickle.dumps(("raised", e))
        with open(start, "wb") as pipe:
            pipe.write(answer)
    finally:
        os._exit(0)


def do_as(user: int, act: Callable[[], Any], groups: Sequence[int] = (), umask: int = 0o022) -> Any:
    """Do something as a user, to its end."""
    return start_as(user, act, groups, umask)()
