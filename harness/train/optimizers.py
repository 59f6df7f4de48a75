"""The optimisers and the schedules of the learning rate that a recipe names."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

import torch
from torch import nn

from harness.record.recipe import Recipe
from harness.train.muon import Muon


def sgd(groups: Iterable, lr: float, momentum: float = 0.9, nesterov: bool = False) -> torch.optim.Optimizer:
    """Build stochastic gradient descent."""
    return torch.optim.SGD(groups, lr=lr, momentum=momentum, nesterov=nesterov, foreach=True)


def adamw(groups: Iterable, lr: float, beta1: float = 0.9, beta2: float = 0.999) -> torch.optim.Optimizer:
    """Build AdamW. Source: https://arxiv.org/abs/1711.05101"""
    return torch.optim.AdamW(groups, lr=lr, betas=(beta1, beta2), foreach=True)


def muon(groups: Iterable, lr: float, momentum: float = 0.6, sgd_lr: float = 0.1) -> torch.optim.Optimizer:
    """Build Muon for the filters, SGD for the rest."""
    return Muon(groups, lr, momentum, sgd_lr)


OPTIMIZERS: dict[str, Callable[..., torch.optim.Optimizer]] = {"sgd": sgd, "adamw": adamw, "muon": muon}


def optimizer_of(recipe: Recipe, model: nn.Module) -> torch.optim.Optimizer:
    """Build the recipe's optimiser; biases and normalisation weights don't decay."""
    decayed = [p for p in model.parameters() if p.ndim > 1]
    free = [p for p in model.parameters() if p.ndim <= 1]
    groups = [{"params": decayed, "weight_decay": recipe.weight_decay}, {"params": free, "weight_decay": 0.0}]
    options = {k: v for k, v in recipe.optimizer.items() if k != "name"}
    return OPTIMIZERS[recipe.optimizer["name"]](groups, **options)


def _ramp(done: float, start: float, down: Callable[[float], float]) -> float:
    return done / start if done < start else down((done - start) / (1 - start))


SCHEDULES: dict[str, Callable[[float], float]] = {
    "cosine": lambda done: _ramp(done, 0.03, lambda x: 0.5 * (1 + math.cos(math.pi * x))),
    "onecycle": lambda done: _ramp(done, 0.3, lambda x: 0.5 * (1 + math.cos(math.pi * x))),
    "linear": lambda done: _ramp(done, 0.2, lambda x: 1 - x),
}
"""Share of the training done (0..1) to share of the learning rate (0..1)."""
