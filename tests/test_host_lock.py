"""All accounts of a host take turns by one lock, and none can use it to harm another."""

from __future__ import annotations

import os
import select
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from accounts import ANNA, BEN, common_folder, do_as, needs_root, start_as

from harness import host_lock
from harness.errors import HarnessError
from harness.host_lock import held
from harness.study import storage

HOLD = """
import sys
from harness.host_lock import held
with held(sys.argv[1]):
    print("held", flush=True)
    sys.stdin.readline()
"""


@pytest.fixture
def common(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder like /tmp for the locks, of their own."""
    with common_folder(0o1777) as folder:
        monkeypatch.setattr(host_lock, "folder", lambda: folder)
        yield folder


def taken(name: str = "measure") -> Callable[[], float]:
    """Return what takes a lock and lets it go; the seconds waited."""

    def act() -> float:
        with held(name) as waited_s:
            return waited_s

    return act


def test_locks_lie_in_one_place_whatever_an_account_or_a_job_has_as_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Slurm and pam_tmpdir give each job or account a temporary folder."""
    before = host_lock.folder()
    monkeypatch.setenv("TMPDIR", str(Path.home()))
    assert host_lock.folder() == before == Path("/tmp")


@needs_root
@pytest.mark.parametrize("umask", [0o022, 0o077, 0o000])
def test_a_second_account_takes_turns_with_the_first(common: Path, umask: int) -> None:
    """While the first holds the lock the second waits; then it has it, though the file is the first's."""
    end, go = os.pipe()

    def hold() -> None:
        with held("measure"):
            os.write(go, b"h")
            time.sleep(0.5)

    first = start_as(ANNA, hold, umask=umask)
    assert os.read(end, 1) == b"h"
    waited_s = do_as(BEN, taken(), umask=umask)
    first()
    (file,) = common.iterdir()
    assert waited_s > 0.2 and do_as(BEN, taken(), umask=umask) < 0.2
    assert file.stat().st_uid == ANNA and stat.S_IMODE(file.stat().st_mode) == 0o644
    os.close(end)
    os.close(go)


@needs_root
def test_a_database_is_opened_by_a_second_account_of_this_host(common: Path) -> None:
    """Case 10: the first to open a url owned it; whoever it is opened as there, it is the same lock."""
    url = "postgresql://{}:pw@127.0.0.1:1/db"

    def opens(user: str) -> Callable[[], bool]:
        def act() -> bool:
            with storage.alone(url.format(user)):
                return True

        return act

    assert do_as(ANNA, opens("anna"), umask=0o077) and do_as(BEN, opens("ben")) and do_as(ANNA, opens("anna"))
    assert len(list(common.iterdir())) == 1


def test_databases_share_few_locks(common: Path) -> None:
    """Files of locks stay behind; there was one for each database that was ever opened."""
    for number in range(400):
        with storage.alone(f"sqlite:///{number}.db"):
            pass
    assert 100 < len(list(common.iterdir())) <= 256


@needs_root
@pytest.mark.parametrize("trap", ["a link to another's file", "a link to nothing", "a folder", "a pipe", "closed"])
def test_what_another_account_has_laid_in_the_way_is_one_error(common: Path, trap: str) -> None:
    """With the file and its owner; nothing is followed, opened for writing or made."""
    path, target = common / "harness-measure.lock", common / "target"
    lay = {
        "a link to another's file": lambda: (target.write_text("precious"), path.symlink_to(target)),
        "a link to nothing": lambda: path.symlink_to(target),
        "a folder": path.mkdir,
        "a pipe": lambda: os.mkfifo(path),
        "closed": lambda: (path.touch(), path.chmod(0o600)),
    }
    do_as(BEN, lambda: (lay[trap](), None)[1])
    with pytest.raises(HarnessError, match="harness-measure.lock, which belongs to .* take turns") as e:
        do_as(ANNA, taken())
    assert e.value.fix.endswith(f"remove it: rm {path}")
    assert trap != "a link to another's file" or target.read_text() == "precious"
    assert trap != "a link to nothing" or not target.exists()


@needs_root
def test_a_folder_where_no_lock_can_be_made_is_one_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a /tmp that is for root alone."""
    with common_folder(0o755) as folder:
        monkeypatch.setattr(host_lock, "folder", lambda: folder)
        with pytest.raises(HarnessError, match="can't be made: Permission denied") as e:
            do_as(ANNA, taken())
        assert f"chmod 1777 {folder}" in e.value.fix


def test_a_lock_of_a_killed_holder_is_free(common: Path) -> None:
    """The system sees to it."""
    code = f"from pathlib import Path\nfrom harness import host_lock\nhost_lock.folder = lambda: Path({str(common)!r})"
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", code + HOLD, "measure"], text=True, **pipes) as holder:
        assert holder.stdout.readline() == "held\n"
        said: list[str] = []
        end, go = os.pipe()
        wait = start_as(os.geteuid(), lambda: _wait(said, go))
        assert os.read(end, 1) == b"w"  # it has waited long enough to say so
        assert not select.select([end], [], [], 0.2)[0]
        holder.kill()
        assert wait() == (["waits"], True)
    os.close(end)
    os.close(go)


def _wait(said: list[str], go: int) -> tuple[list[str], bool]:
    with held("measure", patience_s=0.1, waiting=lambda: (said.append("waits"), os.write(go, b"w"))) as waited_s:
        return said, waited_s > 0.1


def test_a_file_that_is_removed_meanwhile_is_no_lock(common: Path) -> None:
    """Who tidies /tmp up while one waits mustn't let two measure at a time."""
    end, go = os.pipe()
    path = common / "harness-measure.lock"
    with held("measure"):
        wait = start_as(os.geteuid(), lambda: _wait([], go))
        assert os.read(end, 1) == b"w"
        path.unlink()
    assert wait() == (["waits"], True)
    assert path.exists()  # the one that the second holder made and locked
    os.close(end)
    os.close(go)


def test_no_draft_of_a_file_stays(common: Path) -> None:
    """The lock's own alone."""
    taken()()
    assert [path.name for path in common.iterdir()] == ["harness-measure.lock"]
