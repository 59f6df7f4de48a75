"""A model in a box: the parent sends images, lets it run, takes logits, and holds the clock."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import numpy as np

import harness
from harness.errors import HarnessError, pick
from harness.extras import install_for
from harness.sandbox.box import OUT_OF_MEMORY, WATCHED, Box
from harness.sandbox.limits import Limits
from harness.sandbox.refused import Refused
from harness.sandbox.runner import CLOCK, REPLY, REQUEST, SAID, SIZES, TIMES
from harness.sandbox.sandbox import START_S, Content, Mode, open_box

RUNNER = Path(__file__).with_name("runner.py")
PACKAGES = {"onnx": ("numpy", "onnxruntime"), "openvino": ("numpy", "openvino", "openvino_telemetry", "packaging")}
"""What each engine imports."""
HELPERS = {"onnx": 1, "openvino": 8}
"""The threads that an engine starts beside those that it was asked for; ONNX Runtime does without where it must."""
MOST_CLASSES = 1 << 16
TOGETHER = 64  # images that are held at a time, where each is run alone
AGAIN = "export the model again, and try it with `python -m harness score`"


class Remote:
    """The model's side of `open_remote`. Every method raises Refused: timeout, cpu, memory, died, protocol."""

    def __init__(self, box: Box, mode: Mode, wall_s: float) -> None:
        self.mode = mode
        self.pid = box.pid
        self.cpu_ns = box.settled_ns if WATCHED else self._own_ns
        self.threads, self.rss_mb = box.threads, box.rss_mb
        self._box = box
        self._wall_s = wall_s
        self._held = (0, 0, 0, 0)

    def load(self) -> float:
        """Load the model afresh; return the CPU ms it took.

        Raises:
            Refused: also load.
        """
        before = self.cpu_ns()
        self._ask(b"L", "load")
        return (self.cpu_ns() - before) / 1e6

    def images(self, images: np.ndarray) -> None:
        """Have it hold these float32 (n, 3, R, R), and no others."""
        whole = np.ascontiguousarray(images, dtype=np.float32)
        self._held = whole.shape
        self._ask(b"I", "run", count=whole.nbytes, payload=(SIZES.pack(*whole.shape), whole.reshape(-1).data))

    def run(self, first: int, count: int) -> None:
        """Run the model on the held images `first`, `first` + 1, ..., modulo their number, one at a time.

        count: 0 costs a round trip alone.

        Raises:
            Refused: also run.
        """
        self._ask(b"R", "run", first % max(1, self._held[0]), count)

    def time(self, first: int, count: int) -> tuple[float, float]:
        """As `run`; return CPU ms, by the process's own clock read from here, and wall ms, both with the round trip."""
        cpu, wall = self.cpu_ns(), time.perf_counter_ns()
        self.run(first, count)
        wall_stop, cpu_stop = time.perf_counter_ns(), self.cpu_ns()
        return (cpu_stop - cpu) / 1e6, (wall_stop - wall) / 1e6

    def logits(self) -> np.ndarray:
        """Return float32 (n, classes): each held image's last logits, zeros where it hasn't been run.

        Raises:
            Refused: also outputs.
        """
        return self._logits(b"G")

    def batch(self) -> np.ndarray:
        """Run the model on all held images at once; return float32 (n, classes).

        Raises:
            Refused: also run, outputs.
        """
        return self._logits(b"B")

    def rulers(self) -> tuple[float, float]:
        """Return ms of the two rulers, by the process's own clock: to be asked of a network that is ours."""
        chain_ms, vector_ms = TIMES.unpack(self._ask(b"C", "run", most=TIMES.size))
        return chain_ms, vector_ms

    def predict(self, images: np.ndarray, size: int = 1) -> np.ndarray:
        """Return float32 (N, classes) of float32 (N, 3, R, R), in batches of `size`.

        Raises:
            Refused: also run, outputs.
        """
        step = size if size > 1 else TOGETHER
        logits = []
        for start in range(0, len(images), step):
            self.images(images[start : start + step])
            if size > 1:
                logits.append(self.batch())
            else:
                self.run(0, self._held[0])
                logits.append(self.logits())
        return np.concatenate(logits)

    def _own_ns(self) -> int:
        """Ask it for its own CPU clock: it is one's own model, in an unsafe box, where nobody else can read it."""
        return CLOCK.unpack(self._ask(b"T", "run", most=CLOCK.size))[0]

    def _logits(self, verb: bytes) -> np.ndarray:
        images = self._held[0]
        data = self._ask(verb, "run", most=4 * images * MOST_CLASSES)
        if not images or not data or len(data) % (4 * images):
            raise self._refused("outputs", f"{len(data)} bytes of logits came for {images} images")
        logits = np.frombuffer(data, np.float32).reshape(images, -1)
        if not np.isfinite(logits).all():
            raise self._refused("outputs", "some logits aren't finite")
        return logits

    def _ask(
        self, verb: bytes, failure: str, first: int = 0, count: int = 0, payload: tuple = (), most: int = 0
    ) -> bytearray:
        """Send a request; return the reply's payload, `most` bytes at most."""
        for data in (REQUEST.pack(verb, first, count), *payload):
            self._box.send(data, self._wall_s)
        answer, size = REPLY.unpack(self._box.receive(REPLY.size, self._wall_s))
        if answer == b"F" and size <= SAID:
            said = self._box.receive(size, self._wall_s).decode("ascii", "replace")
            why = "".join(c for c in said if c.isprintable())
            memory = any(word in why for word in OUT_OF_MEMORY)
            raise self._refused("memory" if memory else failure, f"the engine says: {why}")
        if answer != b"K" or size > most:
            raise self._refused("protocol", "the process that ran it doesn't answer as it should")
        return self._box.receive(size, self._wall_s)

    def _refused(self, reason: str, what: str) -> Refused:
        return Refused(reason, f"the model: {what}", AGAIN)


@contextmanager
def open_remote(
    model: Path,
    runtime: str = "onnx",
    threads: int = 1,
    limits: Limits = Limits(),  # noqa: B008 (it is frozen)
    mode: Mode = "strict",
    *,
    program: Path = RUNNER,
) -> Iterator[Remote]:
    """Open a fresh process in a box that can run this model; it has the engine, but hasn't loaded the model.

    program: another in the runner's place, for tests.

    Raises:
        HarnessError: the box can't be had here, or there is no such engine in it; not the entry's fault.
        Refused: see `Remote`.
    """
    packages = _packages(runtime)
    alone = runtime == "onnx" and threads == 1
    content = Content(
        program, packages, model, (runtime, str(threads)), threads, 1 if alone else threads + HELPERS[runtime]
    )
    with open_box(content, limits, mode) as box:
        try:
            answer = box.receive(REPLY.size, START_S)
        except Refused as e:
            raise HarnessError(f"the sandbox: the runner doesn't start: {e.what}", "look at docs/sandbox.md") from e
        if answer != REPLY.pack(b"K", 0):
            raise HarnessError(f"the sandbox: the runner starts with {bytes(answer)!r}", "look at docs/sandbox.md")
        box.begin()
        yield Remote(box, mode, limits.wall_s)


def _packages(runtime: str) -> tuple[Path, ...]:
    """Find the folders that the runner imports, with the libraries that wheels put beside them."""
    found = [Path(harness.__path__[0])]
    for name in pick(PACKAGES, runtime, "sandbox: runtime"):
        spec = find_spec(name)
        if spec is None or not spec.submodule_search_locations:
            raise HarnessError(
                f"the sandbox: runtime '{runtime}' needs {name}, which isn't installed", install_for(name)
            )
        folder = Path(spec.submodule_search_locations[0])
        libraries = folder.with_name(f"{name}.libs")
        found += [folder, *([libraries] if libraries.is_dir() else [])]
    return tuple(found)
