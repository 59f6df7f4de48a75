"""How weights are learnt: optimiser, schedule, length."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from harness.errors import HarnessError, pick, within

OPTIMIZERS = {
    "sgd": ("lr", "momentum", "nesterov"),
    "adamw": ("lr", "beta1", "beta2"),
    "muon": ("lr", "momentum", "sgd_lr"),
}
"""The optimisers by name, each with its own parameters; `train.optimizers` builds them."""
PARAMETERS = {
    "lr": (1e-12, 1e38), "sgd_lr": (1e-12, 1e38), "momentum": (0, 0.99999), "beta1": (0, 0.99999), "beta2": (0, 0.99999)
}  # fmt: skip
"""What each number among them may be."""
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
        within(self.epochs, 1, 100_000, "recipe.epochs", whole=True)
        within(self.batch, 2, 65_536, "recipe.batch", whole=True)
        within(self.weight_decay, 0, 10, "recipe.weight_decay")
        within(self.label_smoothing, 0, 0.9, "recipe.label_smoothing")
        within(self.ema, 0, 0.99999, "recipe.ema")
        pick(dict.fromkeys(SCHEDULES), self.schedule, "recipe.schedule")
        pick(dict.fromkeys(STARTS), self.start, "recipe.start")
        if not isinstance(self.optimizer, dict):
            raise HarnessError(f"recipe.optimizer={self.optimizer!r}: allowed: name and parameters", "write both")
        allowed = set(pick(OPTIMIZERS, str(self.optimizer.get("name")), "recipe.optimizer.name"))
        given = set(self.optimizer) - {"name"}
        if given - allowed or "lr" not in given:
            wrong = ", ".join(sorted(given - allowed)) or "no lr"
            raise HarnessError(
                f"recipe.optimizer {self.optimizer['name']}: {wrong}; it takes {', '.join(sorted(allowed))}",
                "write the optimiser's own parameters under recipe.optimizer",
            )
        for name in sorted(given - {"nesterov"}):
            low, high = PARAMETERS[name]
            within(self.optimizer[name], low, high, f"recipe.optimizer.{name}")
        nesterov = self.optimizer.get("nesterov", False)
        if not isinstance(nesterov, bool) or (nesterov and self.optimizer.get("momentum") == 0):
            raise HarnessError(
                f"recipe.optimizer.nesterov={nesterov!r}: allowed: true or false, and true with a momentum above 0",
                "set it to false",
            )

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return asdict(self)
