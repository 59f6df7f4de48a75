"""The mirror: what W&B is given equals the run folder, and its trouble is its own."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from wandb_file import records

from harness.errors import HarnessError
from harness.record.journal import Journal
from harness.track.environment import MODES, check
from harness.track.mirror import mirrored

RUN = {"study": "ours", "run": "00007", "job_type": "trial", "config": {"lr": 0.1, "proxy": {"epochs": 3}}}
ROWS = [{"epoch": 1, "loss": 2.25}, {"epoch": 2, "loss": 1.5, "f1": 0.5, "points": 0.75}, {"epoch": 3, "loss": 0.125}]
# The same run in a process of its own, with a password on its command line; W&B keeps a service process for each.
SCRIPT = """
import json, sys
from pathlib import Path
from harness.record.journal import Journal
from harness.track.mirror import mirrored
run, rows, folder = *map(json.loads, sys.argv[1:3]), Path(sys.argv[3])
journal = Journal(folder)
with mirrored("offline", folder, **run) as mirror:
    {trouble}
    for row in rows:
        mirror.log(journal.log(**row))
    mirror.summary({{"f1": 0.625}})
print("trained to the end")
"""
# waits for the service's death: one that is still dying may take and answer all that comes
KILL = (
    "import psutil; service = psutil.Process().children(recursive=True); assert service; "
    "[p.kill() for p in service]; psutil.wait_procs(service, 60)"
)


def train(folder: Path, trouble: str = "", **environment: str) -> subprocess.CompletedProcess:
    """Run the script; `trouble` is what happens once W&B is open.

    Without this process's settings of W&B: where another test has opened it here, the script would share its service.
    """
    own = {name: value for name, value in os.environ.items() if not name.startswith("WANDB_")}
    arguments = [json.dumps(RUN), json.dumps(ROWS), str(folder), "storage.url=postgresql://u:secretpw@127.0.0.1:1/x"]
    return subprocess.run(
        [sys.executable, "-c", SCRIPT.format(trouble=trouble or "pass"), *arguments],
        capture_output=True,
        text=True,
        timeout=600,
        env=own | environment,
    )


@pytest.fixture(scope="module")
def offline(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run mirrored offline."""
    folder = tmp_path_factory.mktemp("offline")
    done = train(folder)
    assert done.returncode == 0, done.stderr
    assert not (folder / "wandb-error.txt").exists()
    return folder


def written(folder: Path) -> list:
    """The records of the folder's one `.wandb` file."""
    (path,) = folder.glob("wandb/offline-run-*/*.wandb")
    return records(path)


def test_an_offline_run_is_named_by_study_and_trial(offline: Path):
    """Id, name, group, job type, project and config are in the file."""
    (run,) = [r.run for r in written(offline) if r.WhichOneof("record_type") == "run"]
    assert (run.run_id, run.display_name, run.run_group) == ("ours-00007", "ours-00007", "ours")
    assert (run.job_type, run.project) == ("trial", "harness")
    config = {u.key: json.loads(u.value_json) for u in run.config.update}
    assert config["lr"] == 0.1 and config["proxy"] == {"epochs": 3}


def test_the_rows_equal_the_journal(offline: Path):
    """Each row of metrics.jsonl is in the W&B file, at its epoch, with the same names and values."""
    mirrored_rows = []
    for record in written(offline):
        if record.WhichOneof("record_type") == "history":
            items = {(i.key or ".".join(i.nested_key)): json.loads(i.value_json) for i in record.history.item}
            row = {"epoch": items["_step"]} | {k: v for k, v in items.items() if not k.startswith("_")}
            mirrored_rows.append(row)
    kept = [{k: v for k, v in row.items() if k != "time"} for row in Journal(offline).rows()]
    assert mirrored_rows == kept == ROWS


def test_the_summary_is_there(offline: Path):
    """The run's final figures are in the file."""
    updates = [u for r in written(offline) if r.WhichOneof("record_type") == "summary" for u in r.summary.update]
    assert ("f1", "0.625") in [(u.key or ".".join(u.nested_key), u.value_json) for u in updates]


def test_no_password_reaches_the_tracker(offline: Path):
    """What stood on the command line is in no file of the run."""
    files = [p for p in offline.rglob("*") if p.is_file()]
    assert len(files) > 3
    assert [p for p in files if b"secretpw" in p.read_bytes()] == []


def test_disabled_writes_nothing(tmp_path: Path):
    """No folder, no file, and W&B isn't imported."""
    before = "wandb" in sys.modules
    with mirrored("disabled", tmp_path / "run", **RUN) as mirror:
        mirror.log(ROWS[0])
        mirror.summary({"f1": 0.5})
    assert list(tmp_path.iterdir()) == []
    assert before or "wandb" not in sys.modules


@pytest.mark.parametrize(
    ("trouble", "environment", "reason"),
    [
        ("", {"WANDB_PROJECT": "a/b"}, "Invalid project name"),
        ("", {"WANDB__FILE_STREAM_MAX_BYTES": "many"}, "validation error"),
        ("file", {}, "Not a directory"),
        (KILL, {}, "Connection|pipe"),
    ],
    ids=["refused-name", "odd-environment", "unwritable", "service-killed"],
)
def test_trouble_with_wandb_leaves_the_training_alone(tmp_path: Path, trouble: str, environment: dict, reason: str):
    """The training ends well with its journal whole; the trouble is said once and kept in wandb-error.txt."""
    if trouble == "file":
        (tmp_path / "wandb").write_text("in the way")
        trouble = ""
    done = train(tmp_path, trouble, **environment)
    assert done.returncode == 0 and "trained to the end" in done.stdout, done.stderr
    # which words W&B finds for a dead service depends on the moment: connection lost, connection reset, broken pipe
    assert re.search(reason, (tmp_path / "wandb-error.txt").read_text())
    assert done.stderr.count("W&B: ") == 1 and "W&B: " not in done.stdout
    assert [row["epoch"] for row in Journal(tmp_path).rows()] == [1, 2, 3]


def test_a_failing_training_is_not_hidden(tmp_path: Path):
    """What the training raises goes on through the mirror."""
    done = train(tmp_path, "raise ArithmeticError('loss is nan')")
    assert done.returncode == 1 and "ArithmeticError: loss is nan" in done.stderr


def test_an_unknown_mode_is_refused():
    """The message lists the modes."""
    with pytest.raises(HarnessError, match="track=ofline: allowed: offline, online, disabled"):
        check("ofline")
    assert all(check(mode) is None for mode in MODES)
