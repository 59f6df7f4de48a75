"""Two accounts of one host, each with the same commands."""

from __future__ import annotations

from pathlib import Path

import in_process
import pytest
from accounts import ANNA, BEN, common_folder, do_as, needs_root

from harness import database
from harness.errors import HarnessError
from harness.launch import start
from harness.launch.launcher import Launch, Ray, Slurm
from harness.study import storage
from harness.study.study import Study
from harness.study.worker_process import Job

URL = "storage.url=postgresql://team:pw@127.0.0.1:1/db"


@needs_root
def test_a_second_account_gets_the_first_ones_answer(tmp_path: Path) -> None:
    """Case 10: it got a traceback about the first one's lock, until the next boot."""

    url = URL.removeprefix("storage.url=")

    def opens() -> str:
        with pytest.raises(HarnessError) as e, storage.alone(url):
            database.connect(url)
        return str(e.value)

    here = in_process.command(tmp_path, "-m", "harness", "status", "study=x", URL)
    first, second = do_as(ANNA, opens), do_as(BEN, opens)
    assert here.returncode == 2 and first == second
    assert "can't be used" in first and first.splitlines()[0] in here.stderr


@needs_root
def test_anothers_folder_of_runs_is_one_error(tmp_path: Path) -> None:
    """Before anything is done, with what to set."""
    with common_folder(0o777) as folder:
        do_as(ANNA, (folder / "runs").mkdir)
        job = Job(
            study=Study(),
            url="sqlite:///x.db",
            here={},
            device="cpu",
            track="disabled",
            runs=folder / "runs",
            threads=1,
        )
        how = Launch("local", 1, Slurm(), Ray())
        do_as(ANNA, lambda: start._check(job, how))
        with pytest.raises(HarnessError, match=f"belongs to another account .user {ANNA}.* can't write to it") as e:
            do_as(BEN, lambda: start._check(job, how))
        assert "set runs= to a folder of your own" in e.value.fix
