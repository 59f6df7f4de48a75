"""A saved model runs and is timed in a process of its own."""

from __future__ import annotations

import itertools
import select
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch
from torch import nn

from harness.errors import HarnessError
from harness.measure import lock, paired_timing, process
from harness.measure.process import end_to_end, measure, predict
from harness.models.build import build, export_ready
from harness.models.spec import ModelSpec
from harness.runtime.export import export


def network(channels: int, repeat: int = 1, side_px: int = 16) -> nn.Module:
    """Build a plain network."""
    stages = [{"block": "conv", "channels": channels, "repeat": repeat}, {"block": "repvgg", "channels": channels}]
    return build(ModelSpec.from_dict({"stages": stages}), 5, side_px)


@pytest.fixture
def any_noise(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have no measurement refused: what is looked for is larger than a busy machine's noise."""
    monkeypatch.setattr(process, "NOISY", 1.0)


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small network's file."""
    return export(network(16), 16, tmp_path_factory.mktemp("reference") / "reference.onnx")


def test_predictions_are_torchs(tmp_path: Path) -> None:
    """Logits of the file equal the network's, more images than one batch holds, in order."""
    model = network(8)
    inputs = np.random.default_rng(0).standard_normal((300, 3, 16, 16), dtype=np.float32)
    found = predict(export(model, 16, tmp_path / "model.onnx"), inputs)
    with torch.no_grad():
        expected = export_ready(model)(torch.from_numpy(inputs)).numpy()
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("content", [b"", b"garbage" * 1000])
def test_a_file_that_is_no_model_is_an_error(content: bytes, reference: Path, tmp_path: Path) -> None:
    """To run and to time it; the path is named and the next measurement works."""
    path = tmp_path / "bad.onnx"
    path.write_bytes(content)
    with pytest.raises(HarnessError, match="bad.onnx"):
        predict(path, np.zeros((1, 3, 16, 16), dtype=np.float32))
    with pytest.raises(HarnessError, match="bad.onnx"):
        measure(path, reference, seconds=0.1)


def test_a_model_that_isnt_there_is_an_error(tmp_path: Path) -> None:
    """Its path is in the message."""
    with pytest.raises(HarnessError, match="nothing.onnx"):
        predict(tmp_path / "nothing.onnx", np.zeros((1, 3, 16, 16), dtype=np.float32))


def test_images_of_another_size_are_an_error(reference: Path) -> None:
    """The shape is named."""
    with pytest.raises(HarnessError, match=r"inputs of shape \(2, 1, 16, 16\)"):
        predict(reference, np.zeros((2, 1, 16, 16), dtype=np.float32))


def test_logits_that_arent_numbers_are_an_error(tmp_path: Path) -> None:
    """A network with a NaN inside is not scored as if it had an opinion."""
    model = network(8)
    nn.init.constant_(next(m for m in model.modules() if isinstance(m, nn.Linear)).bias, float("nan"))
    with pytest.raises(HarnessError, match="finite"):
        predict(export(model, 16, tmp_path / "nan.onnx"), np.zeros((2, 3, 16, 16), dtype=np.float32))


def test_a_run_that_takes_too_long_is_ended(reference: Path) -> None:
    """No process outlives its time."""
    with pytest.raises(HarnessError, match="still running after 0 s"):
        predict(reference, np.zeros((1, 3, 16, 16), dtype=np.float32), timeout_s=0.05)


@pytest.mark.alone
@pytest.mark.usefixtures("any_noise")
def test_a_bigger_network_has_the_bigger_ratio(reference: Path, tmp_path: Path) -> None:
    """The reference beside itself is near 1; more of everything is slower than it, and less of it faster.

    Takes some 5 s: three measurements, each with its processes and their warm-up.
    """
    paths = {"same": reference}
    for name, model in (("bigger", network(64, repeat=4)), ("smaller", network(4))):
        paths[name] = export(model, 16, tmp_path / f"{name}.onnx")
    found = {name: measure(path, reference, seconds=1.5) for name, path in paths.items()}
    assert found["smaller"].ratio < found["same"].ratio < found["bigger"].ratio
    # 1.5 s beside a busy neighbour can be out by more than that, but not time and again
    again = (measure(reference, reference, seconds=1.5).ratio for _ in range(2))
    assert any(ratio == pytest.approx(1.0, abs=0.05) for ratio in itertools.chain([found["same"].ratio], again))
    assert found["bigger"].ratio_low > 1.5
    for latency in found.values():
        loads = [load for process in latency.processes for load in process]
        assert len(latency.processes) >= paired_timing.PROCESSES and len(loads) >= len(latency.processes)
        for load in loads:
            batches = (load.model_ms, load.model_wall_ms, load.reference_ms, load.reference_wall_ms)
            assert len({len(ms) for ms in batches}) == 1 and len(load.model_ms) >= paired_timing.TURNS
            assert min(map(min, batches)) > 0
            # of the same batches: over all processes, slow ones move the estimate and not the median
            assert np.median(load.model_wall_ms) >= 0.99 * np.median(load.model_ms)
        assert sum(len(load.model_ms) for load in loads) >= 10
        assert min(latency.wall_ms, latency.ms) > 0 and latency.machine["cpu"]
        assert latency.seen["wall_s"] >= 0.9 * latency.seen["cpu_s"] > 0
        assert {"steal_s", "interruptions", "load", "waited_s"} <= set(latency.seen)


def raw(spread: float) -> dict:
    """Make up what the child answers: processes that differ by so much of a time."""
    processes = [[[[1.0 + spread * number] * 10] * 2 + [[1.0] * 10] * 2] for number in range(paired_timing.PROCESSES)]
    seen = {"cpu_s": 1.0, "wall_s": 1.5, "steal_s": 0.25, "interruptions": 7, "unclean_s": 0.0}
    return {"processes": processes, "seen": seen, "best": {"chain_ms": 1.0, "vector_ms": 1.0}}


def test_a_machine_that_is_too_noisy_is_refused(reference: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was seen, what is allowed, what to do. The control: where processes agree, the same call is a latency."""
    monkeypatch.setattr(process, "_child", lambda *_, **__: raw(1.0))
    with pytest.raises(HarnessError, match=r"(?s)too noisy.* from .* to .*allowed: 10%.*load .*stolen.*\n.*stop other"):
        measure(reference, reference)
    monkeypatch.setattr(process, "_child", lambda *_, **__: raw(0.0))
    assert measure(reference, reference).ratio == 1.0


class Clock:
    """A clock that goes on only when somebody does something, in place of the module `time`."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __getattr__(self, name: str) -> Callable[[], float]:
        return lambda: self.now_s


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The timing loop's clock: no test waits, and a busy machine makes no difference."""
    clock = Clock()
    monkeypatch.setattr(paired_timing, "time", clock)
    return clock


@pytest.mark.parametrize(
    ("spread", "each_s", "processes"),
    [
        (0.0, 0.1, paired_timing.PROCESSES),  # narrow: the fewest
        (0.05, 0.1, 20),  # wide, and no wider than allowed: its seconds, and no more
        (3.0, 0.1, 80),  # too wide: it has patience
        (3.0, 2.0, 4),  # as patient with an engine that takes long to load
        (0.05, 2.0, paired_timing.SLOW_PROCESSES),  # of such an engine fewer processes do
    ],
)
def test_a_measurement_ends_when_it_is_narrow_or_its_time_is_up(
    clock: Clock, spread: float, each_s: float, processes: int
) -> None:
    """Two seconds, or up to four times as many where the interval would be refused."""
    ends: list[float] = []

    def one(until: float, patience_s: float) -> dict:
        ends.append(until - clock.now_s)
        clock.now_s += each_s
        ms = 1.0 + spread * (len(ends) % 2)
        return {"loads": [[[ms] * 10] * 2 + [[1.0] * 10] * 2], "seen": {"cpu_s": each_s}, "waited_s": 0.0}

    found = paired_timing.repeated(one, seconds=2.0, patience_s=9.0, noisy=0.1, begin=0.0, best=None, apart=0.002)
    assert len(found["processes"]) == pytest.approx(processes, abs=1)
    assert found["seen"]["cpu_s"] == pytest.approx(each_s * len(ends))
    assert ends == pytest.approx([2.0 / paired_timing.PROCESSES] * len(ends))


@pytest.mark.parametrize(("left_s", "loads"), [(9.0, paired_timing.LOADS), (0.0, 1)])
def test_a_process_loads_anew_and_times_both_by_turns(clock: Clock, left_s: float, loads: int) -> None:
    """A B B A, for as long as the loads' CPU time lasts; one load at least, though the time is up."""
    order: list[str] = []
    warmed: list[float] = []
    uncounted: list[float] = []

    def batch(name: str, ms: float) -> paired_timing.Batch:
        def run(warm_s: float) -> tuple[float, float, int]:
            order.append(name)
            uncounted.append(warm_s)
            clock.now_s += ms / 1e3
            return ms, ms + 1, 0

        return run

    def fresh(least_s: float) -> list[paired_timing.Batch]:
        warmed.append(least_s)
        return [batch("A", 1.0), batch("B", 4.0)]

    def ruler() -> tuple[float, float]:
        order.append("|")
        return 0.5, 0.25

    found = paired_timing.loads(fresh, ruler, until=left_s, cpu_s=lambda: clock.now_s)
    turns = paired_timing.TURNS  # 20 ms are four turns of 5 ms
    assert "".join(order) == ("|" + "A|B|B|A|" * (turns // 2)) * loads
    rulers = [[0.5] * (2 * turns + 1), [0.25] * (2 * turns + 1)]
    assert (
        found
        == [[[1.0] * turns, [2.0] * turns, [4.0] * turns, [5.0] * turns, [0] * turns, [0] * turns, *rulers]] * loads
    )
    assert warmed == [paired_timing.WARM_UP_S] + [0.0] * (loads - 1)
    share = paired_timing.COLD
    assert uncounted == pytest.approx([0.0, share * 1e-3, 0.0, share * 4e-3] * (turns // 2) * loads)


@pytest.mark.alone
@pytest.mark.usefixtures("any_noise")
def test_what_a_model_takes_from_file_to_label_is_more_than_its_own_time(tmp_path: Path) -> None:
    """Decoding and resizing come on top, and more pixels cost more."""
    path = export(network(4), 16, tmp_path / "small.onnx")
    larger = export(network(4, side_px=64), 64, tmp_path / "larger.onnx")
    alone = measure(path, path, seconds=0.3).ms
    assert alone < end_to_end(path, seconds=0.1) < end_to_end(larger, seconds=0.1)


MEASURE = """
import sys
from pathlib import Path
from harness.measure.process import measure
print("begun", flush=True)
measure(Path(sys.argv[1]), Path(sys.argv[1]), seconds=60)
"""


@pytest.mark.alone
def test_no_measurement_outlives_who_asked_for_it(tmp_path: Path) -> None:
    """Killed with kill -9, it leaves no process that would disturb the next one; both its generations end.

    The network takes 0.1 s a run: its measurement would go on for most of a minute.
    """
    path = export(network(256, repeat=4, side_px=64), 64, tmp_path / "slow.onnx")
    asking = subprocess.Popen([sys.executable, "-c", MEASURE, str(path)], stdout=subprocess.PIPE)
    try:
        assert asking.stdout.readline() == b"begun\n"
        end = time.monotonic() + 60
        while len(below := psutil.Process(asking.pid).children(recursive=True)) < 2:
            assert time.monotonic() < end
            time.sleep(0.02)
    finally:
        asking.kill()
        asking.wait()
    gone, alive = psutil.wait_procs(below, timeout=20)
    for left in alive:
        left.kill()
    assert len(gone) >= 2 and not alive


WARM_UP = [1.0, 0.5, 0.25, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1]
"""Seconds of one run after the other of a network that warms up."""


def test_warm_up_ends_when_runs_get_no_faster() -> None:
    """Not before: the runs that it has seen reach the floor, and it says so."""
    now, left = [0], [int(1e9 * s) for s in WARM_UP]

    def run() -> None:
        now[0] += left.pop(0)

    best_s = paired_timing.warm_up(run, lambda: now[0], least_s=0.0)
    assert best_s == 0.1 and len(left) == len(WARM_UP) - 7


HOLD = """
import sys, time
from harness.measure.lock import alone
with alone() as waited_s:
    print("held", flush=True)
    sys.stdin.readline()
"""


def holder() -> subprocess.Popen[str]:
    """Start a process that holds the host's lock until its input ends."""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen([sys.executable, "-c", HOLD], text=True, **pipes)


def test_two_measurements_keep_apart(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """A second process waits until the first lets go, and says so; a holder that is killed lets go too."""
    monkeypatch.setattr(lock, "PATIENCE_S", 0.2)
    first = holder()
    assert first.stdout.readline() == "held\n"
    second = holder()
    try:
        assert not select.select([second.stdout], [], [], 1)[0]
        first.communicate("\n")
        assert second.stdout.readline() == "held\n"
        threading.Timer(1.0, second.kill).start()
        with lock.alone() as waited_s:
            assert waited_s > 0.2
        assert "waiting for another measurement" in caplog.text
    finally:
        first.kill()
        second.kill()
        first.wait()
        second.wait()
