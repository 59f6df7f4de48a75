"""What a person sees of a long training: a bar in a terminal, a line now and then anywhere else."""

from __future__ import annotations

import sys
import time
from datetime import datetime, timedelta
from types import TracebackType

from tqdm import tqdm

EVERY_S = 10.0
"""How long after one line the next may come, at an epoch's end, where no terminal shows a bar."""
SMOOTH = 0.98
"""Of the loss between epochs: what a step leaves of the average of those before it."""
BAR = " {percentage:3.0f}%|{bar:20}| {desc}"


class Display:
    """How far a training is: epoch, loss, F1 where it is known, images a second, and when it will end.

    name: of the run. epochs, steps: in all, and of one epoch. batch: images a step. done: epochs of an earlier sitting.
    loss, f1: what that sitting came to, if any.
    """

    def __init__(
        self, name: str, *, epochs: int, steps: int, batch: int, done: int, loss: float | None, f1: float | None
    ) -> None:
        self._epochs, self._steps, self._batch, self._first = epochs, steps, batch, done * steps
        self._loss, self._f1 = loss, f1
        self._step, self._begin, self._due = self._first, time.monotonic(), 0.0
        self._bar: tqdm | None = None
        self._ahead = int(sys.stdout.isatty())  # a bar tells which epoch is at work, a line which one has ended
        if self._ahead:
            self._bar = tqdm(
                total=epochs * steps, initial=self._first, desc=self._words(), file=sys.stdout, dynamic_ncols=True,
                mininterval=0.5, bar_format=name.replace("{", "{{").replace("}", "}}") + BAR,
            )  # fmt: skip

    def __enter__(self) -> Display:
        return self

    def __exit__(self, _kind: type | None, _error: BaseException | None, _trace: TracebackType | None) -> None:
        if self._bar is not None:
            self._bar.close()

    def step(self, number: int, loss: float) -> None:
        """Note a step, by its number in the whole training from 1, and its loss."""
        self._step = number
        self._loss = loss if self._loss is None else SMOOTH * self._loss + (1 - SMOOTH) * loss
        if self._bar is not None:
            self._bar.set_description_str(self._words(), refresh=False)
            self._bar.update()

    def epoch(self, loss: float, f1: float | None) -> None:
        """Note an epoch's mean loss, and F1 where it was looked at."""
        self._loss, self._f1 = loss, self._f1 if f1 is None else f1
        if self._bar is None and (time.monotonic() >= self._due or self._step == self._epochs * self._steps):
            print(self._words(), flush=True)
            self._due = time.monotonic() + EVERY_S

    def _words(self) -> str:
        """Say all of it. The rate is this sitting's, what is measured between its steps included."""
        parts = [f"epoch {min(self._epochs, self._step // self._steps + self._ahead)}/{self._epochs}"]
        parts += [] if self._loss is None else [f"loss {self._loss:.4f}"]
        parts += [] if self._f1 is None else [f"F1 {self._f1:.4f}"]
        done, left = self._step - self._first, self._epochs * self._steps - self._step
        seconds = time.monotonic() - self._begin
        if done and seconds:
            parts.append(f"{done * self._batch / seconds:,.0f} images/s")
        if done and left:
            left_s = seconds / done * left
            end = datetime.now() + timedelta(seconds=left_s)
            parts.append(f"expected end in {timedelta(seconds=round(left_s))}, {end:%a %H:%M}")
        return "  ".join(parts)
