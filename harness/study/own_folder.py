"""A study's run folder is of one study: that of one name in one database."""

from __future__ import annotations

import json
from pathlib import Path

import optuna

from harness.errors import HarnessError
from harness.record import files
from harness.record.run_folder import CANDIDATE
from harness.study import pending_results

MARK = "mark"
"""What tells a study from one of its name in another database: random, and kept with it."""
NAME = "study.json"


def claim(study: optuna.Study, folder: Path) -> None:
    """Note whose runs a folder holds, or make sure that they are this study's.

    The trials of both are numbered from 0: a trial would take up another's checkpoint, rungs and results for its own.

    Raises:
        HarnessError: it holds those of another study of this name, as of one whose database was removed.
    """
    mark, path = study.user_attrs.get(MARK), folder / NAME
    if mark is None:  # made before studies had one
        return
    trials = any(True for name in (CANDIDATE, pending_results.NAME) for _ in folder.glob(f"*/{name}"))
    if path.exists() or trials:
        if _noted(path) != mark:
            raise HarnessError(
                f"study.name={study.study_name}: {folder} holds the runs of another study of this name, of another "
                "database or one that was removed",
                "take another study.name or runs=, move that folder away, or name its own storage.url",
            )
        return
    folder.mkdir(parents=True, exist_ok=True)
    files.write_json(path, {MARK: mark})


def is_of(study: optuna.Study, folder: Path) -> bool:
    """Tell whether a folder of this machine holds the runs of this very study."""
    mark = study.user_attrs.get(MARK)
    return mark is not None and _noted(folder / NAME) == mark


def _noted(path: Path) -> str | None:
    return json.loads(path.read_text())[MARK] if path.exists() else None
