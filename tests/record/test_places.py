"""Where data lie is remembered for the steps that come after."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness import config
from harness.record import places


def test_a_later_step_finds_the_data_where_the_earlier_one_was_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From another folder too; what the command line says goes first, and a folder that is gone isn't named."""
    root = tmp_path / "my photos"
    root.mkdir()
    monkeypatch.chdir(tmp_path)
    places.remember(tmp_path / "runs", "folder", "f" * 64, {"root": "my photos", "train_list": ""})
    monkeypatch.chdir("/")
    here = places.recall(tmp_path / "runs", "folder", "f" * 64)
    assert here == {"root": str(root)}
    overrides = ["data=folder", *config.recalled(here, [])]
    assert config.load("submit", overrides).data["root"] == str(root)
    assert config.recalled(here, ["data.root=elsewhere"]) == config.recalled(here, ["data=digits"]) == []
    assert places.recall(tmp_path / "runs", "folder", "e" * 64) == {}
    assert places.recall(tmp_path / "runs", "taco", "f" * 64) == {}
    root.rmdir()
    assert places.recall(tmp_path / "runs", "folder", "f" * 64) == {}
    (tmp_path / "runs" / "data" / f"folder-{'f' * 16}.json").write_text("torn")
    assert places.recall(tmp_path / "runs", "folder", "f" * 64) == {}


def test_data_without_a_place_leave_nothing(tmp_path: Path) -> None:
    """The digits come with a package."""
    places.remember(tmp_path / "runs", "digits", "f" * 64, {})
    assert not (tmp_path / "runs").exists()
