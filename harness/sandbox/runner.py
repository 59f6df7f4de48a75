"""What runs in the box: hold images, run a model over them, hand out logits; no clock, no label, no score.

Runs by path with the model's path, the engine's name and the number of threads. Speaks over its pipes, see `remote`:
a request is a verb, two numbers and for `I` a payload; a reply is a verb, the size of its payload, and that.
"""

import os
import struct
import sys
from importlib import import_module
from pathlib import Path

import numpy as np

from harness.errors import HarnessError
from harness.measure.rulers import rulers
from harness.runtime.engines import RUNTIMES, load

REQUEST = struct.Struct("<cxxxIQ")
"""verb, first, count: L load; I images (count bytes follow the four sizes); R run; G logits; B batch; C rulers."""
REPLY = struct.Struct("<cxxxI")
"""verb, size: K done; F failed, with why."""
SIZES = struct.Struct("<4I")
TIMES = struct.Struct("<2d")
"""ms of the two rulers."""
SAID = 1000
"""The most characters of an engine's complaint."""


class Bench:
    """The model, the images that it is shown, and its last logits of each; every verb answers with bytes."""

    def __init__(self, path: Path, engine: str, threads: int) -> None:
        self.how = (engine, path, threads)
        self.images: list[np.ndarray] = []
        self.pads: list[np.ndarray] = []
        self.ruler = rulers()
        import_module(RUNTIMES[engine])  # before the first load, which is timed

    def load(self, first: int, count: int) -> bytes:
        """Load the model; the last one is let go only then, else the new one would get the same memory again."""
        self.pads.append(np.ones(np.random.default_rng().integers(1 << 16), dtype=np.uint8))
        self.model = load(*self.how)
        return b""

    def hold(self, first: int, count: int) -> bytes:
        """Take images in."""
        shape = SIZES.unpack(_read(SIZES.size))
        self.whole = np.frombuffer(_read(count), np.float32).reshape(shape)
        self.images = [self.whole[i : i + 1] for i in range(len(self.whole))]
        self.kept: list[np.ndarray | None] = [None] * len(self.images)
        return b""

    def run(self, first: int, count: int) -> bytes:
        """Run the model on one image after another."""
        model, images, kept, n = self.model, self.images, self.kept, len(self.images)
        for i in range(first, first + count):
            kept[i % n] = model(images[i % n])
        return b""

    def logits(self, first: int, count: int) -> bytes:
        """Hand out the last logits of each image, zeros where there are none."""
        blank = np.zeros_like(next(row for row in self.kept if row is not None))
        return np.concatenate([blank if row is None else row for row in self.kept]).tobytes()

    def batch(self, first: int, count: int) -> bytes:
        """Run the model on all images at once."""
        return np.ascontiguousarray(self.model(self.whole)).tobytes()

    def rulers(self, first: int, count: int) -> bytes:
        """Run the rulers; for a process that the parent trusts, since it holds the clock itself."""
        return TIMES.pack(*self.ruler())


def main() -> None:
    """Answer requests until the parent hangs up."""
    replies = os.dup(1)
    os.dup2(2, 1)  # what an engine prints is no reply
    bench = Bench(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]))
    verbs = {b"L": bench.load, b"I": bench.hold, b"R": bench.run, b"G": bench.logits, b"B": bench.batch}
    verbs[b"C"] = bench.rulers
    _write(replies, REPLY.pack(b"K", 0))
    while head := _read(REQUEST.size):
        verb, first, count = REQUEST.unpack(head)
        try:
            answer = verbs[verb](first, count)
        except Exception as e:  # whatever the engine says of a bad model is passed on
            why = e.what if isinstance(e, HarnessError) else f"{type(e).__name__}: {e}"
            answer = why.encode("ascii", "replace")[:SAID]
            _write(replies, REPLY.pack(b"F", len(answer)) + answer)
        else:
            _write(replies, REPLY.pack(b"K", len(answer)) + answer)


def _read(size: int) -> bytearray:
    """Read so many bytes; nothing where the parent has hung up."""
    data = bytearray(size)
    rest = memoryview(data)
    while rest:
        count = os.readv(0, [rest])
        if not count:
            return bytearray()
        rest = rest[count:]
    return data


def _write(pipe: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(pipe, rest) :]


if __name__ == "__main__":
    main()
