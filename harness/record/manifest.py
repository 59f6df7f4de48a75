"""What an entry says of itself: manifest.json, checked field by field."""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from harness.data.prepare import Preprocessing
from harness.errors import HarnessError, nearest
from harness.record import files

MODEL, PREDICTIONS, MANIFEST = "model.onnx", "predictions.csv", "manifest.json"
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
LARGEST = 1_000_000
"""A manifest's cap, in bytes."""
DEEPEST, LONGEST_TEXT, LARGEST_NUMBER = 32, 1_000, 2**63
"""Of values within values; characters of a name or a text; and either way of a number: what databases take."""

FIELDS: dict[str, Any] = {
    "name": str,
    "files": {MODEL: str, PREDICTIONS: str},
    "input": {"shape": list, "dtype": str},
    "classes": [str],
    "preprocessing": {"resolution_px": int, "mean": [float], "std": [float]},
    "runtime": str,
    "threads": int,
    "candidate": dict,
    "data": {"name": str, "options": dict, "fingerprint": str},
    "versions": dict,
    "run": {"metrics": dict, "train_s": float, "seed": int},
    "created": str,
}
"""The manifest's shape: a type, a list of one type, or fields by name; nothing more and nothing less."""

SPOKEN = {str: "text", int: "a whole number", float: "a number", dict: "a mapping", list: "a list"}


@dataclass(frozen=True)
class Manifest:
    """All that the judge must know of an entry.

    files: sha256 of each file, 64 hex digits. input: `shape` ["N", 3, R, R] and `dtype`. preprocessing: what the judge
    does to the test images. candidate: the trial's choices. data: name, options (without paths) and fingerprint.
    run: metrics, training seconds and seed. created: UTC, ISO 8601.
    """

    name: str
    files: dict[str, str]
    input: dict[str, Any]
    classes: list[str]
    preprocessing: dict[str, Any]
    runtime: str
    threads: int
    candidate: dict[str, Any]
    data: dict[str, Any]
    versions: dict[str, str]
    run: dict[str, Any]
    created: str

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
        _check(raw, FIELDS, where, "")
        manifest = cls(**raw)
        for field, fine, allowed in manifest._rules():
            if not fine:
                raise _wrong(where, field, manifest._value(field), allowed)
        return manifest

    def prepared(self) -> Preprocessing:
        """Return the pre-processing as the data room takes it."""
        return Preprocessing.from_dict(self.preprocessing)

    def _value(self, field: str) -> Any:
        head, _, tail = field.partition(".")
        return getattr(self, head)[tail] if tail else getattr(self, head)

    def _rules(self) -> list[tuple[str, bool, str]]:
        side, means = self.preprocessing["resolution_px"], self.preprocessing
        shape = ["N", 3, side, side]
        rules = [
            ("name", bool(NAME.fullmatch(self.name)), "1 to 64 letters, digits, '.', '_' or '-'"),
            ("input.shape", self.input["shape"] == shape, f"{shape}, as preprocessing.resolution_px says"),
            ("input.dtype", self.input["dtype"] == "float32", "'float32'"),
            ("classes", len(set(self.classes)) == len(self.classes) >= 2, "at least two names, each once"),
            ("preprocessing.resolution_px", 1 <= side <= 1024, "1 to 1024"),
            ("preprocessing.mean", _are_three(means["mean"], -1e4, 1e4), "three numbers, -10,000 to 10,000"),
            ("preprocessing.std", _are_three(means["std"], 1e-5, 1e4), "three numbers above 0, 0.00001 to 10,000"),
            ("threads", 1 <= self.threads <= 1024, "1 or more, up to 1024"),
            ("created", _is_time(self.created), "a time such as 2026-01-31T12:00:00+00:00"),
        ]
        hashes = [(f"files.{k}", bool(re.fullmatch("[0-9a-f]{64}", v)), "64 hex digits") for k, v in self.files.items()]
        return rules + hashes


def read(folder: Path) -> Manifest:
    """Read the manifest of an entry's folder.

    Raises:
        HarnessError: it isn't there, isn't JSON, or a field is wrong.
    """
    path = folder / MANIFEST
    if not path.is_file():
        raise HarnessError(f"{path}: not found", "name a folder that `python inference.py` wrote")
    if path.stat().st_size > LARGEST:
        raise HarnessError(f"{path}: {path.stat().st_size:,} bytes; allowed: {LARGEST:,}", "pack the entry again")
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
            raise HarnessError(f"{where}: values within values, over {DEEPEST} deep", "pack the entry again")
        if isinstance(value, dict):
            left += [(inner, depth + 1) for pair in value.items() for inner in pair]
        elif isinstance(value, list):
            left += [(inner, depth + 1) for inner in value]
        elif isinstance(value, str) and not (value.isprintable() and len(value) <= LONGEST_TEXT):
            raise _wrong(where, "a text", ascii(value[:60]), f"up to {LONGEST_TEXT:,} characters that can be printed")
        elif isinstance(value, (int, float)) and not -LARGEST_NUMBER <= value < LARGEST_NUMBER:
            raise _wrong(where, "a number", "too large", "between -2**63 and 2**63")


def _check(raw: Any, fields: Any, where: str, at: str) -> None:
    """Hold plain values against a shape as `FIELDS` has them."""
    if isinstance(fields, dict):
        _check(raw, dict, where, at)
        for name in raw.keys() - fields.keys():
            close = nearest(name, fields) or f"known here: {', '.join(fields)}; "
            raise HarnessError(f"{where}: unknown field '{_join(at, name)}'", f"{close}pack the entry again")
        for name in (n for n in fields if n not in raw):
            raise HarnessError(f"{where}: field '{_join(at, name)}' is missing", "pack the entry again")
        for name, inner in fields.items():
            _check(raw[name], inner, where, _join(at, name))
    elif isinstance(fields, list):
        _check(raw, list, where, at)
        for number, value in enumerate(raw):
            _check(value, fields[0], where, f"{at}.{number}")
    elif isinstance(raw, bool) or not isinstance(raw, (int, float) if fields is float else fields):
        raise _wrong(where, at or "(the whole file)", raw, SPOKEN[fields])


def _wrong(where: str, field: str, value: Any, allowed: str) -> HarnessError:
    return HarnessError(f"{where}: {field} is {repr(value)[:80]}; allowed: {allowed}", "pack the entry again")


def _join(at: str, name: str) -> str:
    return f"{at}.{name}" if at else name


def _is_time(text: str) -> bool:
    try:
        return datetime.fromisoformat(text).tzinfo is not None
    except ValueError:
        return False


def _are_three(numbers: list[float], low: float, high: float) -> bool:
    return len(numbers) == 3 and all(low <= n <= high for n in numbers)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Take a mapping whose names stand there once: which of two counts, readers of JSON don't agree."""
    found = dict(pairs)
    if len(found) != len(pairs):
        twice = Counter(name for name, _ in pairs).most_common(1)[0][0]
        raise ValueError(f"{ascii(twice[:60])} stands there twice")
    return found


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no number")
