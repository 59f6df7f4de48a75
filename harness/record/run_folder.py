"""A run's folder: the files that a trial or a final training leaves, by name; written and read here alone.

candidate.json, transforms.json (where it has some), latency.json, result.json (a trial's), run.json (a final
training's); `record.journal` has the rows of metrics.jsonl.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from harness.data.prepare import Preprocessing
from harness.data.transforms import written
from harness.errors import HarnessError
from harness.record import files
from harness.record.candidate import Candidate
from harness.record.result import Result
from harness.record.run import Run

CANDIDATE, LATENCY, RESULT, RUN = "candidate.json", "latency.json", "result.json", "run.json"
TRANSFORMS = "transforms.json"
AGAIN = "run the same train.py command again"


def write_candidate(folder: Path, candidate: Candidate) -> None:
    """Write what is trained; the folder is made."""
    folder.mkdir(parents=True, exist_ok=True)
    files.write_json(folder / CANDIDATE, candidate.to_dict())


def write_transforms(folder: Path, transforms: Sequence[Mapping[str, Any]], side_px: int) -> None:
    """Write the pipeline that images of a side go through as albumentations does, for `albumentations.load`.

    Without transforms there is no file.
    """
    if transforms:
        files.write_json(folder / TRANSFORMS, written(transforms, side_px))


def read_candidate(path: Path) -> Candidate:
    """Read what was trained. path: a run folder, or a file of that form wherever it lies.

    Raises:
        HarnessError: it isn't there, or isn't a candidate.
    """
    file = path / CANDIDATE if path.is_dir() else path
    text = files.read_text(file, "candidate", "a run folder, or a candidate.json of one")
    try:
        return Candidate.from_dict(json.loads(text), str(file))
    except json.JSONDecodeError as e:
        raise HarnessError(f"{file}:{e.lineno}: not JSON ({e.msg})", "write the file again") from e
    except RecursionError as e:
        raise HarnessError(f"{file}: values within values, too deep", "give a candidate.json of a run folder") from e


def write_latency(folder: Path, runtime: str, latency: dict[str, Any], cached_from: str | None = None) -> None:
    """Write a timing with its raw samples. cached_from: the model file it was measured of, if not this folder's."""
    files.write_json(folder / LATENCY, {"runtime": runtime, "cached_from": cached_from} | latency)


def write_pooled(folder: Path, runtime: str, latency: dict[str, Any], result: Result) -> None:
    """Write what a trial that was timed again costs now, and what it is worth so; all else stays.

    latency: with the raw samples of each measurement.
    """
    if (folder / RESULT).exists():  # a trial that reuses another's result has none
        old = json.loads((folder / RESULT).read_text())
        files.write_json(folder / RESULT, old | {"cost": result.cost.to_dict(), "points": result.points})
    old = json.loads((folder / LATENCY).read_text())
    write_latency(folder, runtime, latency, old.get("cached_from"))


def write_result(folder: Path, result: Result, preprocessing: Preprocessing, versions: dict[str, str]) -> None:
    """Write what a trial came to, and what is needed beside `model.onnx` to score it again."""
    extra = {"preprocessing": preprocessing.to_dict(), "versions": versions}
    files.write_json(folder / RESULT, result.to_dict() | extra)


def read_result(folder: Path) -> Result | None:
    """Read what a trial, or a final training, came to; None before its end.

    Raises:
        HarnessError: an earlier version wrote it, or it is damaged.
    """
    if (folder / RUN).exists():
        return read_run(folder).metrics
    if not (folder / RESULT).exists():
        return None
    try:
        raw = json.loads((folder / RESULT).read_text(encoding="utf-8"))
        return Result.from_dict({f.name: raw[f.name] for f in fields(Result)})
    except (ValueError, TypeError, KeyError) as e:
        raise HarnessError(
            f"{folder / RESULT}: not a result that this version reads ({type(e).__name__}: {e})",
            f"train its network again: python train.py candidate={folder} data=...",
        ) from e


def write_run(folder: Path, run: Run) -> None:
    """Write the record of a final training that has ended."""
    files.write_json(folder / RUN, run.to_dict())


def read_run(folder: Path) -> Run:
    """Read the record of a final training.

    Raises:
        HarnessError: the folder holds no finished run.
    """
    path = folder / RUN
    try:
        return Run.from_dict(json.loads(path.read_text(encoding="utf-8")))
    except (FileNotFoundError, NotADirectoryError) as e:
        if result := read_result(folder):
            f1 = "" if result.f1 is None else f" (F1 {result.f1:.4f})"
            raise HarnessError(
                f"run={folder}: a trial's folder{f1}; its network was trained on a proxy and isn't handed in",
                f"train it long first: python train.py candidate={folder} data=...",
            ) from e
        raise HarnessError(
            f"run={folder}: no finished run there (no {RUN})",
            f"give the folder that `python train.py` printed; {AGAIN} to finish it",
        ) from e
    except (ValueError, TypeError, KeyError) as e:
        raise HarnessError(f"{path}: not a run's record ({e})", AGAIN) from e
