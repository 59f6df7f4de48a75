"""All that a trial decides, as data that rebuilds it."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from harness.data.augment import Augment
from harness.errors import HarnessError, nearest, within
from harness.models.course import images_of, read_course
from harness.models.spec import ModelSpec
from harness.record.recipe import Recipe

PARTS = ("model", "resolution_px", "augment", "recipe", "weights")


@dataclass(frozen=True)
class Weights:
    """A file of weights to begin with. name: its path. sha256: of its content, 64 hex digits."""

    name: str
    sha256: str


@dataclass(frozen=True)
class Candidate:
    """A network, its input size, its augmentation and its recipe. weights: to begin with; None for random ones.

    Raises:
        HarnessError: the resolution isn't one; the recipe would write over the weights.
    """

    model: ModelSpec
    resolution_px: int
    augment: Augment
    recipe: Recipe
    weights: Weights | None = None

    def __post_init__(self) -> None:
        within(self.resolution_px, 1, 1024, "resolution_px", whole=True)
        if self.weights and self.recipe.start != "he":
            raise HarnessError(
                f"recipe.start={self.recipe.start}: would write over the weights of {self.weights.name}",
                "leave recipe.start at he, or give no weights",
            )

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values; `weights` only where there are some."""
        plain = {
            "model": self.model.to_dict(),
            "resolution_px": self.resolution_px,
            "augment": self.augment.to_dict(),
            "recipe": self.recipe.to_dict(),
        }
        return plain | ({"weights": asdict(self.weights)} if self.weights else {})

    @classmethod
    def from_dict(cls, raw: dict[str, Any], where: str = "candidate") -> Candidate:
        """Rebuild from plain values.

        Raises:
            HarnessError: a part is missing, unknown or out of range.
        """
        _check_mapping(raw, where)
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
            raw["resolution_px"],
            _options(Augment, raw.get("augment", {}), f"{where}.augment"),
            _options(Recipe, raw.get("recipe", {}), f"{where}.recipe"),
            None if raw.get("weights") is None else _weights(raw["weights"], f"{where}.weights"),
        )

    def digest(self) -> str:
        """Hash the canonical JSON (16 hex digits): equal digests build and train the same network."""
        return hashlib.sha256(json.dumps(self.to_dict(), sort_keys=True).encode()).hexdigest()[:16]


def _weights(raw: Any, where: str) -> Weights:
    if not isinstance(raw, dict) or set(raw) != {"name", "sha256"}:
        raise HarnessError(f"{where}: {raw!r}; allowed: name and sha256", "write both: the file's path and its hash")
    return Weights(str(raw["name"]), str(raw["sha256"]))


def _check_mapping(raw: Any, where: str) -> None:
    if not isinstance(raw, dict):
        raise HarnessError(f"{where}: {raw!r}; allowed: a mapping", "write names with their values")


def _options(kind: type, raw: dict[str, Any], where: str) -> Any:
    _check_mapping(raw, where)
    allowed = list(kind.__dataclass_fields__)
    for key in raw:
        if key not in allowed:
            raise HarnessError(
                f"{where}: unknown '{key}'; allowed: {', '.join(allowed)}", f"{nearest(key, allowed)}rename it"
            )
    try:
        return kind(**raw)
    except HarnessError as e:
        raise HarnessError(f"{where}: {e.what}", e.fix) from e


def of_model(raw: Any, path: Path, resolution_px: int) -> Candidate:
    """Make a candidate of a model file, the course's (`backbone`) or ours (`stages`), with the default recipe.

    raw: what the file holds; both may stand under `model:`.

    Raises:
        HarnessError: it is neither, or of images that aren't in colour.
    """
    described = _described(raw, path)
    if not _of_course(described):
        with _naming(path):
            return Candidate(ModelSpec.from_dict(described), resolution_px, Augment(), Recipe())
    with _naming(path):
        if (channels := images_of(described).channels) != 3:
            raise HarnessError(f"input_channel={channels}: allowed: 3, images are read in colour", "write 3")
        model = read_course(described)
    return Candidate(model, resolution_px, Augment(), Recipe())


def side_px_of_model(raw: Any, path: Path) -> int | None:
    """Return the input size that a course's model file names; None where it names none.

    Raises:
        HarnessError: it isn't one number, twice.
    """
    described = _described(raw, path)
    with _naming(path):
        return images_of(described).side_px if _of_course(described) else None


@contextlib.contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Say which file an error is of."""
    try:
        yield
    except HarnessError as e:
        raise HarnessError(f"{path}: {e.what}", e.fix) from e


def _of_course(described: Any) -> bool:
    return isinstance(described, dict) and "backbone" in described


def _described(raw: Any, path: Path) -> Any:
    """Return what a model file describes: what stands under `model:`, or all of it."""
    if not isinstance(raw, dict) or "model" not in raw:
        return raw
    if beside := [str(key) for key in raw if key != "model"]:
        raise HarnessError(
            f"{path}: '{beside[0]}' beside `model`: a model file holds the model alone",
            f"take {', '.join(beside)} out, or train the file as a candidate: candidate={path}",
        )
    return raw["model"]
