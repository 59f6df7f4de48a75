"""All that a trial decides, as data that rebuilds it."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from harness.data.augment import Augment
from harness.errors import HarnessError, nearest
from harness.models.course import read_course
from harness.models.spec import ModelSpec
from harness.record.recipe import Recipe

PARTS = ("model", "resolution_px", "augment", "recipe")


@dataclass(frozen=True)
class Candidate:
    """A network, its input size, its augmentation and its recipe."""

    model: ModelSpec
    resolution_px: int
    augment: Augment
    recipe: Recipe

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            "model": self.model.to_dict(),
            "resolution_px": self.resolution_px,
            "augment": asdict(self.augment),
            "recipe": self.recipe.to_dict(),
        }

    @classmethod
    def from_dict(cls, raw: dict[str, Any], where: str = "candidate") -> Candidate:
        """Rebuild from plain values.

        Raises:
            HarnessError: a part is missing, unknown or out of range.
        """
        for key in raw:
            if key not in PARTS:
                raise HarnessError(
                    f"{where}: unknown part '{key}'; allowed: {', '.join(PARTS)}", f"{nearest(key, PARTS)}rename it"
                )
        for key in ("model", "resolution_px"):
            if key not in raw:
                raise HarnessError(f"{where}: no '{key}'", f"add `{key}:` beside {', '.join(raw) or 'nothing'}")
        return cls(
            ModelSpec.from_dict(raw["model"], f"{where}.model"),
            int(raw["resolution_px"]),
            _options(Augment, raw.get("augment", {}), f"{where}.augment"),
            _options(Recipe, raw.get("recipe", {}), f"{where}.recipe"),
        )

    def digest(self) -> str:
        """Hash the canonical JSON (16 hex digits): equal digests build and train the same network."""
        return hashlib.sha256(json.dumps(self.to_dict(), sort_keys=True).encode()).hexdigest()[:16]


def _options(kind: type, raw: dict[str, Any], where: str) -> Any:
    allowed = list(kind.__dataclass_fields__)
    for key in raw:
        if key not in allowed:
            raise HarnessError(
                f"{where}: unknown '{key}'; allowed: {', '.join(allowed)}", f"{nearest(key, allowed)}rename it"
            )
    return kind(**raw)


def of_model(raw: Any, path: Path, resolution_px: int) -> Candidate:
    """Make a candidate of a model file, the course's (`backbone`) or ours (`stages`), with the default recipe."""
    if isinstance(raw, dict) and "backbone" in raw:
        model = read_course(path)
    else:
        model = ModelSpec.from_dict(raw, str(path))
    return Candidate(model, resolution_px, Augment(), Recipe())
