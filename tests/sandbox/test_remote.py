"""A model in a box answers as outside of it; one that hangs, dies, lies or takes too much is refused by name."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from squares import SIDE, save_network

from harness.errors import HarnessError
from harness.measure.process import predict
from harness.sandbox.limits import Limits
from harness.sandbox.refused import Refused
from harness.sandbox.remote import Remote, open_remote

pytestmark = pytest.mark.skipif(not shutil.which("bwrap"), reason="no bwrap here (Debian: apt-get install bubblewrap)")
IMAGES = np.random.default_rng(0).standard_normal((5, 3, SIDE, SIDE), dtype=np.float32)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small network in a file that its owner alone may read."""
    path = tmp_path_factory.mktemp("model") / "model.onnx"
    save_network(path)
    path.chmod(0o600)
    return path


@pytest.fixture(scope="module")
def remote(model: Path) -> Iterator[Remote]:
    """One box for all that do it no harm."""
    with open_remote(model) as remote:
        remote.load()
        yield remote


@pytest.mark.parametrize("size", [1, 2, 5])
def test_logits_are_those_of_a_process_outside(remote: Remote, model: Path, size: int) -> None:
    assert np.array_equal(remote.predict(IMAGES, size), predict(model, IMAGES))


@pytest.mark.parametrize("runtime", ["onnx", "openvino"])
@pytest.mark.parametrize("threads", [1, 2])
def test_each_engine_runs_with_as_many_threads_as_asked(model: Path, runtime: str, threads: int) -> None:
    pytest.importorskip(runtime if runtime == "openvino" else "onnxruntime")
    with open_remote(model, runtime, threads) as remote:
        remote.load()
        found = remote.predict(IMAGES)
        alone = runtime == "onnx" and threads == 1
        assert (remote.threads() == 1) == alone
    assert np.allclose(found, predict(model, IMAGES), atol=1e-5)


def test_an_engine_that_isnt_there_is_no_part_of_a_box(model: Path) -> None:
    with pytest.raises(HarnessError, match="sandbox: runtime: unknown 'inductor'; allowed: onnx, openvino"):
        open_remote(model, "inductor").__enter__()


def test_runs_go_round_the_images_and_keep_each_ones_last_logits(remote: Remote) -> None:
    whole = remote.predict(IMAGES)
    remote.images(IMAGES)
    remote.run(3, 3)  # the last two, and the first
    assert np.array_equal(remote.logits()[[0, 3, 4]], whole[[0, 3, 4]])
    assert not remote.logits()[[1, 2]].any()
    remote.run(0, 12)
    assert np.array_equal(remote.logits(), whole)


def test_the_parents_clock_sees_the_work_and_little_of_the_way(remote: Remote) -> None:
    remote.images(IMAGES)
    remote.run(0, 50)
    work = np.median([remote.time(0, 200)[0] for _ in range(9)]) / 200
    way = np.median([remote.time(0, 0)[0] for _ in range(99)])
    assert way < 0.1  # ms; 0.01 on a free machine
    assert 5 * work < np.median([remote.time(0, 20)[0] for _ in range(9)]) - way < 80 * work


def test_a_model_that_cannot_be_loaded_is_refused_by_name(tmp_path: Path) -> None:
    junk = tmp_path / "model.onnx"
    junk.write_bytes(b"no model")
    with open_remote(junk) as remote, pytest.raises(Refused, match="the engine says") as e:
        remote.load()
    assert e.value.reason == "load"


def test_a_model_that_fails_on_its_images_is_refused_and_may_go_on(remote: Remote) -> None:
    remote.images(np.zeros((2, 3, SIDE, SIDE + 1), np.float32)[:, :2])
    with pytest.raises(Refused) as e:
        remote.run(0, 1)
    assert e.value.reason == "run"
    assert len(remote.predict(IMAGES)) == len(IMAGES)


def test_a_path_may_be_relative_in_either_mode(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(model.parent)
    for mode in ("strict", "unsafe"):
        with open_remote(Path(model.name), mode=mode) as remote:
            remote.load()
            assert remote.mode == mode


def test_the_box_has_a_copy_of_the_model_that_no_change_of_the_file_reaches(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    save_network(path)
    with open_remote(path) as remote:
        path.write_bytes(b"changed")
        remote.load()
        assert remote.predict(IMAGES).shape == (5, 3)


# --- In the runner's place: programs that speak its protocol, up to a point

ROGUE = """
import os, struct, time
request, reply = struct.Struct("<cxxxIQ"), struct.Struct("<cxxxI")
def ask():
    verb, first, count = request.unpack(read(request.size))
    if verb == b"I":
        read(16 + count)
    return verb
def read(size):
    data = b""
    while len(data) < size:
        data += os.read(0, size - len(data)) or exit(0)
    return data
def answer(data=b""):
    os.write(1, reply.pack(b"K", len(data)) + data)
def until(wanted):
    while (verb := ask()) != wanted:
        answer()
answer()
"""
LOGITS = 4 * 3 * len(IMAGES)
WAYS = {
    "hangs at load": ("until(b'L'); time.sleep(60)", "timeout"),
    "hangs at a run": ("until(b'R'); time.sleep(60)", "timeout"),
    "works without end": ("until(b'R')\nwhile True: pass", "timeout"),
    "stops listening": ("until(b'L'); answer(); time.sleep(60)", "timeout"),
    "answers a byte at a time": ("until(b'G')\nwhile True: os.write(1, b'K'); time.sleep(0.4)", "timeout"),
    "answers without end": ("until(b'G')\nwhile True: os.write(1, bytes(65536))", "protocol"),
    "answers with too much": ("until(b'G'); answer(bytes(1 << 24))", "protocol"),
    "complains without end": ("until(b'L')\nwhile True: os.write(2, bytes(65536))", "timeout"),
    "promises more than it sends": (f"until(b'G'); os.write(1, reply.pack(b'K', {LOGITS}) + bytes(7)); 1/0", "died"),
    "leaves a row out": (f"until(b'G'); answer(bytes({LOGITS} - 12))", "outputs"),
    "sends no logits": ("until(b'G'); answer()", "outputs"),
    "sends what is no number": (f"until(b'G'); answer(b'\\xff' * {LOGITS})", "outputs"),
    "sends an answer ahead": (f"until(b'L'); answer(); answer(bytes({LOGITS})); until(b'x')", "protocol"),
    "exits": ("until(b'R'); exit(3)", "died"),
    "crashes": ("until(b'R')\nimport ctypes; ctypes.string_at(0)", "died"),
    "aborts": ("until(b'R'); os.abort()", "died"),
    "closes its pipes": ("until(b'R'); os.close(0); os.close(1); time.sleep(60)", "timeout"),
    "takes memory": ("until(b'R'); x = [bytearray(b'x') * (1 << 20) for _ in range(4000)]; time.sleep(60)", "memory"),
    "asks for all memory": ("until(b'R'); x = bytearray(1 << 36)", "memory"),
    "forks": ("until(b'R')\nwhile True: os.fork()", "died"),
}


def _use(remote: Remote) -> np.ndarray:
    remote.load()
    remote.images(IMAGES)
    remote.run(0, len(IMAGES))
    return remote.logits()


@pytest.mark.parametrize("way", WAYS)
def test_a_process_that_does_not_do_its_work_is_refused_by_name(way: str, model: Path, tmp_path: Path) -> None:
    code, reason = WAYS[way]
    program = tmp_path / "rogue.py"
    program.write_text(ROGUE + code)
    descriptors = set(os.listdir("/proc/self/fd"))
    start = time.monotonic()
    limits = Limits(wall_s=0.5 if reason == "timeout" else 20, cpu_s=20, memory_mb=300)
    with open_remote(model, limits=limits, program=program) as remote, pytest.raises(Refused) as e:
        _use(remote)
    assert e.value.reason == reason, e.value
    assert time.monotonic() - start < 50
    assert not Path(f"/proc/{remote.pid}").exists()
    assert set(os.listdir("/proc/self/fd")) == descriptors


def test_a_program_that_does_its_work_is_not_refused(model: Path, tmp_path: Path) -> None:
    """The control of the rogues: as they are, but for their ways."""
    program = tmp_path / "honest.py"
    program.write_text(ROGUE + f"while True: answer(bytes({LOGITS}) if ask() == b'G' else b'')")
    with open_remote(model, program=program) as remote:
        logits = _use(remote)
    assert logits.shape == (len(IMAGES), 3) and not logits.any()


def test_cpu_time_has_a_limit_of_its_own(model: Path, tmp_path: Path) -> None:
    program = tmp_path / "busy.py"
    program.write_text(ROGUE + "until(b'R')\nwhile True: pass")
    limits = Limits(wall_s=60, cpu_s=0.5)
    with open_remote(model, limits=limits, program=program) as remote, pytest.raises(Refused) as e:
        _use(remote)
    assert e.value.reason == "cpu"
