"""An entry's folder, read before anything of it runs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from harness.data.split import Dataset
from harness.errors import HarnessError
from harness.record import manifest
from harness.record.files import sha256
from harness.record.manifest import MODEL, PREDICTIONS, Manifest
from harness.rules.competition import Competition
from harness.sandbox.limits import Limits
from harness.sandbox.refused import Refused
from harness.submission import gate, predictions

AGAIN = "pack the entry again with `python inference.py`"


def read(folder: Path, dataset: Dataset, competition: Competition, limits: Limits) -> tuple[Manifest, np.ndarray, int]:
    """Return an entry's manifest, its predictions, class indices (N,), and its model's MACs, once the gate let it pass.

    Raises:
        Refused: manifest, files, size, predictions, and the gate's reasons.
        HarnessError: the machine is too busy for the gate.
    """
    with _because("manifest"):
        entry = manifest.read(folder)
        _check_terms(folder, entry, dataset, competition)
    for name, most in ((MODEL, limits.model_bytes), (PREDICTIONS, limits.predictions_bytes)):
        _check_file(folder / name, entry.files[name], most)
    model = folder / MODEL
    network = gate.check(model, model.read_bytes(), entry.prepared().resolution_px)
    with _because("predictions"):
        return entry, predictions.read(folder / PREDICTIONS, dataset.test.names, dataset.classes), network.macs


@contextmanager
def _because(reason: str) -> Iterator[None]:
    """Give the mistakes found within a reason, where they have none."""
    try:
        yield
    except Refused:
        raise
    except HarnessError as e:
        raise Refused(reason, e.what, e.fix) from e


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


def _check_file(path: Path, expected: str, most: int) -> None:
    if path.is_symlink() or not path.is_file():
        raise Refused("files", f"{path}: not found, or no plain file", AGAIN)
    size = path.stat().st_size
    if size > most:
        raise Refused("size", f"{path}: {size:,} bytes; allowed: {most:,}", "submit a smaller file")
    found = sha256(path)
    if found != expected:
        what = f"{path}: changed since it was packed: sha256 is {found}, the manifest says {expected}"
        raise Refused("files", what, f"put the packed file back, or {AGAIN}")
