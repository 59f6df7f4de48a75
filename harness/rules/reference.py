"""The frozen network that every model is timed beside."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.errors import HarnessError
from harness.models.build import build
from harness.models.spec import ModelSpec
from harness.runtime.export import export

if TYPE_CHECKING:
    import torch


def reference_model(reference: dict[str, Any], cache: Path) -> Path:
    """Return the ONNX file of a competition's reference network, building it once a cache folder.

    reference: `model` (a spec as plain values), `resolution_px`, `classes`. Weights come from seed 0: they don't
    matter for time, and the same file results on every machine.

    Raises:
        HarnessError: a part is missing or of the wrong kind.
    """
    _check(reference)
    key = hashlib.sha256(json.dumps(reference, sort_keys=True).encode()).hexdigest()[:16]
    path = cache / f"reference-{key}.onnx"
    if not path.exists():
        cache.mkdir(parents=True, exist_ok=True)
        export(built(reference), reference["resolution_px"], path)
    return path


def built(reference: dict[str, Any]) -> torch.nn.Module:
    """Build a competition's reference network.

    Raises:
        HarnessError: a part is missing or of the wrong kind.
    """
    _check(reference)
    spec = ModelSpec.from_dict(reference["model"], "competition.reference.model")
    return build(spec, reference["classes"], reference["resolution_px"])


MOST = {"resolution_px": 1024, "classes": 100_000}
"""What a reference network may have at most: a larger one would take all memory before it is refused."""


def _check(reference: dict[str, Any]) -> None:
    fix = "choose a competition that has one, such as competition=digits, or write its model, resolution_px and classes"
    for key, kind in (("model", dict), ("resolution_px", int), ("classes", int)):
        if key not in reference:
            raise HarnessError(f"competition.reference: no '{key}'; there is {', '.join(reference) or 'nothing'}", fix)
        value = reference[key]
        if type(value) is not kind or (kind is int and not 1 <= value <= MOST[key]):
            allowed = "a mapping" if kind is dict else f"a whole number, 1 to {MOST[key]:,}"
            raise HarnessError(f"competition.reference.{key}={value!r}: allowed: {allowed}", fix)
