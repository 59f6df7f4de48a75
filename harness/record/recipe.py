"""How weights are learnt: optimiser, schedule, length."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from harness.errors import HarnessError, pick

OPTIMIZERS = {
    "sgd": ("lr", "momentum", "nesterov"),
    "adamw": ("lr", "beta1", "beta2"),
    "muon": ("lr", "momentum", "sgd_lr"),
}
"""The optimisers by name, each with its own parameters; `train.optimizers` builds them."""
SCHEDULES = ("cosine", "onecycle", "linear")
"""The schedules of the learning rate, which `train.optimizers` has."""
STARTS = ("he", "whitened")
"""The weights to begin with, which `train.start` has."""


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
        pick(dict.fromkeys(SCHEDULES), self.schedule, "recipe.schedule")
        pick(dict.fromkeys(STARTS), self.start, "recipe.start")
        allowed = set(pick(OPTIMIZERS, str(self.optimizer.get("name")), "recipe.optimizer.name"))
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
