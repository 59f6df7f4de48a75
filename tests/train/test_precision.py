"""Layouts and number formats: what they compute, and which may be asked for."""

from __future__ import annotations

import pytest
import torch
from small import CPU
from torch import nn

from harness.errors import HarnessError
from harness.train.precision import Precision, fixed


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
    assert fixed("channels_last", "float16") == Precision("channels_last", "float16")
    with pytest.raises(HarnessError, match=r"dtype=float64: allowed: auto, float32, bfloat16, float16, mixed"):
        fixed("auto", "float64")
    with pytest.raises(HarnessError, match=r"layout=nchw: allowed: auto, channels_last, contiguous"):
        fixed("nchw", "auto")
    with pytest.raises(HarnessError, match="one is fixed"):
        fixed("auto", "float32")


def test_a_plan_survives_its_plain_values():
    """A resumed run reads the very plan that the first sitting found."""
    plan = Precision("contiguous", "bfloat16", 12.5)
    assert Precision(**plan.to_dict()) == plan
