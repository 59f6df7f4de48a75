"""Accounts of one host share a SQLite file where its folder says so; else the second is told, and how to share it."""

from __future__ import annotations

import os
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path

import optuna
import pytest
from accounts import ANNA, BEN, TEAM, common_folder, do_as, needs_root

from harness import database
from harness.database import engine, rights
from harness.errors import HarnessError
from harness.study import storage

pytestmark = needs_root


@pytest.fixture(autouse=True, params=["wal", "delete"])
def journal(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    """Both ways in which SQLite keeps what isn't in the file yet; all is imported before the forks, which may not."""
    monkeypatch.setattr(engine, "wal_is_sound", lambda: request.param == "wal")
    storage.opened(f"sqlite:///{tmp_path}/warm.db")
    return request.param


def uses(path: Path, name: str) -> Callable[[], list[str]]:
    """Return what joins a database, writes a study, and lists those there are; it ends without closing anything."""

    def act() -> list[str]:
        url = f"sqlite:///{path}"
        database.connect(url).dispose()
        database.check_writable(url)
        backend = storage.opened(url, patience_s=1)
        backend.create_new_study([optuna.study.StudyDirection.MINIMIZE], name)
        return sorted(study.study_name for study in backend.get_all_studies())

    return act


@pytest.mark.parametrize("umask", [0o022, 0o077, 0o002])
@pytest.mark.parametrize(("mode", "groups"), [(0o2770, [TEAM]), (0o777, [])])
def test_two_accounts_write_to_one_file_by_turns(mode: int, groups: list[int], umask: int) -> None:
    """In a folder of a common group, or of everybody; whatever the umask, and whoever was first."""
    with common_folder(mode, TEAM) as folder:
        path = folder / "team.db"
        assert do_as(ANNA, uses(path, "a"), groups, umask) == ["a"]
        assert do_as(BEN, uses(path, "b"), groups, umask) == ["a", "b"]
        assert do_as(ANNA, uses(path, "c"), groups, umask) == ["a", "b", "c"]
        assert do_as(BEN, uses(path, "d"), groups, umask) == ["a", "b", "c", "d"]


@pytest.mark.parametrize("mode", [0o755, 0o1777])
def test_a_file_in_ones_own_folder_stays_ones_own(mode: int) -> None:
    """And in a folder like /tmp; the other account gets one error, with the owner and the way to share it."""
    with common_folder(mode) as folder:
        if mode == 0o755:
            os.chown(folder, ANNA, ANNA)
        path = folder / "team.db"
        do_as(ANNA, uses(path, "a"), umask=0o022)
        assert stat.S_IMODE(path.stat().st_mode) == 0o644
        with pytest.raises(HarnessError, match=f"belongs to {ANNA} .* this account can't write to it") as e:
            do_as(BEN, uses(path, "b"))
        assert "chmod g+rwxs" in e.value.fix and "storage.url of your own" in e.value.fix
        assert do_as(ANNA, uses(path, "c")) == ["a", "c"]


def test_a_file_beside_the_database_that_is_shut_is_named(journal: str) -> None:
    """As in a folder that doesn't hand its group on: what SQLite keeps there is of the group of who wrote last."""
    with common_folder(0o770, TEAM) as folder:
        path = folder / "team.db"
        do_as(ANNA, uses(path, "a"), [TEAM])
        if journal == "delete":
            assert do_as(BEN, uses(path, "b"), [TEAM]) == ["a", "b"]
            return
        with pytest.raises(HarnessError, match=r"team.db-(wal|shm) belongs to"):
            do_as(BEN, uses(path, "b"), [TEAM])


def test_what_the_message_says_to_run_helps() -> None:
    """Made by SQLite alone, with its maker's rights, and then given to the group as told."""
    with common_folder(0o755) as folder:
        os.chown(folder, ANNA, ANNA)
        path = folder / "team.db"
        do_as(ANNA, uses(path, "a"))
        with pytest.raises(HarnessError) as e:
            do_as(BEN, uses(path, "b"), [TEAM])
        commands = e.value.fix.split("both are in: ")[1].split("; or take")[0].replace("chgrp G", f"chgrp {TEAM}")
        do_as(ANNA, lambda: subprocess.run(["/bin/sh", "-c", commands], check=True).returncode, [TEAM])
        assert do_as(BEN, uses(path, "b"), [TEAM]) == ["a", "b"]


def test_another_accounts_link_isnt_followed_to_a_new_file(tmp_path: Path) -> None:
    """The rights are those of a file that was made here and now; one that is there keeps its own."""
    with common_folder(0o2770, TEAM) as folder:
        (folder / "team.db").symlink_to(tmp_path / "elsewhere")
        rights.make(folder / "team.db")
        assert not (tmp_path / "elsewhere").exists()
        (folder / "own.db").touch(mode=0o600)
        rights.make(folder / "own.db")
        assert stat.S_IMODE((folder / "own.db").stat().st_mode) == 0o600
