"""How weights are learnt: optimiser, schedule, length."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import nn

from harness.errors import HarnessError, pick
from harness.train.muon import Muon
from harness.train.start import STARTS


@dataclass
class Recipe:
    """Everything about a training run but the network and the images.

    optimizer: `name` in OPTIMIZERS and its own parameters. schedule: a name in SCHEDULES. ema: decay of the weight
    average a step, 0 for none. start: a name in STARTS, the weights to begin with.
    """

    epochs: int = 10
    batch: int = 128
    optimizer: dict[str, Any] = field(
        default_factory=lambda: {"name": "sgd", "lr": 0.1, "momentum": 0.9, "nesterov": True}
    )
    weight_decay: float = 5e-4
    schedule: str = "cosine"
    label_smoothing: float = 0.0
    ema: float = 0.0
    start: str = "he"

    def __post_init__(self) -> None:
        for name, low, high in (
            ("epochs", 1, 100_000),
            ("batch", 2, 65_536),
            ("weight_decay", 0, 10),
            ("label_smoothing", 0, 0.9),
            ("ema", 0, 0.99999),
        ):
            value = getattr(self, name)
            if not low <= value <= high:
                raise HarnessError(
                    f"recipe.{name}={value}: outside {low}..{high}", f"set recipe.{name} within {low}..{high}"
                )
        pick(SCHEDULES, self.schedule, "recipe.schedule")
        pick(STARTS, self.start, "recipe.start")
        kind = pick(OPTIMIZERS, str(self.optimizer.get("name")), "recipe.optimizer.name")
        allowed = set(inspect.signature(kind).parameters) - {"groups"}
        given = set(self.optimizer) - {"name"}
        if given - allowed or "lr" not in given:
            wrong = ", ".join(sorted(given - allowed)) or "no lr"
            raise HarnessError(
                f"recipe.optimizer {self.optimizer['name']}: {wrong}; it takes {', '.join(sorted(allowed))}",
                "write the optimiser's own parameters under recipe.optimizer",
            )

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return asdict(self)


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
