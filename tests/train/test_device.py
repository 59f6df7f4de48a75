"""Devices: which there are, and what each computes in."""

from __future__ import annotations

import pytest
import torch

from harness.errors import HarnessError
from harness.train.device import device_of, half, operators_of
from harness.train.precision import Precision
from harness.train.probe import probe


def test_an_unknown_device_is_refused_with_those_there_are():
    """The message names the value and what is allowed here."""
    with pytest.raises(HarnessError, match="device=gpu: not available; allowed: auto, cpu"):
        device_of("gpu")
    assert device_of("cpu") == torch.device("cpu")


def test_a_macs_graphics_are_refused_where_there_are_none():
    """By the same message as any other."""
    if torch.backends.mps.is_available():
        assert device_of("mps").type == "mps"
    else:
        with pytest.raises(HarnessError, match="device=mps: not available; allowed: auto, cpu"):
            device_of("mps")


@pytest.mark.parametrize(
    ("card", "capability", "dtype"),
    [
        ("V100", (7, 0), "float16"),
        ("T4", (7, 5), "float16"),
        ("A100", (8, 0), "bfloat16"),
        ("H200", (9, 0), "bfloat16"),
    ],
)
def test_cards_before_ampere_train_in_float16(
    card: str, capability: tuple[int, int], dtype: str, monkeypatch: pytest.MonkeyPatch
):  # fmt: skip
    """They have no fast bfloat16."""
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    assert half(capability) == dtype
    assert probe(torch.nn.Conv2d(3, 3, 1), 8, 64, torch.device("cuda")) == Precision("channels_last", dtype), card


def test_an_operator_that_an_accelerator_lacks_is_named():
    """The error of torch, in one line; on a CPU it is no user's doing, and stays as it is."""
    with pytest.raises(HarnessError, match=r"device=mps: .*aten::"), operators_of(torch.device("mps")):
        torch.empty_quantized([2], torch.empty(2, device="meta"))
    with pytest.raises(NotImplementedError), operators_of(torch.device("cpu")):
        torch.empty_quantized([2], torch.empty(2, device="meta"))
