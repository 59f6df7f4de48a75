"""The judge: from an entry's folder to a verdict; the same for the competitor and the organiser."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from harness.data.prepare import prepare
from harness.data.split import Dataset
from harness.errors import HarnessError
from harness.measure.competition import Competition, Figures, formula_of, points
from harness.measure.cost import macs_of_onnx
from harness.measure.fastest import SAMPLE, timed
from harness.measure.latency import Latency
from harness.measure.machine import versions
from harness.measure.quality import macro_f1
from harness.measure.reference import reference_model
from harness.submission import artefact, manifest, predictions
from harness.submission.manifest import MODEL, PREDICTIONS, Manifest, sha256

LARGEST = {MODEL: 100_000_000, PREDICTIONS: 50_000_000}
"""A file's cap, in bytes."""
LATENCY_S = 4.0
"""The most that timing an entry takes, about."""
AGAIN = "pack the entry again with `python inference.py`"


@dataclass(frozen=True)
class Verdict:
    """What the judge found.

    f1: macro, of the recomputed predictions. ratio: time over the reference network's, with its 95 % interval. points:
    None where the formula scores whole boards. agreement: share of submitted labels found again. samples: the
    engine that was timed and its raw timings. seconds: what judging took.
    """

    entry: str
    model_sha256: str
    size_bytes: int
    f1: float
    ratio: float
    ratio_low: float
    ratio_high: float
    latency_ms: float
    latency_low_ms: float
    latency_high_ms: float
    macs: int
    points: float | None
    competition: str
    competition_digest: str
    formula: str
    agreement: float
    samples: dict[str, Any]
    machine: dict[str, Any]
    created: str
    seconds: float

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, raw: dict[str, Any]) -> Verdict:
        """Rebuild from plain JSON values."""
        return cls(**raw)


def judge(folder: Path, dataset: Dataset, competition: Competition, cache: Path) -> Verdict:
    """Check an entry, run it over the test images, time it and score it.

    cache: where the built reference network is kept.

    Raises:
        HarnessError: the entry breaks a rule; the message names the file, what was found and what is allowed.
    """
    start = time.monotonic()
    formula_of(competition)  # a misspelt formula stops here, not after the measurement
    entry = manifest.read(folder)
    _check_terms(folder, entry, dataset, competition)
    for name, expected in entry.files.items():
        _check_file(folder / name, expected)
    model, how = folder / MODEL, entry.prepared()
    artefact.check(model, model.read_bytes(), how.resolution_px)
    submitted = predictions.read(folder / PREDICTIONS, dataset.test.names, dataset.classes)
    found = predictions.compute(model, dataset, how, competition.threads)
    agreement = _agreement(folder / PREDICTIONS, submitted, found, competition.agreement)
    sample = prepare(dataset.test.pixels[:SAMPLE], how)
    runtime, latency = timed(model, reference_model(competition.reference, cache), competition, LATENCY_S, sample)
    f1 = macro_f1(dataset.test.labels, found, len(dataset.classes))
    figures = Figures(f1, latency.ratio, latency.ms, macs_of_onnx(model))
    return Verdict(
        entry=entry.name,
        model_sha256=entry.files[MODEL],
        size_bytes=model.stat().st_size,
        agreement=agreement,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        seconds=round(time.monotonic() - start, 3),
        **_scored(competition, figures),
        **_timed(runtime, latency),
    )


def _scored(competition: Competition, figures: Figures) -> dict[str, Any]:
    alone = formula_of(competition).score is not None
    return {
        "f1": figures.f1,
        "macs": int(figures.macs),
        "points": points(competition, figures) if alone else None,
        "competition": competition.name,
        "competition_digest": competition.digest(),
        "formula": competition.formula,
    }


def _timed(runtime: str, latency: Latency) -> dict[str, Any]:
    return {
        "ratio": latency.ratio,
        "ratio_low": latency.ratio_low,
        "ratio_high": latency.ratio_high,
        "latency_ms": latency.ms,
        "latency_low_ms": latency.low_ms,
        "latency_high_ms": latency.high_ms,
        "samples": {"runtime": runtime} | latency.to_dict(),
        "machine": dict(latency.machine) | {"versions": versions()},
    }


def _check_terms(folder: Path, entry: Manifest, dataset: Dataset, competition: Competition) -> None:
    """Make sure that entry, data set and competition speak of the same thing."""
    path = folder / manifest.MANIFEST
    if entry.runtime != competition.runtime:
        what = f"{path}: runtime is '{entry.runtime}'; competition '{competition.name}' times '{competition.runtime}'"
        raise HarnessError(what, AGAIN)
    if tuple(entry.classes) != tuple(dataset.classes):
        what = f"{path}: classes are {entry.classes}; data set '{dataset.name}' has {list(dataset.classes)}"
        raise HarnessError(what, "judge the entry on the data set that it was packed for")
    fingerprint = dataset.fingerprint()
    if entry.data["fingerprint"] != fingerprint:
        raise HarnessError(
            f"{path}: data.fingerprint is {entry.data['fingerprint'][:16]}; '{dataset.name}' has {fingerprint[:16]}",
            f"give the data options of the entry: {entry.data['name']} {entry.data['options']}",
        )


def _check_file(path: Path, expected: str) -> None:
    if path.is_symlink() or not path.is_file():
        raise HarnessError(f"{path}: not found, or no plain file", AGAIN)
    size, cap = path.stat().st_size, LARGEST[path.name]
    if size > cap:
        raise HarnessError(f"{path}: {size:,} bytes; allowed: {cap:,}", "submit a smaller file")
    found = sha256(path)
    if found != expected:
        what = f"{path}: changed since it was packed: sha256 is {found}, the manifest says {expected}"
        raise HarnessError(what, f"put the packed file back, or {AGAIN}")


def _agreement(path: Path, submitted: np.ndarray, found: np.ndarray, least: float) -> float:
    share = float(np.mean(submitted == found))
    if share < least:
        what = f"{path}: {share:.4f} of the labels come out again from {MODEL}; allowed: {least} or more"
        raise HarnessError(what, f"submit the model's own predictions: {AGAIN}")
    return share
