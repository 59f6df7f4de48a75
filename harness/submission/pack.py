"""From a finished run to an entry: model, predictions and manifest in one folder, and predict.py to use the model."""

from __future__ import annotations

import itertools
import json
import os
import re
import shutil
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from harness.data.prepare import Preprocessing
from harness.data.split import Dataset
from harness.errors import HarnessError
from harness.record import manifest
from harness.record.files import sha256
from harness.record.manifest import MODEL, NAME, PREDICTIONS, Manifest
from harness.rules.competition import Competition
from harness.submission import gate, predictions, standalone

ENTRIES = "submissions"
"""The folder of all entries, unless another is named."""
NEEDED = ("candidate", "data", "preprocessing", "metrics", "versions", "train_s", "seed")


def pack(
    run_folder: Path,
    run: dict[str, Any],
    dataset: Dataset,
    name: str,
    root: Path,
    competition: Competition,
    force: bool = False,
) -> Path:
    """Write the entry `root/name` from a run and return its folder; it appears whole or not at all.

    run: the content of the run's run.json, its metrics as figures for people. root: the folder of all entries.
    force: replace an entry of that name.

    Raises:
        HarnessError: the name is taken or no name, the run isn't finished, or the data are not those of the run.
    """
    target = root / name
    _check_name(name, target, force)
    _check_run(run_folder, run, dataset)
    how = Preprocessing.from_dict(run["preprocessing"])
    model = run_folder / MODEL
    gate.check(model, model.read_bytes(), how.resolution_px)
    predicted = predictions.compute(model, dataset, how, competition.threads)
    root.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".packing-", dir=root) as part:
        entry = Path(part, "entry")
        entry.mkdir()
        shutil.copyfile(model, entry / MODEL)
        predictions.write(entry / PREDICTIONS, dataset.test.names, predicted, dataset.classes)
        manifest.write(entry, _manifest(entry, run, dataset, name, competition))
        standalone.write(entry, dataset.classes, dataset.side_px, how)
        if target.exists():
            os.rename(target, Path(part, "replaced"))
        os.rename(entry, target)
    return target


def _manifest(entry: Path, run: dict[str, Any], dataset: Dataset, name: str, competition: Competition) -> Manifest:
    side = run["preprocessing"]["resolution_px"]
    raw = {
        "name": name,
        "files": {file: sha256(entry / file) for file in (MODEL, PREDICTIONS)},
        "input": {"shape": ["N", 3, side, side], "dtype": "float32"},
        "classes": dataset.classes,
        "preprocessing": run["preprocessing"] | {"side_px": dataset.side_px},
        "runtime": competition.runtime,
        "threads": competition.threads,
        "candidate": run["candidate"],
        "data": {
            "name": dataset.name,
            "options": _portable(run["data"]["options"]),
            "fingerprint": dataset.fingerprint(),
        },
        "versions": run["versions"],
        "run": {key: run[key] for key in ("metrics", "train_s", "seed")},
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    # Through JSON: tuples become lists, and a metric that is no number (NaN) becomes null.
    plain = json.loads(json.dumps(raw), parse_constant=lambda _: None)
    return Manifest.from_dict(plain, f"the manifest of {name}")


def _portable(options: dict[str, Any]) -> dict[str, Any]:
    """Leave out where the data lie on this machine."""
    is_path = {k: k == "root" or (isinstance(v, str) and ("/" in v or "\\" in v)) for k, v in options.items()}
    return {k: v for k, v in options.items() if not is_path[k]}


def free_name(wished: str, root: Path) -> str:
    """Return a name that an entry can have and none has: as wished but for what isn't allowed in one."""
    plain = re.sub(r"[^A-Za-z0-9._-]+", "-", wished).lstrip("._-")[:60] or "entry"
    numbered = (f"{plain}-{number}" for number in itertools.count(2))
    return next(name for name in itertools.chain([plain], numbered) if not (root / name).exists())


def _check_name(name: str, target: Path, force: bool) -> None:
    if not NAME.fullmatch(name):
        what = f"name: '{name}'; allowed: 1 to 64 letters, digits, '.', '_' or '-', a letter or digit first"
        raise HarnessError(what, "choose a plain name")
    if target.exists() and not force:
        raise HarnessError(
            f"{target}: an entry of this name is there", "choose another name, or replace it by force=true"
        )


def _check_run(folder: Path, run: dict[str, Any], dataset: Dataset) -> None:
    again = "finish the training: repeat the command `python train.py` that began it"
    missing = [key for key in NEEDED if key not in run]
    if missing:
        raise HarnessError(f"{folder / 'run.json'}: no '{missing[0]}'", again)
    if not (folder / MODEL).is_file():
        raise HarnessError(f"{folder / MODEL}: not found", again)
    if not dataset.is_known_by(run["data"]["fingerprint"]):
        found = dataset.fingerprint()
        raise HarnessError(
            f"{folder}: trained on data {run['data']['fingerprint'][:16]}; '{dataset.name}' is now {found[:16]}",
            f"give the data options of the run: {run['data'].get('name')} {_portable(run['data'].get('options', {}))}",
        )
