"""Several processes train one network: the same result whatever is killed, one error, and nobody left behind."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from test_kill import CANDIDATE, equal, rows

from harness.errors import HarnessError
from harness.train import distributed, footprint
from harness.train.distributed import check_number, numbers, started

ROOT = Path(__file__).resolve().parents[2]
CPU = torch.device("cpu")
EPOCHS = 24
TRIES = 5


def words(folder: Path, runs: str, *more: str) -> list[str]:
    """The command's words after the interpreter, with which two processes train on one thread each."""
    candidate = folder / "net.json"
    candidate.write_text(json.dumps(CANDIDATE))
    return [
        str(ROOT / "train.py"), f"candidate={candidate}", "data=digits", "run=net", "track=disabled", "recipe.ema=0.99",
        f"recipe.epochs={EPOCHS}", "threads=2", "layout=channels_last", "dtype=float32", "latency_s=0.3",
        f"runs={folder / runs}", *more,
    ]  # fmt: skip


def begin(*command: str) -> subprocess.Popen[str]:
    """Start a command of this Python's."""
    environment = os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests'}"}
    return subprocess.Popen(
        [sys.executable, *command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    )


def ended(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    """Wait for it; return its exit code and what it said."""
    out, err = process.communicate(timeout=600)
    return process.returncode, out, err


def trained(*command: str) -> str:
    """Run a training to its end and return what it said; again, where the machine was too noisy to time the network."""
    for _ in range(TRIES):
        code, out, err = ended(begin(*command))
        if "too noisy to time it" not in err:
            break
    assert code == 0 and "rror" not in err, err  # it may have waited for another measurement
    return out


def others(parent: int) -> list[int]:
    """The processes that a training has started to train with it."""
    listed = subprocess.run(
        ["ps", "-A", "-ww", "-o", "pid=,ppid=,args="], capture_output=True, text=True, check=True
    ).stdout
    rows = (line.split(maxsplit=2) for line in listed.splitlines())
    return [int(pid) for pid, of, args in rows if int(of) == parent and "spawn_main" in args]


def alive(pid: int) -> bool:
    """Whether a process runs: one that is dead and only not yet reaped doesn't."""
    done = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True)
    return bool(done.stdout.strip()) and not done.stdout.strip().startswith("Z")


def wait_until(true: Callable[[], bool], process: subprocess.Popen[str] | None = None) -> None:
    """Wait for a moment; not for one that a process which has ended can't bring."""
    end = time.monotonic() + 300
    while not true() and (process is None or process.poll() is None):
        assert time.monotonic() < end, "it never came"
        time.sleep(0.01)


def state(folder: Path, name: str) -> object:
    """A saved state."""
    return torch.load(folder / "final" / "net" / name)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the runs."""
    return tmp_path_factory.mktemp("together")


@pytest.fixture(scope="module")
def straight(place: Path) -> Path:
    """The runs of a training that nobody stopped; the number of processes is left to it."""
    assert "2 processes x 1 thread\n" in trained(*words(place, "straight"))
    return place / "straight"


@pytest.fixture
def training(place: Path, request: pytest.FixtureRequest) -> Iterator[tuple[subprocess.Popen[str], Path, int]]:
    """A training after three of its epochs, its run folder, and the process that it has started."""
    name = request.node.name
    folder = place / name / "final" / "net"
    with begin(*words(place, name)) as process:
        try:
            wait_until(lambda: bool(others(process.pid)), process)
            (other,) = others(process.pid)
            wait_until(lambda: len(rows(folder)) > 2, process)
            yield process, folder, other
        finally:
            process.kill()


def test_the_number_is_kept_and_nothing_is_left_but_the_run(straight: Path) -> None:
    """Over 5 s: trains by the real command. No copy of the images, no meeting point."""
    run = straight / "final" / "net"
    assert json.loads((run / "begun.json").read_text())["processes"] == 2
    assert not (run / "images.bin").exists() and not (run / "meeting").exists()
    assert [row["epoch"] for row in rows(run)] == list(range(1, EPOCHS + 1))


def test_one_process_trains_another_network_where_there_is_batch_norm(place: Path, straight: Path) -> None:
    """Negative control of those that follow: equal weights are not what any training comes to. Over 5 s: it trains."""
    assert ", 2 threads\n" in trained(*words(place, "alone", "processes=1"))
    assert not equal(state(straight, "weights.pt"), state(place / "alone", "weights.pt"))
    code, _, err = ended(begin(*words(place, "alone", "processes=2")))
    assert code == 2 and "holds a run with another number of processes" in err


def test_one_that_is_killed_ends_all_with_one_error_and_the_same_command_goes_on(
    training: tuple, place: Path, straight: Path, request: pytest.FixtureRequest
) -> None:
    """To the last bit as if nothing had happened. Over 5 s: trains twice."""
    process, folder, other = training
    os.kill(other, signal.SIGKILL)
    code, out, err = ended(process)
    assert code == 2 and "Traceback" not in out + err
    first, second = err.splitlines()
    assert first.startswith("error: process 2 of 2: ") and "killed" in first
    assert second == f"  do: {distributed.AGAIN}"
    assert not alive(other)
    done = int(torch.load(folder / "checkpoint.pt")["epoch"])
    assert 0 < done < EPOCHS
    assert "resumed after epoch" in trained(*words(place, request.node.name))
    again = place / request.node.name
    for name in ("weights.pt", "checkpoint.pt"):
        assert equal(state(straight, name), state(again, name)), name
    assert [row["loss"] for row in rows(folder)] == [row["loss"] for row in rows(straight / "final" / "net")]


def test_who_kills_the_command_leaves_nobody_behind(training: tuple) -> None:
    """Kill -9 of the first process: the kernel ends the other. Over 5 s: it trains."""
    process, _, other = training
    process.kill()
    wait_until(lambda: not alive(other))
    assert ended(process)[0] == -signal.SIGKILL


def test_ctrl_c_ends_all_without_a_word(training: tuple) -> None:
    """Sent to the first one alone, as by kill -INT. Over 5 s: it trains."""
    process, _, other = training
    process.send_signal(signal.SIGINT)
    code, _, err = ended(process)
    assert (code, err) == (130, "") and not alive(other)


def test_under_torchrun_the_first_alone_writes_and_the_result_is_the_same(place: Path, straight: Path) -> None:
    """Over 5 s: two Pythons train. Each line is said once; the weights are those of processes that train started."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    many = ["-m", "torch.distributed.run", "--nproc-per-node=2", f"--master-port={port}"]
    code, out, err = ended(begin(*many, *words(place, "torchrun")))
    assert code == 0, err
    assert out.count("2 processes x 1 thread\n") == 1 and out.count("next:") == 1
    assert equal(state(straight, "weights.pt"), state(place / "torchrun", "weights.pt"))
    assert len(rows(place / "torchrun" / "final" / "net")) == EPOCHS


def leave(code: int) -> None:
    """What another process does that fails."""
    os._exit(code)


def leave_once_met(met: Path, code: int) -> None:
    """Fail when the first process is in the group, too."""
    wait_until(met.exists)
    leave(code)


class Ended:
    """What can't even arrive at another process."""

    def __reduce__(self) -> tuple:
        return leave, (3,)

    def __call__(self, number: int) -> None:
        """Do nothing."""


@pytest.mark.parametrize("work", [leave, Ended()], ids=["in the group", "before it begins"])
def test_one_that_fails_is_named_with_its_code(work: Callable[[int], object], tmp_path: Path) -> None:
    """Of three; the first one waits for them meanwhile. Over 5 s: Pythons import torch."""
    with (
        pytest.raises(HarnessError, match=r"process [23] of 3: its process ended with code [123]"),
        started(3, CPU, work, tmp_path / "meeting"),
    ):
        distributed.summed(torch.zeros(1))


DEAF = """
import sys, threading
from functools import partial
sys.path.insert(0, sys.argv[2])
import torch
from pathlib import Path
from test_together import leave_once_met
from harness.train import distributed
distributed.NOTICE_S = 0.1
if __name__ == "__main__":
    met = Path(sys.argv[1]).with_name("met")
    with distributed.started(2, torch.device("cpu"), partial(leave_once_met, met), Path(sys.argv[1])):
        met.touch()
        threading.Event().wait()
"""


def test_a_first_process_that_hears_nothing_is_ended_too(tmp_path: Path) -> None:
    """It waits for ever, as in NCCL; the one error is said all the same. Over 5 s: Pythons import torch."""
    script = tmp_path / "deaf.py"
    script.write_text(DEAF)
    code, _, err = ended(begin(str(script), str(tmp_path / "meeting"), str(Path(__file__).parent)))
    assert code == 2 and err.splitlines() == [
        "error: process 2 of 2: its process ended with code 1", f"  do: {distributed.AGAIN}"
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("threads", "batch", "best"),
    [(1, 128, 1), (2, 128, 2), (2, 64, 2), (2, 63, 1), (4, 128, 4), (6, 128, 3), (16, 512, 16), (3, 64, 1), (8, 20, 1)],
)
def test_as_many_processes_as_use_the_threads_where_each_has_32_images(threads: int, batch: int, best: int) -> None:
    """Six threads and four shares: three processes of two use all, four of one wouldn't; fewer come after it."""
    assert numbers(threads, batch, CPU) == [*range(best, 0, -1)]


def test_more_processes_than_images_of_a_batch_are_refused() -> None:
    """Batch norm needs two of each; and a Mac's graphics are no processes' to share."""
    check_number(4, 8, CPU, 4)
    with pytest.raises(HarnessError, match="processes=5: each needs 2 images of a batch, which has 8"):
        check_number(5, 8, CPU, 5)
    with pytest.raises(HarnessError, match="several can't share device=mps"):
        check_number(2, 8, torch.device("mps"), 2)
    assert numbers(4, 128, torch.device("mps")) == [1]


def test_the_memory_of_a_step_counts_each_process() -> None:
    """Outputs are shared out with the batch; weights, and what a process takes by itself, are there for each."""
    net = torch.nn.Sequential(torch.nn.Conv2d(3, 32, 3), torch.nn.Flatten(), torch.nn.Linear(32 * 30 * 30, 10))
    alone, both = (footprint.together_gb(net, 32, 64, number, number) for number in (1, 2))
    assert alone == footprint.training_gb(net, 32, 64)
    weights_gb = 4 * 4 * sum(p.numel() for p in net.parameters()) / 1e9
    assert both == pytest.approx(alone + weights_gb + footprint.PROCESS_GB)
    assert footprint.together_gb(net, 32, 64, 2, 1) == pytest.approx(footprint.training_gb(net, 32, 32))
