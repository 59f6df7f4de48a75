"""What the gate refuses is put into the sandbox all the same: it is contained there, if it does anything."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hostile import FILES, LOADABLE
from squares import SIDE

from harness.sandbox.limits import Limits
from harness.sandbox.refused import Refused
from harness.sandbox.remote import Mode, open_remote

IMAGES = np.zeros((2, 3, SIDE, SIDE), np.float32)
TIGHT = Limits(wall_s=30, cpu_s=10, memory_mb=1024)


def outcome(content: bytes, folder: Path, mode: Mode) -> str:
    """Load and run a file in a box; return why it ended, or "ran"."""
    path = folder / "model.onnx"
    path.write_bytes(content)
    path.chmod(0o600)
    try:
        with open_remote(path, limits=TIGHT, mode=mode) as remote:
            remote.load()
            remote.predict(IMAGES)
    except Refused as e:
        return e.reason
    return "ran"


@pytest.mark.parametrize("name", LOADABLE)
def test_what_the_gate_refuses_is_contained_by_the_box(name: str, tmp_path: Path, mode: Mode) -> None:
    """An end with a reason or an answer of the right form, within the box's limits; over 5 s in all: a process each."""
    found = outcome(FILES[name][1](), tmp_path, mode)
    assert found in {"ran", "load", "run", "memory", "cpu", "timeout", "died", "outputs"}
