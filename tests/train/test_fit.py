"""The training loop: it learns, it says when it can't, and a stop in the middle leaves no trace."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from small import CPU, digits, few, network, same, train
from torch.optim.swa_utils import AveragedModel

from harness.data.augment import Augment
from harness.data.prepare import Preprocessing, statistics
from harness.errors import HarnessError
from harness.measure.quality import macro_f1
from harness.record.recipe import Recipe
from harness.train import checkpoint
from harness.train.fit import Diverged, Epoch, _moving_average, predict
from harness.train.precision import Precision

ADAMW = {"name": "adamw", "lr": 0.005}
MUON = {"name": "muon", "lr": 0.1}
SLOW = {"name": "sgd", "lr": 1e-5}


class Stop(Exception):
    """What stands for a crash."""


def stop_at(number: int):
    """An on_epoch that raises before the state of that epoch is saved."""

    def on_epoch(epoch: Epoch) -> None:
        if epoch.number == number:
            raise Stop

    return on_epoch


def test_digits_are_learnt_in_a_few_epochs():
    """Six epochs at 16 px: the loss falls and the F1 of images never seen is above 0.8."""
    data, losses = digits(16), []
    recipe = Recipe(epochs=6, batch=64)
    model = train(data.train, recipe, on_epoch=lambda e: losses.append(e.loss))
    how = Preprocessing(16, *statistics(data.train.pixels))
    found = predict(model, data.validation.pixels, how, Precision())
    assert losses[-1] < losses[0] / 2
    assert macro_f1(data.validation.labels, found, 10) > 0.8


@pytest.mark.parametrize("ema", [0.0, 0.99])
@pytest.mark.parametrize("how", [Augment(0, 0, False, 0.0), Augment(2, 9, True, 0.125, 0.25)], ids=["plain", "rand"])
@pytest.mark.parametrize("optimizer", [Recipe().optimizer, ADAMW, MUON], ids=["sgd", "adamw", "muon"])
def test_a_stopped_run_ends_like_one_that_was_not(tmp_path: Path, ema: float, how: Augment, optimizer: dict):
    """Stopped twice, before a save and at the very first epoch, and gone on with: the same weights to the last bit."""
    start = "whitened" if optimizer is MUON else "he"
    recipe = Recipe(epochs=4, batch=32, optimizer=optimizer, ema=ema, start=start)
    straight = train(few(96), recipe, how=how)
    saved = tmp_path / "checkpoint.pt"
    for at in (1, 3):
        with pytest.raises(Stop):
            train(few(96), recipe, how=how, save_to=saved, on_epoch=stop_at(at))
    seen = []
    resumed = train(few(96), recipe, how=how, save_to=saved, on_epoch=lambda e: seen.append(e.number))
    assert seen == [3, 4]
    assert same(straight, resumed)


def test_a_stopped_run_drops_what_one_that_was_not_dropped(tmp_path: Path):
    """Whatever else has been drawn in its process."""

    def run(**how):
        torch.rand(len(how) + 1)
        net = torch.nn.Sequential(network(), torch.nn.Dropout(0.5))
        return train(few(96), Recipe(epochs=3, batch=32), net, **how)

    straight, saved = run(), tmp_path / "checkpoint.pt"
    with pytest.raises(Stop):
        run(save_to=saved, on_epoch=stop_at(2))
    assert same(straight, run(save_to=saved))


def test_a_stopped_run_sees_the_transforms_of_one_that_was_not(tmp_path: Path):
    """The same weights to the last bit; without the transforms they are others."""
    how = Augment(1, 9, transforms=[{"ColorJitter": {"p": 0.8}}, "RandomResizedCrop", {"GaussNoise": {"p": 0.5}}])
    recipe, saved = Recipe(epochs=3, batch=32), tmp_path / "checkpoint.pt"
    straight = train(few(96), recipe, how=how)
    with pytest.raises(Stop):
        train(few(96), recipe, how=how, save_to=saved, on_epoch=stop_at(2))
    resumed = train(few(96), recipe, how=how, save_to=saved)
    assert same(straight, resumed) and not same(straight, train(few(96), recipe, how=Augment(1, 9)))


def test_transforms_that_make_other_images_are_met_before_the_first_step(tmp_path: Path):
    """Though they seldom would."""
    steps = []
    how = Augment(transforms=[{"Resize": {"height": 16, "width": 16, "p": 0.001}}])
    with pytest.raises(HarnessError, match="Resize: makes images of 16 x 16 x 3 uint8; allowed: 8 x 8"):
        train(few(96), Recipe(epochs=1), how=how, on_step=lambda step, loss: steps.append(step))
    assert steps == []


def test_a_finished_run_is_not_trained_again(tmp_path: Path):
    """The same call after the end gives the same weights and no further epoch."""
    saved, recipe = tmp_path / "checkpoint.pt", Recipe(epochs=2, batch=32, ema=0.9)
    first = train(few(96), recipe, save_to=saved)
    again = train(few(96), recipe, save_to=saved, on_epoch=stop_at(3))
    assert same(first, again)


HALF = Precision("channels_last", "float16")
GRADED = {"weights": np.full(96, 3000, np.float32)}  # of the losses: float16 overflows until their scale has fallen


def in_half(recipe: Recipe, **rest: Any) -> torch.nn.Module:
    """Train in float16 on images whose gradients overflow at first."""
    return train(replace(few(96), **GRADED), recipe, precision=HALF, **rest)


def test_float16_learns_like_float32():
    """On the CPU, too: six epochs at 16 px, F1 above 0.8."""
    data = digits(16)
    model = train(data.train, Recipe(epochs=6, batch=64), precision=HALF)
    found = predict(model, data.validation.pixels, Preprocessing(16, *statistics(data.train.pixels)), HALF)
    assert macro_f1(data.validation.labels, found, 10) > 0.8


def test_a_step_that_overflows_float16_is_left_out_and_is_no_divergence(tmp_path: Path):
    """The scale of the loss falls until the gradients fit; steps left out move neither weights nor their average."""
    saved, losses, recipe = tmp_path / "checkpoint.pt", [], Recipe(epochs=4, batch=32, ema=0.9, optimizer=SLOW)
    in_half(recipe, save_to=saved, on_step=lambda step, loss: losses.append(loss))
    state = checkpoint.load(saved)
    left_out = np.log2(2.0**16 / state["scaler"]["scale"])
    assert 1 <= left_out < 12 == len(losses)
    assert state["average"]["n_averaged"] == 12 - left_out
    assert losses[0] == pytest.approx(losses[1], rel=0.3)


@pytest.mark.parametrize("ema", [0.0, 0.9])
def test_a_run_in_float16_resumes_with_the_scale_it_had(tmp_path: Path, ema: float):
    """Stopped before the save of an epoch, and gone on with: the same weights to the last bit."""
    saved, recipe = tmp_path / "checkpoint.pt", Recipe(epochs=4, batch=32, ema=ema, optimizer=SLOW)
    straight = in_half(recipe)
    with pytest.raises(Stop):
        in_half(recipe, save_to=saved, on_epoch=stop_at(3))
    state = checkpoint.load(saved)
    assert same(straight, in_half(recipe, save_to=saved))
    checkpoint.save(saved, state | {"scaler": state["scaler"] | {"scale": 2.0**16}})  # negative control
    assert not same(straight, in_half(recipe, save_to=saved))


class _Overflowing(torch.autograd.Function):
    """Passes its input on; its gradient is infinite whatever comes."""

    @staticmethod
    def forward(ctx: object, x: torch.Tensor) -> torch.Tensor:
        return x.clone()

    @staticmethod
    def backward(ctx: object, gradient: torch.Tensor) -> torch.Tensor:
        return gradient * torch.inf


def test_float16_that_overflows_at_every_scale_is_divergence():
    """Else such a training would go on to its end without having moved."""

    class Endless(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = network()

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return _Overflowing.apply(self.inner(x))

    with pytest.raises(Diverged, match="float16 gradients overflow at every scale in epoch"):
        train(few(96), Recipe(epochs=20, batch=32), Endless(), precision=HALF)


@pytest.mark.parametrize("part", ["optimizer", "average"])
def test_a_checkpoint_that_forgets_a_part_is_noticed(tmp_path: Path, part: str):
    """Negative control: with the optimiser's or the average's state as at the start, the comparison above fails."""
    saved, recipe = tmp_path / "checkpoint.pt", Recipe(epochs=4, batch=32, ema=0.9)
    straight = train(few(96), recipe)
    with pytest.raises(Stop):
        train(few(96), recipe, save_to=saved, on_epoch=stop_at(3))
    state = checkpoint.load(saved)
    fresh = network()
    forgotten = {"optimizer": state["optimizer"] | {"state": {}}, "average": AveragedModel(fresh).state_dict()}
    checkpoint.save(saved, state | {part: forgotten[part]})
    assert not same(straight, train(few(96), recipe, save_to=saved))


def test_the_seed_decides_order_and_augmentation():
    """Equal seeds give equal weights, another seed others."""
    recipe, how = Recipe(epochs=1, batch=32), Augment(2, 9, True)
    one, two, other = (train(few(96), recipe, how=how, seed=s) for s in (1, 1, 2))
    assert same(one, two) and not same(one, other)


@pytest.mark.parametrize("ruin", ["rate", "nan", "inf"])
def test_a_loss_that_is_no_number_stops_the_training(ruin: str):
    """A learning rate of a million, and weights that are NaN or infinite, raise Diverged with epoch and step."""
    model = network()
    if ruin != "rate":
        with torch.no_grad():
            next(model.parameters())[0] = float(ruin)
    recipe = Recipe(epochs=20, batch=32, optimizer={"name": "sgd", "lr": 1e6 if ruin == "rate" else 0.1})
    with pytest.raises(Diverged, match=r"loss is (nan|inf) in epoch \d+, step \d+"):
        train(few(96), recipe, model)


def test_fewer_images_than_a_batch_still_train():
    """Twenty images at batch 128: one step an epoch, and the weights move."""
    steps = []
    trained = train(few(20), Recipe(epochs=3), on_step=lambda step, loss: steps.append(step))
    assert steps == [1, 2, 3]
    assert not same(network(), trained)


def test_the_average_of_a_short_run_is_near_its_end():
    """After 40 steps an average of decay 0.998 is nearer to the last weights than to the random start.

    Negative control: the plain fixed decay is nearer to the start.
    """

    def distance(update) -> tuple[float, float]:
        draw = torch.Generator().manual_seed(0)
        model = torch.nn.Linear(8, 8, bias=False).requires_grad_(False)
        average = AveragedModel(model, multi_avg_fn=update)
        start = model.weight.detach().clone()
        for _ in range(40):
            model.weight += 0.1 + 0.01 * torch.randn(8, 8, generator=draw)
            average.update_parameters(model)
        return tuple((average.module.weight - w).norm().item() for w in (start, model.weight))

    from_start, from_end = distance(_moving_average(0.998))
    assert from_end < from_start / 2
    fixed = torch.optim.swa_utils.get_ema_multi_avg_fn(0.998)
    from_start, from_end = distance(fixed)
    assert from_end > from_start


def test_averaged_weights_of_a_short_training_classify():
    """Thirty steps with decay 0.998: what is judged is the average, and it has learnt too."""
    data = digits(8)
    model = network()
    judged = train(data.train, Recipe(epochs=4, batch=64, ema=0.998), model, device=CPU)
    how = Preprocessing(8, *statistics(data.train.pixels))
    f1 = macro_f1(data.validation.labels, predict(judged, data.validation.pixels, how, Precision()), 10)
    assert judged is not model and f1 > 0.6


def test_an_image_without_weight_teaches_nothing():
    """Whatever its label says; with its weight the label matters."""
    images, recipe = few(64), Recipe(epochs=2, batch=16)
    other = replace(images, labels=np.where(np.arange(64) < 32, (images.labels + 1) % 10, images.labels))
    for half, alike in ((np.float32(0), True), (np.float32(0.5), False)):
        weights = np.where(np.arange(64) < 32, half, np.float32(1))
        first, second = (train(replace(part, weights=weights), recipe) for part in (images, other))
        assert same(first, second) == alike
