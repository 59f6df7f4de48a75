"""A run's folder: the files that a trial or a final training leaves, by name; written and read here alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from harness.data.prepare import Preprocessing
from harness.record import files
from harness.record.candidate import Candidate
from harness.record.result import Result

CANDIDATE, LATENCY, RESULT = "candidate.json", "latency.json", "result.json"


def write_candidate(folder: Path, candidate: Candidate) -> None:
    """Write what is trained."""
    folder.mkdir(parents=True, exist_ok=True)
    files.write_json(folder / CANDIDATE, candidate.to_dict())


def write_latency(folder: Path, runtime: str, latency: dict[str, Any], cached_from: str | None = None) -> None:
    """Write a timing with its raw samples. cached_from: the model file it was measured of, if not this folder's."""
    files.write_json(folder / LATENCY, {"runtime": runtime, "cached_from": cached_from} | latency)


def write_result(folder: Path, result: Result, preprocessing: Preprocessing, versions: dict[str, str]) -> None:
    """Write what a trial came to, and what is needed beside `model.onnx` to score it again."""
    extra = {"preprocessing": preprocessing.to_dict(), "versions": versions}
    files.write_json(folder / RESULT, result.to_dict() | extra)
