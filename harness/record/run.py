"""The record of a final training: all that packing and judging need."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from harness.errors import HarnessError
from harness.record import files
from harness.record.result import Result


@dataclass(frozen=True)
class Run:
    """A finished training, beside `model.onnx` in its folder.

    candidate, data (name, options, fingerprint, classes), preprocessing, precision, competition: plain JSON values.
    metrics: what was measured of the artefact. train_s: seconds of training over all sittings.
    """

    candidate: dict[str, Any]
    data: dict[str, Any]
    preprocessing: dict[str, Any]
    precision: dict[str, Any]
    competition: dict[str, Any]
    seed: int
    metrics: Result
    versions: dict[str, str]
    train_s: float

    def write(self, folder: Path) -> None:
        """Write `run.json`."""
        files.write_json(folder / "run.json", self.to_dict())

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return asdict(self) | {"metrics": self.metrics.to_dict()}

    @classmethod
    def from_dict(cls, raw: dict[str, Any]) -> Run:
        """Rebuild from plain JSON values."""
        return cls(**raw | {"metrics": Result.from_dict(raw["metrics"])})


def read(folder: Path) -> Run:
    """Read `run.json`.

    Raises:
        HarnessError: the folder holds no finished run.
    """
    path = folder / "run.json"
    try:
        return Run.from_dict(json.loads(path.read_text()))
    except FileNotFoundError as e:
        raise HarnessError(
            f"run={folder}: no finished run there (no run.json)",
            "give the folder that `python train.py` printed; run the same train.py command again to finish it",
        ) from e
    except (json.JSONDecodeError, TypeError, KeyError) as e:
        raise HarnessError(f"{path}: not a run's record ({e})", "run the same train.py command again") from e
