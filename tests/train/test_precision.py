"""The probe: fast, and right."""

from __future__ import annotations

import time

import pytest
import torch
from small import CPU, network
from torch import nn

from harness.errors import HarnessError
from harness.train.device import device_of
from harness.train.precision import Precision, fixed, probe


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
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass


class Slow(nn.Module):
    """A network that is slow in float32, so that bfloat16 pays; `wrong` is what it does to its output there."""

    def __init__(self, wrong: str = "") -> None:
        super().__init__()
        self.inner, self.wrong = network(), wrong

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not torch.is_autocast_enabled("cpu"):
            busy(0.05)
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
    assert probe(Slow(), 8, 16, CPU).dtype == "bfloat16"


@pytest.mark.parametrize("wrong", ["noise", "nan", "sign", "backward"])
def test_bfloat16_with_wrong_outputs_or_gradients_is_refused(wrong: str):
    """However fast it is; the test above is the control that speed alone would have taken it."""
    assert probe(Slow(wrong), 8, 16, CPU).dtype == "float32"


def test_mixed_runs_convolutions_with_groups_in_float32_and_the_others_in_bfloat16():
    """Seen from outside: a depthwise convolution is exact to float32, a dense one rounds; both hand bfloat16 on."""
    torch.manual_seed(0)
    x = torch.randn(2, 8, 8, 8).bfloat16().float()
    for groups, exact in ((8, True), (2, True), (1, False)):
        layer = nn.Conv2d(8, 8, 3, groups=groups, bias=False)
        with Precision(dtype="mixed").autocast(CPU):
            found = layer(x)
        wanted = layer(x)
        assert found.dtype == torch.bfloat16
        assert torch.equal(found, wanted.bfloat16()) == exact


def test_mixed_gradients_are_float32s_but_for_rounding():
    """Through a depthwise and a dense layer."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3, groups=8))
    found = []
    for dtype in ("float32", "mixed"):
        net.zero_grad()
        torch.manual_seed(1)
        with Precision(dtype=dtype).autocast(CPU):
            y = net(torch.randn(4, 3, 8, 8))
        y.float().square().mean().backward()
        found.append([p.grad.clone() for p in net.parameters()])
    for plain, mixed in zip(*found, strict=True):
        torch.testing.assert_close(mixed, plain, rtol=0.05, atol=0.01)


def test_a_fixed_precision_needs_both_parts():
    """Auto for both asks the probe; a misspelt name or half a choice is refused, and what is allowed is named."""
    assert fixed("auto", "auto") is None
    assert fixed("contiguous", "mixed") == Precision("contiguous", "mixed")
    with pytest.raises(HarnessError, match=r"dtype=float16: allowed: auto, float32, bfloat16, mixed"):
        fixed("auto", "float16")
    with pytest.raises(HarnessError, match=r"layout=nchw: allowed: auto, channels_last, contiguous"):
        fixed("nchw", "auto")
    with pytest.raises(HarnessError, match="one is fixed"):
        fixed("auto", "float32")


def test_the_probe_leaves_the_network_alone():
    """Neither weights nor the statistics of normalisation move."""
    model = network()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    probe(model, 8, 16, CPU)
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert all(p.grad is None for p in model.parameters())


def test_a_plan_survives_its_plain_values():
    """A resumed run reads the very plan that the first sitting found."""
    plan = Precision("contiguous", "bfloat16", 12.5)
    assert Precision(**plan.to_dict()) == plan


def test_an_unknown_device_is_refused_with_those_there_are():
    """The message names the value and what is allowed here."""
    with pytest.raises(HarnessError, match="device=gpu: not available; allowed: auto, cpu"):
        device_of("gpu")
    assert device_of("cpu") == CPU
