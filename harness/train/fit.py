"""The training loop, for trials and for the final training alike."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from torch.optim.swa_utils import AveragedModel

from harness.data import transforms
from harness.data.augment import Augment
from harness.data.loader import batches, normalised
from harness.data.prepare import Preprocessing
from harness.data.split import Images
from harness.errors import HarnessError
from harness.record.recipe import Recipe
from harness.seed import derive
from harness.train import checkpoint
from harness.train.device import allow_tf32, operators_of
from harness.train.distributed import summed, told
from harness.train.heap import keep
from harness.train.optimizers import SCHEDULES, optimizer_of
from harness.train.precision import Precision
from harness.train.start import STARTS

LEAST_SCALE = 1e-4
"""Of the loss: float16 whose gradients overflow even so is no rounding any more. Source: fairseq's --min-loss-scale"""


class Diverged(ArithmeticError):
    """The loss is no longer a number, or its gradients overflow at every scale."""


@dataclass(frozen=True)
class Epoch:
    """What an epoch left behind. model: the weights to judge (averaged, where the recipe averages)."""

    number: int
    loss: float
    seconds: float
    images_per_s: float
    model: nn.Module


def fit(
    model: nn.Module,
    images: Images,
    preprocessing: Preprocessing,
    recipe: Recipe,
    how: Augment,
    precision: Precision,
    *,
    seed: int,
    device: torch.device,
    on_epoch: Callable[[Epoch], None] = lambda epoch: None,
    on_step: Callable[[int, float], None] = lambda step, loss: None,
    save_to: Path | None = None,
    save_every_s: float = 0.0,
    begin: Path | None = None,
    stop: int | None = None,
    rank: int = 0,
    world: int = 1,
) -> nn.Module:
    """Train a network on images of its own resolution and return the weights to judge.

    With `save_to`, the state is saved after each epoch that ends `save_every_s` seconds or more after the last time,
    and a run that finds it there goes on from it to the same result: order and augmentation depend on
    (seed, epoch, batch) alone. on_epoch may raise to stop.

    recipe.epochs is the horizon of the schedule. stop: the epoch of it to end after, with the state saved; a later call
    goes on from there to the result of one go. begin: a state that another call saved, to go on from where save_to
    isn't there.

    In float16 the loss is scaled so that small gradients don't vanish. A step whose gradients overflow is left out, and
    the next has half the scale: it changes no weight and no average, and isn't taken for divergence.
    Source: https://docs.pytorch.org/docs/stable/amp.html

    rank, world: this process's number among those that train together, in the default group of torch.distributed. Each
    takes its share of every batch, and gradients are those of the whole batch; batch norm sees its process's share, and
    its running statistics are each process's own. The first process saves, and tells the others what it goes on from.

    Raises:
        Diverged: the loss became infinite or not a number, or float16 holds its gradients at no scale.
        HarnessError: the state to begin from isn't whole; a batch has fewer images than there are processes; a
            transform doesn't make images of the same side; the device lacks an operator.
        Parted: another process is gone.
    """
    _check_shares(min(recipe.batch, len(images)), world)
    transforms.tried(how.transforms, images.pixels.shape[1])
    keep()
    allow_tf32(device)
    STARTS[recipe.start](model, images.pixels, preprocessing)
    if world > 1:  # another host's arithmetic may differ in the last bit
        model.load_state_dict(told(model.state_dict()))
    model = precision.place(model.to(device))
    optimizer = optimizer_of(recipe, model)
    average = AveragedModel(model, multi_avg_fn=_moving_average(recipe.ema), use_buffers=True)
    judged = average.module if recipe.ema else model
    scaler = torch.amp.GradScaler(device.type, enabled=precision.dtype == "float16")
    parts = {"model": model, "average": average, "optimizer": optimizer, "scaler": scaler}
    steps = max(1, len(images) // recipe.batch)
    peaks = [group["lr"] for group in optimizer.param_groups]
    last = recipe.epochs if stop is None else min(stop, recipe.epochs)
    state = save_to if save_to and save_to.exists() else begin
    first, saved = _resume(state, parts, rank, world), time.monotonic()
    if first > last:
        raise HarnessError(f"{state}: trained for {first} epochs, past epoch {last}", f"stop at {first} or later")

    for epoch in range(first, last):
        start, total = time.perf_counter(), 0.0
        model.train()
        torch.manual_seed(derive(seed, "dropout", epoch, rank))  # a resumed run drops what an uninterrupted one does
        shares = batches(
            images.pixels, images.labels, how, recipe.batch, seed, epoch, rank, world, images.weights,
            threads=torch.get_num_threads(),
        )  # fmt: skip
        for step, (x, y, weights) in enumerate(shares):
            done = (epoch * steps + step + 0.5) / (recipe.epochs * steps)
            for group, peak in zip(optimizer.param_groups, peaks, strict=True):
                group["lr"] = peak * SCHEDULES[recipe.schedule](done)
            x = precision.place(normalised(x, preprocessing, device))
            with operators_of(device):
                with precision.autocast(device):
                    logits = model(x)
                loss = _loss(logits.float(), y.to(device), weights, recipe.label_smoothing)
                optimizer.zero_grad(set_to_none=True)
                scaler.scale(loss).backward()
                loss = _whole(model, loss.detach(), len(y) / min(recipe.batch, len(images)), world)
                stepped = _step(scaler, optimizer)
                if recipe.ema and stepped:
                    average.update_parameters(model)
            value, where = loss.item(), f"in epoch {epoch + 1}, step {step + 1}"
            if not math.isfinite(value):
                raise Diverged(f"loss is {value} {where}")
            if not stepped and scaler.get_scale() < LEAST_SCALE:
                raise Diverged(f"float16 gradients overflow at every scale {where}")
            total += value
            on_step(epoch * steps + step + 1, value)
        seconds = time.perf_counter() - start
        judged.eval()
        on_epoch(Epoch(epoch + 1, total / steps, seconds, steps * recipe.batch / seconds, judged))
        paused = epoch + 1 == stop
        if save_to and rank == 0 and (paused or time.monotonic() - saved >= save_every_s):
            saved = time.monotonic()
            checkpoint.save(save_to, {"epoch": epoch + 1} | {name: part.state_dict() for name, part in parts.items()})
    return judged.eval()


def _loss(
    logits: torch.Tensor, labels: torch.Tensor, weights: torch.Tensor | None, smoothing: float
) -> torch.Tensor:  # fmt: skip
    """Return the mean loss of a batch, each image by its weight; the sum is parted by images, not by weights."""
    if weights is None:
        return F.cross_entropy(logits, labels, label_smoothing=smoothing)
    losses = F.cross_entropy(logits, labels, label_smoothing=smoothing, reduction="none")
    return (losses * weights.to(logits.device)).mean()


def _check_shares(images: int, world: int) -> None:
    if world > 1 and images < 2 * world:  # batch norm needs two
        raise HarnessError(f"recipe.batch: {images} images a batch for {world} processes", "set a larger recipe.batch")


@torch.no_grad()
def _whole(model: nn.Module, loss: torch.Tensor, share: float, world: int) -> torch.Tensor:
    """Turn loss and gradients of this process's share of a batch into those of the whole batch."""
    if world == 1:
        return loss
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    parts = [loss, *gradients]
    flat = torch.cat([part.reshape(-1).float() for part in parts]) * share
    summed(flat)
    for part, whole in zip(parts, flat.split([part.numel() for part in parts]), strict=True):
        part.copy_(whole.view_as(part))
    return loss


def _moving_average(decay: float) -> Callable[[list[torch.Tensor], list[torch.Tensor], torch.Tensor], None]:
    """Average exponentially, from few steps on: a fixed decay would keep the random start for 1 / (1 - decay) steps."""

    @torch.no_grad()
    def update(averaged: list[torch.Tensor], current: list[torch.Tensor], count: torch.Tensor) -> None:
        if not averaged[0].is_floating_point():  # a buffer that counts
            torch._foreach_copy_(averaged, current)
            return
        now = float(count)
        torch._foreach_lerp_(averaged, current, 1 - min(decay, (1 + now) / (10 + now)))

    return update


def _step(scaler: torch.amp.GradScaler, optimizer: torch.optim.Optimizer) -> bool:
    """Step where all gradients are numbers, and set the next scale; tell whether it stepped."""
    if not scaler.is_enabled():
        optimizer.step()
        return True
    before = scaler.get_scale()
    scaler.step(optimizer)
    scaler.update()
    return scaler.get_scale() >= before


def _resume(path: Path | None, parts: dict[str, Any], rank: int, world: int) -> int:
    """Load a saved state where the first process has one; return the epochs already done."""
    state = checkpoint.load(path) if path and rank == 0 else None
    if world > 1:
        state = told(state)  # on another host there may be no such file
    if state is None:
        return 0
    for name, part in parts.items():
        part.load_state_dict(state.get(name, {}) if name == "scaler" else state[name])  # 0.1 had no scaler
    return int(state["epoch"])


@torch.no_grad()
def predict(model: nn.Module, pixels: np.ndarray, how: Preprocessing, precision: Precision) -> np.ndarray:
    """Return the class of each uint8 image (N, R, R, 3) by the network in memory: for rungs, not for scores."""
    device = next(model.parameters()).device
    model.eval()
    found = []
    for i in range(0, len(pixels), 256):
        x = precision.place(normalised(torch.from_numpy(pixels[i : i + 256]), how, device))
        with precision.autocast(device):
            found.append(model(x).argmax(1).cpu())
    return torch.cat(found).numpy()
