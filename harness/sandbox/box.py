"""The parent's hold on a boxed process: its pipes with deadlines, its clock read from outside, its limits, its end."""

from __future__ import annotations

import math
import os
import select
import signal
import subprocess
import time
from contextlib import suppress

from harness.errors import HarnessError
from harness.sandbox.limits import Limits
from harness.sandbox.refused import Refused

WATCHED = hasattr(os, "pidfd_open")
"""Whether a process can be watched from outside: on Linux. Elsewhere there is no strict box, and in an unsafe one the
program tells its own CPU time; its limits of CPU and wall time hold, that of memory doesn't."""
LOOK_S = 0.05
"""How often a process that lets its parent wait is looked at."""
SETTLE_S = 1.0
"""The longest that a process may take from its answer to its sleep, on a machine however busy."""
MOST_STDERR = 4096
END_S = 10
OUT_OF_MEMORY = ("bad_alloc", "MemoryError", "ailed to allocate memory", "annot allocate memory", "nable to allocate")
"""What engines and interpreter say then."""
FASTER = "submit a smaller or faster model"


class Box:
    """A process, its three pipes, and what it may use.

    process: the parent's child; `pid` is the boxed program's own, which may be another's child.
    """

    def __init__(self, process: subprocess.Popen[bytes], pid: int, limits: Limits) -> None:
        self.pid = pid
        self.process = process
        self._limits = limits
        self._handle = os.pidfd_open(pid) if WATCHED else -1  # a number may be another's after the end, this can't
        self._state = os.open(f"/proc/{pid}/stat", os.O_RDONLY) if WATCHED else -1
        self._clock = (~pid << 3) | 2  # as clock_getcpuclockid(3)
        self._cpu_ns = 0
        self._end = math.inf
        self._stderr = b""
        self._input, self._output, self._errors = (
            pipe.fileno() for pipe in (process.stdin, process.stdout, process.stderr) if pipe
        )
        for pipe in (self._input, self._output, self._errors):
            os.set_blocking(pipe, False)

    def begin(self) -> None:
        """Count the limit of wall time from now on."""
        self._end = time.monotonic() + self._limits.wall_s

    def send(self, data: bytes | memoryview, within_s: float) -> None:
        """Write all of the data.

        Raises:
            Refused: timeout, cpu, memory, died.
        """
        end, rest = time.monotonic() + within_s, memoryview(data).cast("B")
        while rest:
            try:
                rest = rest[os.write(self._input, rest) :]
            except BlockingIOError:
                self._wait(self._input, select.POLLOUT, end)
            except BrokenPipeError:
                raise self.died() from None

    def receive(self, size: int, within_s: float) -> bytearray:
        """Read so many bytes.

        Raises:
            Refused: timeout, cpu, memory, died.
        """
        end, data = time.monotonic() + within_s, bytearray(size)
        rest = memoryview(data)
        while rest:
            try:
                count = os.readv(self._output, [rest])
            except BlockingIOError:
                self._wait(self._output, select.POLLIN, end)
                continue
            if not count:
                raise self.died()
            rest = rest[count:]
        return data

    def _wait(self, pipe: int, event: int, end: float) -> None:
        poll = select.poll()
        poll.register(pipe, event)
        while not poll.poll(1000 * min(LOOK_S, max(0.0, end - time.monotonic()))):
            self.look()
            if time.monotonic() >= end:
                raise self._stop("timeout", "it lets the judge wait for too long")

    def look(self) -> None:
        """Compare what it has used with what it may.

        Raises:
            Refused: timeout, cpu, memory, died.
        """
        self._drain()
        limits = self._limits
        if time.monotonic() > self._end:
            raise self._stop("timeout", f"still running after {limits.wall_s:.3g} s")
        if self.cpu_ns() > limits.cpu_s * 1e9:
            raise self._stop("cpu", f"used more than {limits.cpu_s:.3g} s of CPU time")
        if self.rss_mb() > limits.memory_mb:
            raise self._stop("memory", f"used more than {limits.memory_mb} MB of memory")

    def cpu_ns(self) -> int:
        """Read the process's CPU clock, all threads together, in nanoseconds since its start.

        Source: https://man7.org/linux/man-pages/man3/clock_getcpuclockid.3.html

        Raises:
            Refused: died.
        """
        if not WATCHED:
            return 0
        try:
            self._cpu_ns = time.clock_gettime_ns(self._clock)
        except OSError:
            raise self.died() from None
        return self._cpu_ns

    def settled_ns(self) -> int:
        """As `cpu_ns`, once the process sleeps: another's clock lacks what it has run since it was last awake.

        Raises:
            Refused: died; outside, where it works on though it has answered.
        """
        end = time.monotonic() + SETTLE_S
        if not WATCHED:
            return 0
        try:
            while os.pread(self._state, 512, 0).rpartition(b")")[2].split()[0] == b"R":
                if time.monotonic() > end:
                    raise self._stop("outside", "it works on after it has answered")
        except OSError:
            raise self.died() from None
        return self.cpu_ns()

    def threads(self) -> int:
        """Count its threads.

        Raises:
            Refused: died.
        """
        if not WATCHED:
            return 1
        try:
            return len(os.listdir(f"/proc/{self.pid}/task"))
        except OSError:
            raise self.died() from None

    def rss_mb(self) -> float:
        """Read its resident memory.

        Raises:
            Refused: died.
        """
        if not WATCHED:
            return 0.0
        try:
            with open(f"/proc/{self.pid}/statm", "rb") as file:
                return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6
        except (OSError, IndexError):
            raise self.died() from None

    def died(self) -> Refused:
        """End it, and say how it had ended by itself."""
        self._drain()
        try:
            code = self.process.wait(1)
        except subprocess.TimeoutExpired:
            return self._stop("died", "the process that ran it closed its pipes")
        signals = {128 + number: number.name for number in signal.Signals} | {-s: s.name for s in signal.Signals}
        how = signals.get(code, f"exit code {code}")
        if how == "SIGKILL" and self._cpu_ns > 0.9e9 * self._limits.cpu_s:
            return self._stop("cpu", f"used more than {self._limits.cpu_s:.3g} s of CPU time")
        memory = any(word in self.complaint() for word in OUT_OF_MEMORY)
        return self._stop("memory" if memory else "died", f"the process that ran it died: {how}{self.complaint()}")

    def complaint(self) -> str:
        """Return ": " and the last line of its standard error, in plain characters; nothing where it said nothing."""
        self._drain()
        lines = self._stderr.decode("ascii", "replace").strip().splitlines()
        return ": " + "".join(c for c in lines[-1] if c.isprintable())[:300] if lines else ""

    def _drain(self) -> None:
        """Take what it writes to standard error, so that it can't stop there; keep the last of it."""
        for _ in range(16):
            try:
                data = os.read(self._errors, 65536)
            except BlockingIOError:
                return
            if not data:
                return
            self._stderr = (self._stderr + data)[-MOST_STDERR:]

    def _stop(self, reason: str, what: str) -> Refused:
        self.kill()
        return Refused(reason, f"the model: {what}", FASTER)

    def kill(self) -> None:
        """End everything in the box, at once; a second call does nothing.

        Raises:
            HarnessError: the kernel can't end it.
        """
        if not WATCHED:
            self.process.kill()
            self.process.wait(END_S)
        if self._handle < 0:
            return
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._handle, signal.SIGKILL)
        gone = select.poll()
        gone.register(self._handle, select.POLLIN)
        if not gone.poll(1000 * END_S):
            raise HarnessError(f"the sandbox: process {self.pid} can't be ended", "look at its state in /proc")
        os.close(self._handle)
        os.close(self._state)
        self._handle = -1
        try:
            self.process.wait(END_S)  # bubblewrap buries what it has started, and ends by itself
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
