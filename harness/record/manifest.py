"""What an entry says of itself: manifest.json, checked field by field."""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Literal, NotRequired

from typing_extensions import TypedDict

from harness.data.prepare import Preprocessing
from harness.errors import HarnessError
from harness.record import files
from harness.record.strict import STRICT, between, check, rule

MODEL, PREDICTIONS, MANIFEST = "model.onnx", "predictions.csv", "manifest.json"
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
LARGEST = 1_000_000
"""A manifest's cap, in bytes."""
DEEPEST, LONGEST_TEXT, LARGEST_NUMBER = 32, 1_000, 2**63
"""Of values within values; characters of a name or a text; and either way of a number: what databases take."""

AGAIN = "pack the entry again"


def _is_time(text: str) -> bool:
    try:
        return datetime.fromisoformat(text).tzinfo is not None
    except ValueError:
        return False


def _three(low: float, high: float, allowed: str) -> Any:
    return Annotated[
        list[float], rule(allowed, lambda numbers: len(numbers) == 3 and low <= min(numbers) <= max(numbers) <= high)
    ]


Sha256 = Annotated[str, rule("64 hex digits", re.compile("[0-9a-f]{64}").fullmatch)]
Files = STRICT(TypedDict("Files", {MODEL: Sha256, PREDICTIONS: Sha256}))


@STRICT
class Input(TypedDict):
    """What the model takes in: `shape` ["N", 3, R, R]."""

    shape: list[Any]
    dtype: Literal["float32"]


@STRICT
class Prepared(TypedDict):
    """What the judge does to the test images. side_px: of these as the data set stores them; not in older entries."""

    side_px: NotRequired[Annotated[int, between(1, 100_000)]]
    resolution_px: Annotated[int, between(1, 1024)]
    mean: _three(-1e4, 1e4, "three numbers, -10,000 to 10,000")
    std: _three(1e-5, 1e4, "three numbers above 0, 0.00001 to 10,000")


@STRICT
class Data(TypedDict):
    """Which data set: its options are those without paths."""

    name: str
    options: dict[str, Any]
    fingerprint: str


@STRICT
class Training(TypedDict):
    """How the weights came about."""

    metrics: dict[str, Any]
    train_s: float
    seed: int


@dataclass(frozen=True)
class Manifest:
    """All that the judge must know of an entry.

    files: sha256 of each file. candidate: the trial's choices. created: UTC, ISO 8601.
    """

    name: Annotated[str, rule("1 to 64 letters, digits, '.', '_' or '-'", NAME.fullmatch)]
    files: Files
    input: Input
    classes: Annotated[
        list[str], rule("at least two names, each once", lambda names: len(set(names)) == len(names) >= 2)
    ]
    preprocessing: Prepared
    runtime: str
    threads: Annotated[int, between(1, 1024)]
    candidate: dict[str, Any]
    data: Data
    versions: dict[str, Any]
    run: Training
    created: Annotated[str, rule("a time such as 2026-01-31T12:00:00+00:00", _is_time)]

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, raw: Any, where: str = MANIFEST) -> Manifest:
        """Rebuild from plain JSON values.

        Raises:
            HarnessError: a field is missing, unknown, of the wrong type or impossible; the message names it.
        """
        _check_plain(raw, where)
        check(cls, raw, where, AGAIN)
        side, shape = raw["preprocessing"]["resolution_px"], raw["input"]["shape"]
        if shape != ["N", 3, side, side]:
            allowed = f"{['N', 3, side, side]}, as preprocessing.resolution_px says"
            raise _wrong(where, "input.shape", shape, allowed)
        return cls(**raw)

    def prepared(self) -> Preprocessing:
        """Return the pre-processing as the data room takes it."""
        return Preprocessing.from_dict(self.preprocessing)


def read(folder: Path) -> Manifest:
    """Read the manifest of an entry's folder.

    Raises:
        HarnessError: it isn't there, isn't JSON, or a field is wrong.
    """
    path = folder / MANIFEST
    if not path.is_file():
        raise HarnessError(f"{path}: not found", "name a folder that `python inference.py` wrote")
    if path.stat().st_size > LARGEST:
        raise HarnessError(f"{path}: {path.stat().st_size:,} bytes; allowed: {LARGEST:,}", AGAIN)
    try:
        text = path.read_text(encoding="utf-8")
        raw = json.loads(text, parse_constant=_no_constant, object_pairs_hook=_once)
    except (ValueError, RecursionError) as e:
        raise HarnessError(f"{path}: not JSON: {e}", "pack the entry again with `python inference.py`") from e
    return Manifest.from_dict(raw, str(path))


def write(folder: Path, manifest: Manifest) -> Path:
    """Write the manifest into an entry's folder and return its path."""
    path = folder / MANIFEST
    files.write(path, as_text(manifest))
    return path


def as_text(manifest: Manifest) -> str:
    """Return what a manifest's file holds."""
    return json.dumps(manifest.to_dict(), indent=2, allow_nan=False) + "\n"


def _check_plain(raw: Any, where: str) -> None:
    """Make sure that whatever stands in a manifest can be stored, sent and shown."""
    left = [(raw, 0)]
    while left:
        value, depth = left.pop()
        if depth > DEEPEST:
            raise HarnessError(f"{where}: values within values, over {DEEPEST} deep", AGAIN)
        if isinstance(value, dict):
            left += [(inner, depth + 1) for pair in value.items() for inner in pair]
        elif isinstance(value, list):
            left += [(inner, depth + 1) for inner in value]
        elif isinstance(value, str) and not (value.isprintable() and len(value) <= LONGEST_TEXT):
            raise _wrong(where, "a text", ascii(value[:60]), f"up to {LONGEST_TEXT:,} characters that can be printed")
        elif isinstance(value, (int, float)) and not -LARGEST_NUMBER <= value < LARGEST_NUMBER:
            raise _wrong(where, "a number", "too large", "between -2**63 and 2**63")


def _wrong(where: str, field: str, value: Any, allowed: str) -> HarnessError:
    return HarnessError(f"{where}: {field} is {repr(value)[:80]}; allowed: {allowed}", AGAIN)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Take a mapping whose names stand there once: which of two counts, readers of JSON don't agree."""
    found = dict(pairs)
    if len(found) != len(pairs):
        twice = Counter(name for name, _ in pairs).most_common(1)[0][0]
        raise ValueError(f"{ascii(twice[:60])} stands there twice")
    return found


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no number")
