"""What a trial came to, on the disk before it is in the database: a worker that dies in between loses nothing."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from harness.record import files

NAME = "outcome.json"


@dataclass(frozen=True)
class Outcome:
    """A finished trial. trial: Optuna's id. state: COMPLETE or PRUNED. attributes: the trial's user attributes."""

    study: str
    slot: int
    token: int
    trial: int
    state: str
    values: tuple[float, ...]
    attributes: dict[str, Any]


def write(folder: Path, outcome: Outcome) -> None:
    """Write the outcome into the trial's folder, through to the disk."""
    folder.mkdir(parents=True, exist_ok=True)
    files.write_json(folder / NAME, asdict(outcome), durable=True)


def read(folder: Path) -> Outcome | None:
    """Return the outcome that waits in a trial's folder to be recorded, if any."""
    try:
        raw = json.loads((folder / NAME).read_text())
    except FileNotFoundError:
        return None
    return Outcome(**raw | {"values": tuple(raw["values"])})


def waiting(runs: Path) -> Iterator[tuple[Path, Outcome]]:
    """List what waits in a study's folder to be recorded, with the folders of the trials."""
    for path in sorted(runs.glob(f"*/{NAME}")):
        if outcome := read(path.parent):  # else its worker has recorded it meanwhile
            yield path.parent, outcome


def clear(folder: Path) -> None:
    """Forget an outcome that was recorded."""
    (folder / NAME).unlink(missing_ok=True)
