"""Batches of augmented images, made beside the training."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import torch

from harness.data import transforms
from harness.data.augment import Augment, draw, follow
from harness.data.prepare import Preprocessing
from harness.seed import generator

AHEAD = 3  # batches ready before they are asked for
STEPS = 4  # of an epoch of few images


def fitting_batch(batch: int, images: int) -> int:
    """Return a batch with which an epoch is more than one step: as asked for, or a quarter of the images, 2 or more."""
    return batch if images >= 2 * batch else min(batch, max(2, images // STEPS))


def batches(
    pixels: np.ndarray,
    labels: np.ndarray,
    how: Augment,
    size: int,
    seed: int,
    epoch: int,
    rank: int = 0,
    world: int = 1,
    weights: np.ndarray | None = None,
    threads: int = 1,
) -> Iterator[tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]]:
    """Yield one epoch of (uint8 images (B, R, R, 3), int64 labels (B,), weights (B,)), in an order of its own.

    weights: float32 (N,) of the images; without them none are yielded, but None.

    Every batch has its own random stream from (seed, epoch, number): a resumed run sees the same images. The last,
    smaller batch is left out, unless it is the only one. Flips alternate: an image that is mirrored in one epoch isn't
    in the next, so that two epochs show both sides of all.
    Source: alternating flip, https://arxiv.org/abs/2404.00498

    rank, world: of so many processes that train together, each takes its share of every batch; what happens to an image
    doesn't depend on who takes it.

    threads: as many make batches at once where `how` has transforms, AHEAD at most; they change no image. Without
    transforms one thread is ahead of any training.

    Raises:
        HarnessError: a transform fails, or makes images of another kind or side.
    """
    order = generator(seed, "order", epoch).permutation(len(labels))
    count = max(1, len(labels) // size)
    mirrored = generator(seed, "flip").random(len(labels)) < 0.5
    at_once = min(threads, AHEAD) if how.transforms else 1
    vary = transforms.varying(how.transforms, pixels.shape[1], at_once)

    def make(number: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
        chosen = order[number * size : (number + 1) * size]
        plan = draw(len(chosen), pixels.shape[1], how, generator(seed, "augment", epoch, number))
        plan = replace(plan, mirrored=(mirrored[chosen] ^ (epoch % 2 == 1)) & how.flip)
        seeds = generator(seed, "transforms", epoch, number).integers(2**63, size=len(chosen))
        share = slice(rank, None, world)
        chosen, plan, seeds = chosen[share], plan.take(share), seeds[share]
        images = pixels[chosen]
        if how.place == "before":
            images = vary(images, seeds)
        images = follow(images, how, plan)
        if how.place == "after":
            images = vary(images, seeds)
        heavy = None if weights is None else torch.from_numpy(weights[chosen])
        return torch.from_numpy(images), torch.from_numpy(labels[chosen]), heavy

    with ThreadPoolExecutor(at_once) as pool:
        ready = deque(pool.submit(make, i) for i in range(min(AHEAD, count)))
        for number in range(count):
            batch = ready.popleft().result()
            if number + AHEAD < count:
                ready.append(pool.submit(make, number + AHEAD))
            yield batch


def normalised(images: torch.Tensor, how: Preprocessing, device: torch.device) -> torch.Tensor:
    """Turn uint8 (B, R, R, 3) into float32 (B, 3, R, R) on the device, laid out channels last."""
    mean = torch.tensor(how.mean, device=device) * 255
    scale = 1 / (torch.tensor(how.std, device=device) * 255)
    return ((images.to(device).float() - mean) * scale).permute(0, 3, 1, 2)
