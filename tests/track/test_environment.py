"""What the environment says to W&B: kept to as W&B documents it, or one clear error before the first trial."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import in_process
import pytest
from wandb_file import records

from harness.errors import HarnessError
from harness.record import names
from harness.track import environment
from harness.track.environment import settled

SCRIPT = """
import json, sys
from pathlib import Path
from harness.track.mirror import mirrored
for number in range(2):
    folder = Path(sys.argv[1]) / str(number)
    with mirrored(sys.argv[2], folder, study=sys.argv[3], run=f"{number:05d}", job_type="trial", config={}) as mirror:
        mirror.log({"epoch": 1, "loss": 2.0})
"""
KEY = "0" * 40


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No setting of W&B's, and no key in the home folder."""
    for name in [name for name in os.environ if name.startswith("WANDB_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setenv("HOME", str(tmp_path))


def mirrored(folder: Path, mode: str = "offline", study: str = "s", **settings: str) -> list:
    """Mirror two trials in a process with these settings of W&B; return the records of their runs."""
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(folder), mode, study], env={**os.environ, **settings}, capture_output=True,
        text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    files = sorted(folder.glob("*/wandb/offline-run-*/*.wandb"))
    return [r.run for path in files for r in records(path) if r.WhichOneof("record_type") == "run"]


def test_under_a_sweep_each_trial_is_a_run_of_its_own(tmp_path: Path) -> None:
    """What an agent sets, or has left in a shell; and the service of a process that is dead."""
    sweep = {"WANDB_SWEEP_ID": "abc", "WANDB_RUN_ID": "left1234", "WANDB_NAME": "old", "WANDB_RUN_GROUP": "g"}
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        dead = f"3-1-tcp-localhost-{free.getsockname()[1]}"
    runs = mirrored(tmp_path, **sweep, WANDB_SERVICE=dead, WANDB_PROJECT="", WANDB_ENTITY="us", WANDB_DIR="/nowhere")
    assert [run.run_id for run in runs] == ["s-00000", "s-00001"]
    assert {(run.project, run.entity, run.run_group, run.sweep_id) for run in runs} == {("harness", "us", "s", "")}
    assert not list(tmp_path.glob("*/wandb-error.txt"))


def test_a_sweeps_environment_is_forgotten_before_wandb_reads_it(tmp_path: Path) -> None:
    """Where the process that asks whether W&B can be reached mirrors, too, as train.py and score do."""
    script = f"from harness.track.environment import settled\nassert settled('online', 'x') == 'offline'\n{SCRIPT}"
    environment = os.environ | {
        "WANDB_SWEEP_ID": "abc",
        "WANDB_RUN_ID": "left1234",
        "WANDB_SERVICE": "3-1-tcp-localhost-9",
    }
    subprocess.run(
        [sys.executable, "-c", script, str(tmp_path), "offline", "s"], env=environment, check=True, timeout=300
    )
    files = sorted(tmp_path.glob("*/wandb/offline-run-*/*.wandb"))
    assert [r.run.run_id for p in files for r in records(p) if r.WhichOneof("record_type") == "run"] == [
        "s-00000",
        "s-00001",
    ]


def test_a_mode_in_capitals_loses_no_mirror(tmp_path: Path) -> None:
    """We read it; W&B would refuse it."""
    assert [run.run_id for run in mirrored(tmp_path, WANDB_MODE="OFFLINE")] == ["s-00000", "s-00001"]


def test_what_wandb_says_is_one_line() -> None:
    """Of an error without words, its name."""
    assert environment.reason(ConnectionResetError()) == "ConnectionResetError"
    assert environment.reason(ValueError("1 validation error for Settings\nmode\n  Input should be 'x' [type=y]")) == (
        "Input should be 'x'"
    )


def test_a_name_that_wandb_refuses_is_made_fit(tmp_path: Path) -> None:
    """Of a study of before, or a competition's: the id alone is another."""
    runs = mirrored(tmp_path, study="vgg:v2 #1?'x'")
    assert [run.run_id for run in runs] == ["vgg-v2--1--x--00000", "vgg-v2--1--x--00001"]
    assert runs[0].display_name == "vgg:v2 #1?'x'-00000"


@pytest.mark.parametrize(
    ("settings", "track", "mode", "words"),
    [
        ({"WANDB_MODE": "disabled"}, "offline", "disabled", "WANDB_MODE=disabled: nothing is mirrored"),
        ({"WANDB_DISABLED": "true"}, "online", "disabled", "WANDB_DISABLED=true: nothing is mirrored"),
        ({"WANDB_DISABLED": "false"}, "offline", "offline", ""),
        ({"WANDB_MODE": "offline"}, "online", "offline", "WANDB_MODE=offline: this stays offline"),
        ({"WANDB_MODE": "ONLINE"}, "offline", "offline", "set track=online to send at once"),
        ({"WANDB_DISABLED": "True"}, "offline", "disabled", "nothing is mirrored"),
        ({"WANDB_CONSOLE": "foo"}, "disabled", "disabled", ""),
        ({"WANDB_MODE": "dryrun"}, "online", "offline", "WANDB_MODE=dryrun: this stays offline"),
        ({"WANDB_MODE": "online"}, "offline", "offline", "set track=online to send at once"),
        ({"WANDB_SWEEP_ID": "abc"}, "offline", "offline", "WANDB_SWEEP_ID: left aside"),
        ({"WANDB_PROJECT": "a/b"}, "disabled", "disabled", ""),
        ({}, "offline", "offline", ""),
    ],
)
def test_the_environment_chooses_the_mode(
    settings: dict[str, str],
    track: str,
    mode: str,
    words: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
) -> None:
    """It can keep things back; it never sends what `track` keeps back."""
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    assert settled(track, "runs/s/*") == mode
    printed, said = capsys.readouterr()
    assert (words in said and said.count("\n") == 1) if words else said == ""
    assert printed == ""  # that is for what a command finds, which may be JSON


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("MODE", "onlin"), ("MODE", "shared"), ("PROJECT", "a/b"), ("PROJECT", "x" * 129), ("CONSOLE", "foo"),
        ("HTTP_TIMEOUT", "soon"), ("SILENT", "maybe"), ("BASE_URL", "here"), ("RUN_TAGS", "a,,b"), ("TAGS", "x" * 65),
        ("_SERVICE_WAIT", "long"),
    ],
)  # fmt: skip
def test_what_wandb_would_refuse_is_one_error_before_the_first_trial(tmp_path: Path, name: str, value: str) -> None:
    """In every command that mirrors."""
    setting = {f"WANDB_{name}": value}
    done = in_process.command(tmp_path, "tune.py", "storage.url=sqlite:///x.db", **setting)
    assert done.returncode == 2 and f"error: WANDB_{name}={value[:40]}" in done.stderr
    assert not (tmp_path / "x.db").exists()


@pytest.mark.parametrize(("name", "secret"), [("API_KEY", "k" * 40), ("BASE_URL", "https://me:secretword@")])
def test_a_secret_that_wandb_refuses_is_not_printed(tmp_path: Path, name: str, secret: str) -> None:
    """Logs keep what is printed."""
    done = in_process.command(tmp_path, "tune.py", "storage.url=sqlite:///x.db", **{f"WANDB_{name}": f"{secret} \n"})
    assert done.returncode == 2 and f"error: WANDB_{name}=...: W&B refuses it" in done.stderr
    assert secret not in done.stderr and "secretword" not in done.stderr


def test_online_without_a_key_is_said_at_once_and_goes_on_offline(capsys: pytest.CaptureFixture) -> None:
    """With the line that sends it later; nothing is asked of the network."""
    assert settled("online", "runs/s/*") == "offline"
    said = capsys.readouterr().err
    assert "no key here" in said and "wandb login && wandb sync runs/s/*/wandb/offline-run-*" in said


class Answers(BaseHTTPRequestHandler):
    """A server that knows nobody."""

    def do_HEAD(self) -> None:
        self.send_error(404)

    def log_message(self, *words: object) -> None:
        """Say nothing."""


@pytest.mark.parametrize("there", [True, False])
def test_online_with_a_key_hangs_on_whether_the_server_answers(
    there: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    """Any answer will do; none within some seconds is none."""
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    with HTTPServer(("127.0.0.1", 0), Answers) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        port = server.server_port
        if not there:
            server.shutdown()
            server.server_close()
        monkeypatch.setattr(environment, "_base_url", lambda: f"http://127.0.0.1:{port}")
        assert settled("online", "runs/s/*") == ("online" if there else "offline")
        if there:
            server.shutdown()
    assert ("doesn't answer" in capsys.readouterr().err) != there


def test_a_server_that_goes_away_keeps_no_later_trial_waiting(tmp_path: Path) -> None:
    """The first trial's run goes on offline, and those after it begin so. Over 5 s: W&B tries for some seconds."""
    begin = time.monotonic()
    runs = mirrored(tmp_path, "online", WANDB_API_KEY=KEY, WANDB_BASE_URL="http://127.0.0.1:9")
    assert [run.run_id for run in runs] == ["s-00000", "s-00001"]
    assert [p.parent.name for p in tmp_path.glob("*/wandb-error.txt")] == ["0"]
    assert time.monotonic() - begin < 150
    assert json.dumps([run.run_id for run in runs])


@pytest.mark.parametrize(
    "name",
    [
        "vgg:v2", "a;b", "a,b", "a#1", "a?", "..", ".", "../x", "/abs", "a/b", "a\\b", "a b", "a\nb", "a\0b", "", "-x",
        "~x", ".hidden", "x.", "CON", "a&b", "nul.txt", "com1", "LPT9.log", "a*", "a|b", "a<b", "x" * 101,
        "\u202ex", "a\u00a0b",
    ],
)  # fmt: skip
def test_a_name_that_is_no_folders_or_that_wandb_refuses_is_one_error(name: str) -> None:
    """It could leave `runs/`, or lose its mirror without a word."""
    with pytest.raises(HarnessError, match="study.name=.*: allowed: a folder's name"):
        names.check(name, "study.name")


@pytest.mark.parametrize(
    "name", ["digits-vgg", "우리-팀", "v2.1", "a_b+c=d@e", "Ünï", "конкурс", "x" * 100, "console", "com10"]
)
def test_other_names_are_taken(name: str) -> None:
    """Of any script."""
    names.check(name, "study.name")


@pytest.mark.parametrize("name", ["final", "reference", "score"])
def test_a_folder_of_the_harness_is_no_studys(tmp_path: Path, name: str) -> None:
    """Its trials would lie among other files."""
    done = in_process.run(tmp_path, "tune.py", f"study.name={name}", code=2)
    assert "that folder is the harness's own" in done.stderr and list(tmp_path.iterdir()) == []


def test_a_final_runs_name_leaves_no_folder_either(tmp_path: Path) -> None:
    """`run=` of train.py."""
    done = in_process.run(
        tmp_path, "train.py", f"model={in_process.ROOT}/conf/model/mobilenetv3.yaml", "run=../../x", code=2
    )
    assert "run='../../x': allowed: a folder's name" in done.stderr
