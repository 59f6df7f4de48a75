"""The probe: fast, and right, and made once."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from small import CPU, network
from torch import nn

from harness.train import probe as probing
from harness.train import probed
from harness.train.precision import Precision
from harness.train.probe import PLAIN, Trainee, fastest, plans, probe


@pytest.fixture(autouse=True)
def knows_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine that has probed nothing yet, and where it keeps what it finds."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "latency-cup" / "precision"


class _WrongBackward(torch.autograd.Function):
    """Right forwards, another direction backwards: what a broken kernel for gradients does."""

    @staticmethod
    def forward(ctx: object, x: torch.Tensor) -> torch.Tensor:
        return x.clone()

    @staticmethod
    def backward(ctx: object, gradient: torch.Tensor) -> torch.Tensor:
        return gradient.roll(1, dims=0)


def busy(seconds: float) -> None:
    """Use the processor: the probe counts its time and not the wall's."""
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass


class Slow(nn.Module):
    """A network that is slow in float32, so that bfloat16 pays; `wrong` is what it does to its output there."""

    def __init__(self, wrong: str = "") -> None:
        super().__init__()
        self.inner, self.wrong = network(), wrong

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not torch.is_autocast_enabled("cpu"):
            busy(0.02)
            return self.inner(x)
        if self.wrong == "backward":
            stage, *rest = self.inner
            return nn.Sequential(*rest)(_WrongBackward.apply(stage(x)))
        y = self.inner(x)
        return {"": y, "noise": y + y.std() * torch.randn_like(y), "nan": y * torch.nan, "sign": -y}[self.wrong]


def test_the_plan_computes_what_float32_does():
    """A network under the plan that the probe returns gives the outputs of plain float32, but for rounding."""
    model = network().eval()
    plan = probe(model, 8, 64, CPU)
    x = torch.randn(32, 3, 8, 8, generator=torch.Generator().manual_seed(3))
    with torch.no_grad(), plan.autocast(CPU):
        found = plan.place(network().eval())(plan.place(x)).float()
    with torch.no_grad():
        wanted = model(x)
    assert (found - wanted).abs().mean() < 0.05 * wanted.std()
    assert plan.images_per_s > 0


def test_bfloat16_is_taken_where_it_pays():
    """A network that is much faster in bfloat16, with the same outputs, is trained in it."""
    assert probe(Slow(), 8, 32, CPU).dtype == "bfloat16"


@pytest.mark.parametrize("wrong", ["noise", "nan", "sign", "backward"])
def test_bfloat16_with_wrong_outputs_or_gradients_is_refused(wrong: str):
    """However fast it is; the test above is the control that speed alone would have taken it."""
    assert probe(Slow(wrong), 8, 32, CPU).dtype == "float32"


@pytest.mark.parametrize("wrong", ["", "noise"])
def test_a_plan_that_wins_at_once_is_held_to_float32_on_16_images_all_the_same(wrong: str):
    """Wrong on 16 images and right on fewer is refused; the control that is right on all of them is taken."""

    class LateWrong(Slow):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            self.wrong = wrong if len(x) >= 16 else ""
            return super().forward(x)

    assert probe(LateWrong(), 8, 64, CPU).dtype == ("float32" if wrong else "bfloat16")


def test_the_probe_leaves_the_network_alone():
    """Neither weights nor the statistics of normalisation move."""
    model = network()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    probe(model, 8, 16, CPU)
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert all(p.grad is None for p in model.parameters())


def trainee(plan: Precision, times: dict[int, list[float]]) -> Trainee:
    """A network of which only the times are looked at."""
    one = Trainee(network(), plan)
    one.times = times
    return one


def test_what_a_step_costs_whatever_its_images_is_told_from_what_an_image_costs():
    """Half the overhead but twice an image's time: slower on 128 images, though faster on the four that were timed."""
    heavy = trainee(PLAIN, {4: [9.0, 1.2, 1.2], 16: [9.0, 1.8, 1.8]})  # 1 + 0.05 an image
    light = trainee(PLAIN, {4: [9.0, 0.9, 0.9], 16: [9.0, 2.1, 2.1]})  # 0.5 + 0.1 an image
    assert heavy.seconds(128) == pytest.approx(1 + 0.05 * 128)
    assert light.seconds(128) == pytest.approx(0.5 + 0.1 * 128)


def test_one_disturbed_step_doesnt_count():
    """Nor does the first one of its size."""
    assert trainee(PLAIN, {16: [9.0, 1.0, 7.0]}).seconds(16) == 1.0


def test_a_network_is_probed_once(knows_nothing: Path, monkeypatch: pytest.MonkeyPatch):
    """Other weights and a batch nearby change nothing; another network, size, batch or number of threads is new."""
    tried = []

    def found(model: nn.Module, resolution_px: int, batch: int) -> Precision:
        tried.append(batch)
        return Precision("contiguous", "float32", float(len(tried)))

    monkeypatch.setattr(probing, "fastest", found)
    first = probe(network(0), 8, 64, CPU)
    assert probe(network(1), 8, 64, CPU) == probe(network(0), 8, 100, CPU) == first and tried == [64]
    probe(network(side_px=16), 16, 64, CPU)
    probe(network(), 8, 128, CPU)
    probe(nn.Sequential(network(), nn.ReLU()), 8, 64, CPU)
    assert tried == [64, 64, 128, 64]
    monkeypatch.setattr(torch, "get_num_threads", lambda: 7)
    probe(network(), 8, 64, CPU)
    assert len(tried) == len(list(knows_nothing.iterdir())) == 5


@pytest.mark.parametrize("ruin", ["damaged", "old", "of_another_version"])
def test_an_answer_that_is_no_good_is_found_anew(knows_nothing: Path, ruin: str):
    """A file that is torn, older than 30 days or from another version of the harness."""
    file = probed.file(network(), 8, 64)
    probed.write(file, PLAIN)
    assert probed.read(file) == PLAIN
    kept = json.loads(file.read_text())
    kept |= {"when": kept["when"] - probed.AGE_S - 1} if ruin == "old" else {"precision": {"format": "posit"}}
    file.write_text(file.read_text()[:-5] if ruin == "damaged" else json.dumps(kept))
    assert probed.read(file) is None


def test_a_cache_that_cant_be_written_costs_the_probe_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):  # fmt: skip
    """Where its folder should be is a file: the answer is there all the same, and the log says what is lost."""
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    monkeypatch.setattr(probing, "fastest", lambda *_: PLAIN)
    assert probe(network(), 8, 64, CPU) == PLAIN
    assert "can't be written" in caplog.text


def test_a_probe_takes_a_second_of_the_processor():
    """Of a network whose steps take long, too: it is tried on few images. A quarter over for what isn't a step."""

    class Long(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = network()

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            busy(0.02 * len(x))
            return self.inner(x)

    begin = time.thread_time()
    fastest(Long(), 8, 128)
    assert time.thread_time() - begin < 1.25 * probing.LIMIT_S


class Watched(nn.Module):
    """A network that notes with how many threads it runs, and on how many images."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = network()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        SEEN.append((torch.get_num_threads(), len(x)))
        return self.inner(x)


SEEN: list[tuple[int, int]] = []


@pytest.mark.parametrize(("others", "threads", "images"), [(True, 1, 32), (False, 2, 64)])
def test_beside_others_one_thread_with_its_share_of_the_batch_stands_for_two(
    others: bool, threads: int, images: int, monkeypatch: pytest.MonkeyPatch
):  # fmt: skip
    """Two would spin for each other; what is said is the throughput of both, and both train afterwards."""
    SEEN.clear()
    monkeypatch.setattr(probing, "crowded", lambda threads: others)
    monkeypatch.setattr(probing, "LIMIT_S", 0.1)
    torch.set_num_threads(2)
    try:
        fastest(Watched(), 8, 64)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(1)
    assert {number for number, _ in SEEN} == {threads} and max(count for _, count in SEEN) <= images


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system pins no process")
def test_neighbours_on_our_processor_are_noticed():
    """Three that never rest, on the one processor that we may use."""
    allowed = os.sched_getaffinity(0)
    neighbours = []
    try:
        os.sched_setaffinity(0, {min(allowed)})
        neighbours += [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(3)]
        busy(0.1)  # of the processor's time: they are up by then
        assert probing.crowded(1)
    finally:
        os.sched_setaffinity(0, allowed)
        for neighbour in neighbours:
            neighbour.kill()
            neighbour.wait()


def test_depthwise_networks_may_be_mixed_and_others_not():
    """Only where a convolution has groups is there something to leave in float32."""
    assert "mixed" not in {plan.dtype for plan in plans(nn.Conv2d(4, 4, 1))}
    assert "mixed" in {plan.dtype for plan in plans(nn.Conv2d(4, 4, 1, groups=4))}
