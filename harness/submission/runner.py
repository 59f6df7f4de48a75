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

from harness.runtime.engines import RUNTIMES, load

REQUEST = struct.Struct("<cxxxIQ")
"""verb, first, count: L load; I images (count bytes follow the four sizes); R run; G logits; B batch."""
REPLY = struct.Struct("<cxxxI")
"""verb, size: K done; F failed, with why."""
SIZES = struct.Struct("<4I")
SAID = 1000
"""The most characters of an engine's complaint."""


def main() -> None:
    """Answer requests until the parent hangs up."""
    replies = os.dup(1)
    os.dup2(2, 1)  # what an engine prints is no reply
    path, engine, threads = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    images: list[np.ndarray] = []
    kept: list[np.ndarray | None] = []
    whole, run, pads = np.empty(0), None, []
    import_module(RUNTIMES[engine])  # before the first load, which is timed
    os.write(replies, REPLY.pack(b"K", 0))
    while head := _read(REQUEST.size):
        verb, first, count = REQUEST.unpack(head)
        answer = b""
        try:
            if verb == b"R":
                n = len(images)
                for i in range(first, first + count):
                    kept[i % n] = run(images[i % n])
            elif verb == b"L":
                # the last load is let go only after the new one has its memory: else it would get the same again
                pads.append(np.ones(np.random.default_rng().integers(1 << 16), dtype=np.uint8))
                run = load(engine, path, threads)
            elif verb == b"I":
                shape = SIZES.unpack(_read(SIZES.size))
                whole = np.frombuffer(_read(count), np.float32).reshape(shape)
                images, kept = [whole[i : i + 1] for i in range(shape[0])], [None] * shape[0]
            elif verb == b"G":
                answer = _bytes(kept)
            elif verb == b"B":
                answer = np.ascontiguousarray(run(whole)).tobytes()
        except Exception as e:  # whatever the engine says of a bad model is passed on
            why = f"{type(e).__name__}: {e}".encode("ascii", "replace")[:SAID]
            os.write(replies, REPLY.pack(b"F", len(why)) + why)
            continue
        _write(replies, REPLY.pack(b"K", len(answer)) + answer)


def _bytes(kept: list[np.ndarray | None]) -> bytes:
    blank = np.zeros_like(next(row for row in kept if row is not None))
    return np.concatenate([blank if row is None else row for row in kept]).tobytes()


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
