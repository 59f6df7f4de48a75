"""From a description to a network, and what is said when that cannot be."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from harness.errors import HarnessError
from harness.models.build import build
from harness.models.spec import ModelSpec, Stage

SPEC = ModelSpec((Stage("conv", 16, 3, 2, "last"), Stage("inverted_v3", 24, 2, 2, options={"se": True, "expand": 3})))


def strides(model: nn.Module) -> list[int]:
    """The strides of a network's convolutions, in order."""
    return [m.stride[0] for m in model.modules() if isinstance(m, nn.Conv2d)]


def test_the_same_seed_draws_the_same_weights_and_another_seed_others():
    """A seed rebuilds a network exactly."""
    a, b, c = (build(SPEC, 10, 16, seed=s).state_dict() for s in (3, 3, 4))
    assert all(torch.equal(a[k], b[k]) for k in a)
    assert any(not torch.equal(a[k], c[k]) for k in a)


def test_building_draws_nothing_from_the_global_generator():
    """A run's random numbers do not depend on how many networks were built before."""
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    build(SPEC, 10, 16)
    assert torch.equal(torch.rand(3), expected)


def test_a_described_network_survives_its_json():
    """What is recorded rebuilds the same network."""
    again = ModelSpec.from_dict(SPEC.to_dict())
    x = torch.randn(2, 3, 16, 16)
    assert torch.equal(build(SPEC, 10, 16).eval()(x), build(again, 10, 16).eval()(x))


def test_our_own_multiples_scale_as_the_courses_do():
    """To the nearest multiple of 8 and never more than a tenth down; at 1.0 channels stay as they are written."""
    stages = [{"block": "conv", "channels": c, "repeat": 3} for c in (32, 40, 20)]
    found = ModelSpec.from_dict({"stages": stages, "width_multiple": 0.55, "depth_multiple": 0.5}).stages
    assert [(s.channels, s.repeat) for s in found] == [(16, 2), (24, 2), (16, 2)]
    assert [s.channels for s in ModelSpec.from_dict({"stages": stages}).stages] == [32, 40, 20]


def test_the_stride_falls_on_the_repeat_that_the_stage_names():
    """The first or the last of the repeats, never both."""
    for on, expected in (("first", [2, 1, 1]), ("last", [1, 1, 2])):
        assert strides(build(ModelSpec((Stage("conv", 8, 3, 2, on),)), 4, 16)) == expected


@pytest.mark.parametrize(("resolution_px", "in_channels"), [(8, 1), (33, 3), (224, 3)])
def test_a_network_takes_any_resolution_and_channel_count(resolution_px: int, in_channels: int):
    """Digits, odd sizes and photographs."""
    model = build(SPEC, 7, resolution_px, in_channels).eval()
    assert model(torch.zeros(1, in_channels, resolution_px, resolution_px)).shape == (1, 7)


@pytest.mark.parametrize("block", ["conv", "dwconv", "inverted_v2"])
def test_weights_neither_blow_up_nor_vanish_through_a_deep_network(block: str):
    """After ten layers with batch normalisation idle (eval mode, fresh), the signal is still of the order of one."""
    model = build(ModelSpec((Stage("conv", 32), Stage(block, 32, 10))), 4, 32).eval()[:-1]
    x = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    assert 0.01 < model(x).detach().std() < 100


def refused(*stages: Stage, resolution_px: int = 16) -> str:
    """Build what cannot be built and return what the user reads."""
    with pytest.raises(HarnessError) as caught:
        build(ModelSpec(stages), 4, resolution_px)
    return str(caught.value)


def test_an_unknown_block_is_answered_with_the_known_ones():
    """With the stage, the nearest name and the list."""
    said = refused(Stage("conv", 8), Stage("shuffle2", 8))
    assert "model.stages.1" in said and "did you mean 'shufflev2'" in said and "repvgg" in said


def test_an_unknown_option_is_answered_with_the_options_and_their_defaults():
    """They come from the block's own signature."""
    said = refused(Stage("conv", 8, options={"kernal": 5}))
    assert "model.stages.0 (conv)" in said and "'kernal'" in said and "kernel=3" in said and "groups=1" in said
    assert "did you mean 'kernel'" in said


BAD = [
    (Stage("conv", 8, options={"kernel": "3"}), "kernel='3'"),
    (Stage("conv", 8, options={"kernel": True}), "kernel=True"),
    (Stage("inverted_v3", 8, options={"se": 1}), "se=1"),
    (Stage("conv", 8, options={"kernel": 4}), "kernel 4"),
    (Stage("dwconv", 8, options={"kernel": 0}), "kernel 0"),
    (Stage("conv", 8, options={"activation": "rellu"}), "'rellu'"),
    (Stage("conv", 8, options={"groups": 2}), "groups 2"),
    (Stage("conv", 8, stride=17), "stride 17"),
    (Stage("conv", 8, stride=2.0), "stride 2.0"),
    (Stage("conv", 8, repeat=0), "repeat 0"),
    (Stage("conv", -8), "channels -8"),
    (Stage("conv", 8, stride_on="middle"), "'middle'"),
    (Stage("shufflev2", 9), "channels 9"),
    (Stage("ghost", 9), "channels 9"),
    (Stage("fire", 8, options={"wide": 1.0}), "wide 1.0"),
    (Stage("mbconv", 8, options={"expand": 0.0}), "expand 0.0"),
    (Stage("maxpool", 8), "channels 8"),
    (Stage("maxpool", options={"padding": 3}), "padding 3"),
    (Stage("globalavgpool", stride=2), "stride 2"),
    (Stage("conv", 8, options={"kernel": 17, "padding": 0}), "3x16x16"),
    (Stage("linear", 8), "3x16x16"),
]


@pytest.mark.parametrize(("stage", "value"), BAD, ids=[v for _, v in BAD])
def test_a_bad_value_is_named_with_its_stage(stage: Stage, value: str):
    """The value, where it stood, and what to do next."""
    said = refused(stage)
    assert f"model.stages.0 ({stage.block})" in said and value in said and "\n  do: " in said


def test_a_stride_with_nothing_left_to_shrink_is_refused():
    """8 px bear three strides; the fourth would be recorded without being built."""
    down = [Stage("conv", 8, stride=2)] * 4
    build(ModelSpec(tuple(down)), 4, 16)
    assert "model.stages.3" in refused(*down, resolution_px=8)
