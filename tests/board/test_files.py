"""Files of entries: whole or not at all, by their content, never where a client says."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from hosting import host, manifest
from sqlalchemy import Engine

from harness.board import files, queue, teams
from harness.sandbox.limits import Limits
from harness.sandbox.refused import Refused

LIMITS = Limits(model_bytes=100, predictions_bytes=100, manifest_bytes=100)


def put(root: Path, **changes: bytes) -> files.Kept:
    """Keep three small files."""
    with files.incoming(root, LIMITS) as inbox:
        for name in files.NAMES:
            for byte in changes.get(name.partition(".")[0], name.encode()):
                inbox.write(name, bytes([byte]))
        return inbox.keep()


def everything(root: Path) -> set[str]:
    """List all that lies there."""
    return {str(p.relative_to(root)) for p in root.rglob("*")}


def test_the_same_files_are_one_folder(tmp_path: Path) -> None:
    """However often they come; a byte more is another."""
    first, again, other = put(tmp_path), put(tmp_path), put(tmp_path, model=b"x")
    assert first == again
    assert other.content != first.content
    assert first.folder == files.folder(tmp_path, first.content)
    assert (first.folder / "manifest.json").read_bytes() == b"manifest.json"
    assert first.sizes == {name: len(name) for name in files.NAMES}
    assert len([p for p in tmp_path.rglob("*") if p.is_file()]) == 6


@pytest.mark.parametrize("name", ["../model.onnx", "/etc/passwd", "model.onnx\x00", "", "x" * 10_000, "MODEL.ONNX"])
def test_another_name_is_refused(tmp_path: Path, name: str) -> None:
    """Nothing remains, there or elsewhere."""
    with pytest.raises(Refused, match="allowed: model.onnx"), files.incoming(tmp_path / "f", LIMITS) as inbox:
        inbox.write(name, b"x")
    assert everything(tmp_path) == {"f"}


def test_a_file_that_grows_too_large_stops_there(tmp_path: Path) -> None:
    """Nothing of it remains."""
    with pytest.raises(Refused) as e, files.incoming(tmp_path, LIMITS) as inbox:
        for _ in range(1000):
            inbox.write("model.onnx", b"x" * 10)
    assert e.value.reason == "size"
    assert everything(tmp_path) == set()


def test_a_missing_or_empty_file_is_named(tmp_path: Path) -> None:
    """An entry has three."""
    with pytest.raises(Refused, match="predictions.csv: not sent, or empty"), files.incoming(tmp_path, LIMITS) as inbox:
        inbox.write("model.onnx", b"x")
        inbox.write("predictions.csv", b"")
        inbox.write("manifest.json", b"x")
        inbox.keep()
    assert everything(tmp_path) == set()


@pytest.mark.parametrize("content", ["", "..", "a" * 63, "A" * 64, "../" + "a" * 61])
def test_what_isnt_a_hash_names_no_folder(tmp_path: Path, content: str) -> None:
    """A mistake of ours can't lead out of the folder either."""
    with pytest.raises(ValueError, match="no content"):
        files.folder(tmp_path, content)


def test_leftovers_go_and_entries_stay(tmp_path: Path, lite: Engine) -> None:
    """What a killed process left, and what was refused, once it is a day old."""
    hosted, (team, _) = host(lite), teams.add(lite, "anna")
    kept, refused, fresh = put(tmp_path), put(tmp_path, model=b"refused"), put(tmp_path, model=b"fresh")
    queue.submit(lite, team.id, hosted.id, kept.content, kept.sizes, manifest("a"))
    torn = tmp_path / f"{files.INCOMING}x"
    torn.mkdir()
    for path in (torn, kept.folder, refused.folder):
        os.utime(path, (time.time() - 90_000,) * 2)
    assert files.sweep(lite, tmp_path) == 2
    assert kept.folder.is_dir()
    assert fresh.folder.is_dir()
    assert not torn.exists()
    assert not refused.folder.exists()
