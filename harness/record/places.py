"""Where a data set lies on this machine, for the steps that come after the one that was told so."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from harness.record import files


def remember(runs: Path, name: str, fingerprint: str, here: Mapping[str, Any]) -> None:
    """Keep where a data set lay. here: its options that say so; paths become absolute, as steps run from any folder."""
    plain = {key: _absolute(value) for key, value in here.items() if value not in ("", None)}
    if not plain:
        return
    path = _file(runs, name, fingerprint)
    path.parent.mkdir(parents=True, exist_ok=True)
    files.write_json(path, plain)


def recall(runs: Path, name: str, fingerprint: str) -> dict[str, Any]:
    """Return where a data set lay at last; nothing where that isn't known, or isn't so any more."""
    try:
        here = json.loads(_file(runs, name, fingerprint).read_text())
    except (OSError, ValueError):
        return {}
    gone = [value for value in here.values() if isinstance(value, str) and not Path(value).exists()]
    return {} if gone else here


def _file(runs: Path, name: str, fingerprint: str) -> Path:
    return runs / "data" / f"{name}-{fingerprint[:16]}.json"


def _absolute(value: Any) -> Any:
    return str(Path(value).expanduser().resolve()) if isinstance(value, str) else value
