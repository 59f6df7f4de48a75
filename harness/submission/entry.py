"""An entry's folder, read before anything of it runs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
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
from harness.submission import gate, predictions, terms
from harness.submission.terms import AGAIN


def read(
    folder: Path, dataset: Dataset, competition: Competition, limits: Limits, published: Sequence[str] = ()
) -> tuple[Manifest, np.ndarray, int]:
    """Return an entry's manifest, its predictions, class indices (N,), and its model's MACs, once the gate let it pass.

    published: the test images' names in a team's copy of the data, by which predictions may go as well.

    Raises:
        Refused: manifest, files, size, predictions, and the gate's reasons.
        HarnessError: the machine is too busy for the gate.
    """
    with _because("manifest"):
        entry = manifest.read(folder)
        mine = entry.data["fingerprint"]
        right = mine if dataset.is_known_by(mine) else dataset.fingerprint()
        terms.check(str(folder / manifest.MANIFEST), entry, competition, dataset.classes, right)
    for name, most in ((MODEL, limits.model_bytes), (PREDICTIONS, limits.predictions_bytes)):
        _check_file(folder / name, entry.files[name], most)
    model = folder / MODEL
    network = gate.check(model, model.read_bytes(), entry.prepared().resolution_px)
    with _because("predictions"):
        submitted = predictions.read(folder / PREDICTIONS, dataset.test.names, dataset.classes, published)
        return entry, submitted, network.macs


@contextmanager
def _because(reason: str) -> Iterator[None]:
    """Give the mistakes found within a reason, where they have none."""
    try:
        yield
    except Refused:
        raise
    except HarnessError as e:
        raise Refused(reason, e.what, e.fix) from e


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
