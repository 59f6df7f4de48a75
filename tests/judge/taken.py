"""A runner that was taken over: what a model that got hold of its process might try, one class each.

Runs in the box in the runner's place; a test puts the name of the class, and what it may know, before this text.
"""

import os
import select
import sys
import threading
import time
from hashlib import blake2b
from pathlib import Path

import numpy as np

from harness.runtime.engines import load
from harness.sandbox.runner import REPLY, REQUEST, SIZES, _read, _write

CHEAT = globals().get("CHEAT", "Honest")
KNOWN = globals().get("KNOWN", {})  # hash of an image's bytes: its logits


class Honest:
    """Does what the harness's own runner does."""

    def __init__(self, path: Path, engine: str, threads: int) -> None:
        self.how = (engine, path, threads)
        self.loads = 0

    def load(self) -> None:
        self.loads += 1
        self.network = load(*self.how)

    def images(self, whole: np.ndarray) -> None:
        self.held = [whole[i : i + 1] for i in range(len(whole))]
        self.kept = [None] * len(whole)

    def run(self, first: int, count: int) -> None:
        for i in range(first, first + count):
            self.kept[i % len(self.held)] = self.answer(self.held[i % len(self.held)])

    def answer(self, image: np.ndarray) -> np.ndarray:
        return self.network(image)

    def logits(self) -> np.ndarray:
        blank = np.zeros_like(next(row for row in self.kept if row is not None))
        return np.concatenate([blank if row is None else row for row in self.kept])

    @property
    def timing(self) -> bool:
        """While it scores, the judge loads once."""
        return self.loads > 1


class Caching(Honest):
    """Answers an image that it has seen from memory."""

    def load(self) -> None:
        super().load()
        self.seen = {}

    def answer(self, image: np.ndarray) -> np.ndarray:
        key = hash(image.tobytes())
        if key not in self.seen:
            self.seen[key] = self.network(image)
        return self.seen[key]


class Lazy(Honest):
    """Says it is done, and does the work when the logits are asked for."""

    def images(self, whole: np.ndarray) -> None:
        super().images(whole)
        self.owed = set()

    def run(self, first: int, count: int) -> None:
        self.owed |= {i % len(self.held) for i in range(first, first + count)}

    def logits(self) -> np.ndarray:
        for i in self.owed:
            self.kept[i] = self.network(self.held[i])
        return super().logits()


class Eager(Honest):
    """Does the work when the images come, before it is asked."""

    def images(self, whole: np.ndarray) -> None:
        super().images(whole)
        self.ready = [self.network(image) for image in self.held]

    def run(self, first: int, count: int) -> None:
        self.kept = self.ready


class Behind(Lazy):
    """Says it is done, and works on in a thread, while the reference is timed."""

    def run(self, first: int, count: int) -> None:
        super().run(first, count)
        todo = sorted(self.owed)
        self.owed = set()
        self.thread = threading.Thread(target=lambda: [Honest.run(self, i, 1) for i in todo])
        self.thread.start()

    def logits(self) -> np.ndarray:
        self.thread.join()
        return super().logits()


class Crowd(Honest):
    """Runs with more threads than it was given."""

    def load(self) -> None:
        super().load()
        engine, path, _ = self.how
        self.network = load(engine, path, 4)


class Constant(Honest):
    """Answers with what it said last, while it is timed."""

    def answer(self, image: np.ndarray) -> np.ndarray:
        if not self.timing or not hasattr(self, "said"):
            self.said = self.network(image)
        return self.said


class Fewer(Honest):
    """Runs every other image, and answers for its neighbour with the same."""

    def run(self, first: int, count: int) -> None:
        super().run(first, 1)
        for i in range(first + 1, first + count):
            if i % 2 or not self.timing:
                super().run(i, 1)
            else:
                self.kept[i % len(self.held)] = self.kept[(i - 1) % len(self.held)]


class Coarse(Honest):
    """Sees every other pixel's neighbour only while it is timed: nearly right, and no faster here, but it might be."""

    def answer(self, image: np.ndarray) -> np.ndarray:
        return self.network(np.round(image * 4) / 4 if self.timing else image)


class Picky(Honest):
    """Works for pictures, and not for noise, which a clock might show it."""

    def answer(self, image: np.ndarray) -> np.ndarray:
        same = np.abs(np.diff(image, axis=1)).max() < 1 and self.network  # grey pictures have three equal channels
        return self.network(image) if same else np.zeros((1, 10), dtype=np.float32)


class Knowing(Honest):
    """Brings the answers for the test images along."""

    def answer(self, image: np.ndarray) -> np.ndarray:
        known = KNOWN.get(blake2b(image.tobytes(), digest_size=8).hexdigest())
        if known is None or not self.timing:
            return self.network(image)
        return np.array([known], dtype=np.float32)


class Slow(Honest):
    """Makes a trip of one run long, for what a trip takes beyond its runs is taken off each batch."""

    def run(self, first: int, count: int) -> None:
        super().run(first, count)
        end = time.process_time() + 5e-4
        while count == 1 and time.process_time() < end:
            pass


class Burning(Honest):
    """Keeps the processor busy while the reference is timed."""

    def load(self) -> None:
        super().load()
        if self.loads == 1:
            threading.Thread(target=self.burn, daemon=True).start()

    def burn(self) -> None:
        while True:
            np.ones(100_000).sum()


class Sleepless(Honest):
    """Asks for its next request again and again instead of sleeping, for a clock that is read from outside stands."""


def _request(cheat: type[Honest]) -> bytearray:
    pipe = select.poll()
    pipe.register(0, select.POLLIN)
    while cheat is Sleepless and not pipe.poll(0):
        pass
    return _read(REQUEST.size)


def main(cheat: type[Honest]) -> None:
    """Speak the runner's protocol, with a cheat's answers."""
    replies = os.dup(1)
    os.dup2(2, 1)
    model = cheat(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]))
    os.write(replies, REPLY.pack(b"K", 0))
    while head := _request(cheat):
        verb, first, count = REQUEST.unpack(head)
        answer = b""
        try:
            if verb == b"R":
                model.run(first, count)
            elif verb == b"L":
                model.load()
            elif verb == b"I":
                shape = SIZES.unpack(_read(SIZES.size))
                model.images(np.frombuffer(_read(count), np.float32).reshape(shape))
            elif verb == b"G":
                answer = model.logits().tobytes()
        except Exception as e:
            why = f"{type(e).__name__}: {e}".encode("ascii", "replace")[:1000]
            os.write(replies, REPLY.pack(b"F", len(why)) + why)
            continue
        _write(replies, REPLY.pack(b"K", len(answer)) + answer)


if __name__ == "__main__":
    main(globals()[CHEAT])
