"""The fastest layout and number format for a network, found by trying them on this machine."""

from __future__ import annotations

import copy
import time
from dataclasses import replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from harness.train import probed
from harness.train.device import half
from harness.train.heap import keep
from harness.train.precision import Precision

LIMIT_S = 1.0
"""The most that a probe takes of a processor: 1 s where it has it for itself, 2 s beside a neighbour that takes half of
it. Only a network of which two images take longer takes more."""
SIZES = (2, 4, 16, 64)
"""Images in a step, of one rung after another."""
MOST = 256
"""Larger batches are held to be like this."""
LIGHT_S = 0.03
"""A network of which two images take less than that begins with the second rung."""
ROUNDS, RUNG_S = (2, 10), 0.05
"""Steps of each plan on a rung, at least and at most, and after how long it is enough."""
LOW = 0.2
"""The quantile of a plan's times that stands for it."""
SLOWER = 4.0
"""How much slower than the best, as a share, a plan may look that is tried on: divided by the images of the rung."""
LOOK_S, OURS = 0.15, 0.8
"""How long is looked whether the processors are ours, and the share of their time that we then get."""
TELLING = 16
"""Images from which on a difference from float32 counts: of fewer, batch normalisation makes noise of rounding."""
WORTH = 1.02
"""bfloat16 must be this many times faster to be worth its rounding."""
AGREE = 0.05
"""The outputs of a plan must be this near to float32's, relative to their spread."""
ALIGNED = 0.8
"""And the gradient of every weight must point in float32's direction (cosine; rounding alone leaves 0.92 to 0.99)."""

PLAIN = Precision("channels_last", "float32")


def probe(model: nn.Module, resolution_px: int, batch: int, device: torch.device) -> Precision:
    """Choose layout and format for a network: the fastest that computes what float32 does, forward and backward.

    On a CPU they are tried, at most once for a network, batch (to the power of two below it) and number of threads;
    the answer is kept in this machine's cache. On CUDA the card decides: float16 before Ampere, bfloat16 from it on.
    On a Mac's graphics it is float32: no other is tried there.
    """
    if device.type == "cuda":
        return Precision("channels_last", half(torch.cuda.get_device_capability(device)))
    if device.type == "mps":
        return Precision("contiguous", "float32")
    batch = min(MOST, 1 << max(1, batch.bit_length() - 1))
    file = probed.file(model, resolution_px, batch)
    if kept := probed.read(file):
        return kept
    found = fastest(model, resolution_px, batch)
    probed.write(file, found)
    return found


def plans(model: nn.Module) -> list[Precision]:
    """List what may be the fastest for a network on a CPU, float32 first."""
    grouped = any(isinstance(m, nn.Conv2d) and m.groups > 1 for m in model.modules())
    halves = [Precision("channels_last", "bfloat16"), *[Precision("channels_last", "mixed")] * grouped]
    return [PLAIN, *halves, Precision("contiguous", "float32")]


def fastest(model: nn.Module, resolution_px: int, batch: int, seed: int = 0) -> Precision:
    """Try all plans by turns, on a few images and on ever more of them, until one is clearly the fastest.

    Which one wins depends on network and processor: bfloat16 halves the time of dense networks and doubles that of
    depthwise ones on some, and some of its convolutions are wrong. It depends on the batch, too: what a step costs
    whatever its images, and what an image costs, are told apart by two rungs, and give the time of a whole batch.
    Source: https://github.com/pytorch/pytorch/issues/163347, issues/169688, issues/183815
    """
    keep()  # as the training does: memory that is mapped anew costs some plans more than others
    threads = torch.get_num_threads()
    if threads == 1 or not crowded(threads):
        return _fastest(model, resolution_px, batch, seed)
    torch.set_num_threads(1)
    try:
        found = _fastest(model, resolution_px, max(2, batch // threads), seed)
    finally:
        torch.set_num_threads(threads)
    return replace(found, images_per_s=round(found.images_per_s * threads, 1))


def crowded(threads: int) -> bool:
    """Say whether others work on our processors: so many threads don't get the time that products of matrices need.

    Then several threads tell nothing of a plan: while one is off its processor, the others spin within oneDNN's
    kernels, which counts as CPU time. One thread with its share of the batch is compared instead.
    """
    matrix = torch.randn(1024, 1024)
    matrix @ matrix  # starts the threads
    begin, used = time.perf_counter(), time.process_time()
    while (wall_s := time.perf_counter() - begin) < LOOK_S:
        matrix @ matrix
    return (time.process_time() - used) / (wall_s * threads) < OURS


def _fastest(model: nn.Module, resolution_px: int, batch: int, seed: int) -> Precision:
    end = time.thread_time() + LIMIT_S
    left = [Trainee(model, plan) for plan in plans(model)]

    def images(count: int) -> torch.Tensor:
        return torch.randn(count, 3, resolution_px, resolution_px, generator=torch.Generator().manual_seed(seed))

    for count in _sizes(left[0], images(2), batch):
        if not _rung(left, images(count), end):
            break
        least = min(one.seconds(batch) for one in left if one.agrees)
        if count < TELLING:  # float32 stays, for the others to be held to
            left = [one for one in left if one.plan == PLAIN or one.seconds(batch) <= (1 + SLOWER / count) * least]
        else:
            left = [one for one in left if one.agrees and one.seconds(batch) <= (1 + SLOWER / count) * least]
        if len(left) == 1:
            break
    best = min((one for one in left if one.agrees), key=lambda one: one.seconds(batch) * one.handicap)
    return replace(best.plan, images_per_s=round(batch / best.seconds(batch), 1))


class Trainee:
    """A copy of a network that is trained under a plan, and the seconds of its steps by their number of images.

    The seconds are CPU time of the thread that trains: what neighbours take isn't in it, nor what other threads do
    beside it, but all that is done by it alone is; on a processor of one's own it is the wall's time.
    """

    def __init__(self, model: nn.Module, plan: Precision) -> None:
        self.plan, self.agrees = plan, True
        self.handicap = 1.0 if plan.dtype == "float32" else WORTH
        self.times: dict[int, list[float]] = {}
        self._net = plan.place(copy.deepcopy(model)).train()
        for module in self._net.modules():
            if isinstance(module, (nn.Dropout, nn.Dropout2d)):
                module.eval()  # two draws never agree
        self._image_s = 0.0  # in the last step

    def step(self, images: torch.Tensor) -> list[torch.Tensor]:
        """Take a step; return the logits and the gradient of every weight."""
        self._net.zero_grad(set_to_none=True)
        begin = time.thread_time()
        with self.plan.autocast(images.device):
            logits = self._net(self.plan.place(images))
        F.cross_entropy(logits.float(), torch.arange(len(images)) % 2).backward()
        took_s = time.thread_time() - begin
        self.times.setdefault(len(images), []).append(took_s)
        self._image_s = took_s / len(images)
        return [logits.detach().float(), *[w.grad for w in self._net.parameters() if w.ndim > 1 and w.grad is not None]]

    def fits(self, images: torch.Tensor, end: float) -> bool:
        """Say whether a step is likely to end in time."""
        return time.thread_time() + self._image_s * len(images) < end

    def seconds(self, batch: int) -> float:
        """Return the seconds of a step of so many images: taken, or by the line through the two largest that were."""
        found = [(count, self._low(count)) for count in sorted(self.times)]
        (few, short), (count, long) = found[-2:] if len(found) > 1 else [(0, 0.0), *found]
        return long + (batch - count) * max(0.0, (long - short) / (count - few))

    def _low(self, count: int) -> float:
        """Return what a step takes when nothing disturbs it; the first pays for the library's set-up."""
        first, *others = self.times[count]
        return float(np.quantile(others or [first], LOW, method="lower"))


def _sizes(plain: Trainee, two: torch.Tensor, batch: int) -> list[int]:
    """List the rungs up to the whole batch."""
    for _ in range(2):
        plain.step(two)
    light = min(plain.times.pop(2)) < LIGHT_S
    return [*[size for size in SIZES[light:] if size < batch], batch]


def _rung(left: list[Trainee], images: torch.Tensor, end: float) -> bool:
    """Let the plans take steps of these images by turns; where the time is up before all have a figure, forget them."""
    count, begin, first = len(images), time.thread_time(), not left[-1].times
    wanted = None
    for one in left:
        if not first and not one.fits(images, end):
            return _forgotten(left, count)
        found = one.step(images)
        if one.plan == PLAIN:
            wanted = found
        elif wanted is not None:
            one.agrees = agree(found, wanted)
    least, most = ROUNDS
    for turn in range(most):
        for one in left[:: -1 if turn % 2 else 1]:
            if not one.fits(images, end):
                return bool(turn or first) or _forgotten(left, count)
            one.step(images)
        if turn + 1 >= least and time.thread_time() - begin > RUNG_S:
            break
    return True


def _forgotten(left: list[Trainee], count: int) -> bool:
    for one in left:
        one.times.pop(count, None)
    return False


def agree(found: list[torch.Tensor], wanted: list[torch.Tensor]) -> bool:
    """Say whether a plan computes what float32 does, but for rounding."""
    off = (found[0] - wanted[0]).abs().mean() / (wanted[0].std() + 1e-6)
    pairs = zip(found[1:], wanted[1:], strict=True)
    alike = [F.cosine_similarity(a.flatten(), b.flatten(), dim=0) for a, b in pairs if b.norm() > 0]
    worst = min(alike, default=torch.tensor(1.0))  # none where the loss is no number: that is for the training to say
    return bool(off < AGREE and worst > ALIGNED)  # a NaN fails both
