"""Processes that train one network together, by torch.distributed: gloo on CPUs, NCCL on GPUs."""

from __future__ import annotations

import multiprocessing
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import distributed

from harness.ended import oom_kills, words
from harness.errors import HarnessError
from harness.parent import die_with
from harness.torchrun import Place

T = TypeVar("T")
LEAST_SHARE = 32
"""Images of a batch that a process has at least, where the number is left to us: batch norm sees its share alone."""
NOTICE_S = 30.0
"""How long the first process may take to notice by itself that another is gone: NCCL never does."""
LOOK_S = 0.2
STOP_S = 30.0
AGAIN = "run the same command again: it goes on from its last checkpoint"


class Parted(RuntimeError):
    """Another process of the group is gone."""


def summed(values: torch.Tensor) -> None:
    """Add up a tensor over all processes of the group, in place.

    Raises:
        Parted: not all of them are there any more.
    """
    try:
        distributed.all_reduce(values)
    except RuntimeError as e:
        raise Parted(_first_line(e)) from e


def told(value: T) -> T:
    """Return what the first process of the group has; what the others have is dropped.

    Raises:
        Parted: not all of them are there any more.
    """
    holder = [value]
    try:
        distributed.broadcast_object_list(holder, src=0)
    except RuntimeError as e:
        raise Parted(_first_line(e)) from e
    return holder[0]


def numbers(threads: int, batch: int, device: torch.device) -> list[int]:
    """List the numbers of processes that may train a batch together, the best first; the last is 1.

    One a GPU. On CPUs those that use most of the threads, and of these the most processes: one thread each needs no
    barrier within a layer.
    """
    most = {"cpu": threads, "cuda": torch.cuda.device_count()}.get(device.type, 1)  # gloo takes no other's tensors
    allowed = range(1, max(1, min(most, batch // LEAST_SHARE)) + 1)
    used = {number: number if device.type == "cuda" else number * (threads // number) for number in allowed}
    best = max(allowed, key=lambda number: (used[number], number))
    return [*range(best, 0, -1)]


def check_number(asked: int, batch: int, device: torch.device, beside: int) -> None:
    """Refuse a number of processes that can't train together. beside: those of this host.

    Raises:
        HarnessError: the batch has fewer images, or the host fewer GPUs.
    """
    if asked > 1 and device.type not in ("cpu", "cuda"):
        raise HarnessError(f"processes={asked}: several can't share device={device.type}", "set processes=1")
    if asked > 1 and 2 * asked > batch:  # batch norm needs two
        what = f"processes={asked}: each needs 2 images of a batch, which has {batch}"
        raise HarnessError(what, f"set {max(1, batch // 2)} or fewer, or a larger batch")
    if device.type == "cuda" and beside > (gpus := torch.cuda.device_count()):
        raise HarnessError(f"processes={asked}: {beside} on this host, which has {gpus} GPUs", "start one a GPU")


def own_device(device: torch.device, here: int) -> torch.device:
    """Return the device of a process of a group, by its number among those of its host."""
    return torch.device("cuda", here) if device.type == "cuda" else device


@contextmanager
def joined(place: Place, device: torch.device) -> Iterator[None]:
    """Be one of the group that torchrun has started.

    Raises:
        HarnessError: another of them is gone, or can't be reached.
    """
    try:
        with _group(device, place.here, init_method="env://"):
            yield
    except (Parted, distributed.DistError) as e:
        what = f"{place}: another process of its group is gone, or can't be reached ({_first_line(e)})"
        raise HarnessError(what, f"see what that one said; {AGAIN}") from e


@contextmanager
def started(
    processes: int, device: torch.device, work: Callable[[int], object], meeting: Path, fix: str = AGAIN
) -> Iterator[None]:
    """Start the other processes of a group on this host and be its first; none of them outlives this.

    work: what another does in the group, by its number from 1; it travels to a fresh interpreter. meeting: a file,
    made anew, by which they find one another.

    Raises:
        HarnessError: one of them was killed, or failed.
    """
    context, kills = multiprocessing.get_context("spawn"), oom_kills()  # fork breaks torch's and W&B's threads
    others: list[BaseProcess] = []
    waiting: list[Connection] = []
    over = threading.Event()
    guard = threading.Thread(target=_guard, args=(others, over, kills, fix), daemon=True)
    meeting.unlink(missing_ok=True)
    try:
        for number in range(1, processes):
            ready, theirs = context.Pipe(duplex=False)
            job = (number, processes, device, work, meeting, os.getpid(), theirs)
            other = context.Process(target=_other, args=job, name=f"process {number + 1} of {processes}")
            with _deaf():
                other.start()
            theirs.close()
            others.append(other)
            waiting.append(ready)
        for ready in waiting:
            _heard(ready)  # not in the library, which hears no Ctrl-C
        guard.start()
        with _group(device, 0, store=distributed.FileStore(str(meeting), processes), rank=0, world_size=processes):
            yield
        _relieve(guard, over)
        for other in others:
            other.join(STOP_S)
    except (Parted, RuntimeError) as e:
        _relieve(guard, over)
        said = _dead(others, kills)
        if mistake := next(filter(None, map(_mistake, waiting)), None):
            raise mistake from e
        if said:
            raise HarnessError(said, fix) from e
        raise
    finally:
        _relieve(guard, over)
        for other in others:
            other.kill()
            other.join()
        meeting.unlink(missing_ok=True)


@contextmanager
def _deaf() -> Iterator[None]:
    """Start a process that is deaf to Ctrl-C from its first moment: the first process hears it, and ends all."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def _group(device: torch.device, here: int, **where: Any) -> Iterator[None]:
    """Be in the default group of torch.distributed."""
    if device.type == "cuda":
        torch.cuda.set_device(here)
    with _loopback("store" in where):
        distributed.init_process_group("nccl" if device.type == "cuda" else "gloo", **where)
    try:
        yield
    finally:
        distributed.destroy_process_group()


@contextmanager
def _loopback(only_here: bool) -> Iterator[None]:
    """Have gloo speak over the loopback, which is there without a network, and where nobody else listens.

    Source: https://docs.pytorch.org/docs/stable/distributed.html#choosing-the-network-interface-to-use
    """
    name = "GLOO_SOCKET_IFNAME"
    found = [interface for _, interface in socket.if_nameindex() if interface in ("lo", "lo0")]
    if not only_here or not found or name in os.environ:
        yield
        return
    os.environ[name] = found[0]
    try:
        yield
    finally:
        del os.environ[name]


def _other(
    number: int, processes: int, device: torch.device, work: Callable[[int], object], meeting: Path, parent: int,
    ready: Connection,
) -> None:  # fmt: skip
    """Be another process of a group until it is done, or the first one ends, killed or not."""
    die_with(parent, signal.SIGKILL)
    ready.send(None)
    store = distributed.FileStore(str(meeting), processes)
    try:
        with _group(device, number, store=store, rank=number, world_size=processes):
            work(number)
    except Parted:  # the first one says who is gone
        pass
    except HarnessError as e:  # a user's mistake: the first one says it, once
        ready.send((e.what, e.fix))
        sys.exit(2)


def _heard(ready: Connection) -> None:
    try:
        ready.recv()
    except EOFError as e:
        raise Parted("it ended before it began") from e


def _mistake(ready: Connection) -> HarnessError | None:
    """Return what a user did wrong by another process's account, if it has ended so."""
    try:
        return HarnessError(*ready.recv()) if ready.poll() else None
    except EOFError:
        return None


def _dead(others: list[BaseProcess], kills: int) -> str:
    """Say which of the others was killed or failed; '' where none was, some seconds later."""
    left = {other.sentinel: other for other in others}
    while left and (ended := wait(list(left), STOP_S)):
        for sentinel in ended:
            other = left.pop(sentinel)
            other.join()
            if said := words(other.exitcode or 0, kills):
                return f"{other.name}: {said}"
    return ""


def _guard(others: list[BaseProcess], over: threading.Event, kills: int, fix: str) -> None:
    """End this process when another is gone and it doesn't notice: it waits inside a library for what never comes."""
    left = {other.sentinel: other for other in others}
    while left and not over.is_set():
        for sentinel in wait(list(left), LOOK_S):
            other = left.pop(sentinel)
            other.join()
            said = words(other.exitcode or 0, kills)
            if said and not over.wait(NOTICE_S):
                print(f"error: {HarnessError(f'{other.name}: {said}', fix)}", file=sys.stderr, flush=True)
                os._exit(2)  # the others go with it


def _relieve(guard: threading.Thread, over: threading.Event) -> None:
    """Have only one thread look for ended processes: two that reap one may each miss how it ended."""
    over.set()
    if guard.is_alive():
        guard.join()


def _first_line(e: Exception) -> str:
    return (str(e).splitlines() or [type(e).__name__])[0]
