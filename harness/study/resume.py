"""Go on with a trial that another worker left: its checkpoint, its rows, and how it computed."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from harness.errors import HarnessError
from harness.record import files
from harness.record.journal import Journal
from harness.train import checkpoint
from harness.train.precision import Precision

CHECKPOINT, BEGUN = "checkpoint.pt", "begun.json"


def bring(earlier: Path, folder: Path) -> None:
    """Copy what a trial of the same candidate has left into the folder of the one that goes on with it.

    Nothing is brought where the other folder is on another machine, has no checkpoint yet, or a damaged one. Its worker
    may only have been stopped, and wake up: its own files stay.
    """
    if not (earlier / CHECKPOINT).exists() or not (earlier / BEGUN).exists() or (folder / CHECKPOINT).exists():
        return
    part = folder / f"{CHECKPOINT}.brought"
    shutil.copy(earlier / CHECKPOINT, part)  # its writer puts whole files in place, so this is one
    try:
        epoch = int(checkpoint.load(part)["epoch"])
    except HarnessError as e:
        print(f"{e.what}: trained from the start", flush=True)
        part.unlink()
        return
    for name in (BEGUN, Journal(earlier).path.name):
        shutil.copy(earlier / name, folder / name)
    part.replace(folder / CHECKPOINT)
    Journal(folder).rewind(epoch)
    print(f"{folder.name}: goes on from trial {earlier.name} after epoch {epoch}", flush=True)


def begun(folder: Path) -> Precision | None:
    """Return how a trial that was begun before computed; a resumed one must compute in the same way."""
    path = folder / BEGUN
    return Precision(**json.loads(path.read_text())["precision"]) if path.exists() else None


def begin(folder: Path, precision: Precision) -> Precision:
    """Note how this trial computes."""
    files.write_json(folder / BEGUN, {"precision": precision.to_dict()}, durable=True)
    return precision


def forget(folder: Path) -> None:
    """Remove the checkpoint of a trial that has ended."""
    files.remove(folder / CHECKPOINT)
