"""The probe: fast, and right."""

from __future__ import annotations

import time

import pytest
import torch
from small import CPU, network
from torch import nn

from harness.errors import HarnessError
from harness.train.device import device_of
from harness.train.precision import Precision, probe


class Slow(nn.Module):
    """A network that is slow in float32, so that bfloat16 pays; `wrong` is what it does to its output there."""

    def __init__(self, wrong: str = "") -> None:
        super().__init__()
        self.inner, self.wrong = network(), wrong

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not torch.is_autocast_enabled("cpu"):
            time.sleep(0.05)
            return self.inner(x)
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


@pytest.mark.parametrize("wrong", ["noise", "nan", "sign"])
def test_bfloat16_with_wrong_outputs_is_refused(wrong: str):
    """However fast it is; the test above is the control that speed alone would have taken it."""
    assert probe(Slow(wrong), 8, 16, CPU).dtype == "float32"


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
