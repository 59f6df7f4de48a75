"""The course's model files, rule by rule."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn
from torchvision.models import mobilenet_v3_large

from harness.errors import HarnessError
from harness.models.build import build
from harness.models.course import read_course
from harness.models.spec import Stage

COURSE = Path(__file__).parent / "course"


def stages(backbone: str, depth: float = 1.0, width: float = 1.0) -> tuple[Stage, ...]:
    """Read a backbone written in a line, under the two multiples."""
    text = f"input_channel: 3\ndepth_multiple: {depth}\nwidth_multiple: {width}\nbackbone: [{backbone}]"
    return read_course(text).stages


def test_the_mobilenet_file_computes_what_torchvisions_network_does():
    """Given torchvision's weights in order, the body that was read returns torchvision's features."""
    theirs = mobilenet_v3_large(num_classes=10).features.eval()
    body = build(read_course(COURSE / "mobilenetv3_large.yaml"), 10, 64).eval()[
        : -len(("pool", "hidden", "flat", "head"))
    ]
    weights = list(theirs.state_dict().values())
    own = body.state_dict()
    assert [v.shape for v in own.values()] == [v.shape for v in weights]
    body.load_state_dict(dict(zip(own, weights, strict=True)))
    for norm in (m for m in body.modules() if isinstance(m, nn.BatchNorm2d)):
        norm.eps = 0.001  # torchvision's for this network
    x = torch.randn(2, 3, 64, 64)
    torch.testing.assert_close(body(x), theirs(x))


@pytest.mark.parametrize("depth", [0.5, 1.0])
@pytest.mark.parametrize("width", [0.25, 1.0])
@pytest.mark.parametrize("name", ["mobilenetv3_large", "mixed"])
def test_a_course_file_builds_at_any_multiple(name: str, depth: float, width: float):
    """Old model files become networks for any number of classes, smaller with smaller multiples."""
    text = (COURSE / f"{name}.yaml").read_text()
    text = text.replace("depth_multiple", f"depth_multiple: {depth} #").replace(
        "width_multiple", f"width_multiple: {width} #"
    )
    model = build(read_course(text), 11, 64).eval()
    assert model(torch.zeros(1, 3, 64, 64)).shape == (1, 11)


def test_repeats_scale_by_depth_only_above_one():
    """max(round(repeat * depth), 1); a single one stays."""
    found = stages("[1, Conv, [8, 3]], [4, Conv, [8, 3]], [5, Conv, [8, 3]], [2, Conv, [8, 3]]", depth=0.25)
    assert [s.repeat for s in found] == [1, 1, 1, 1]
    assert [s.repeat for s in stages("[7, Conv, [8, 3]], [1, Conv, [8, 3]]", depth=0.75)] == [5, 1]


def test_channels_scale_by_width_and_round_up_to_eights():
    """Up, never to the nearest; FixedConv, Fire and Linear are as written."""
    found = stages(
        "[1, Conv, [20, 3]], [1, DWConv, [15, 3]], [1, InvertedResidualv2, [33, 4, 1]], [1, FixedConv, [21, 1]],"
        "[1, Fire, [4, 10, 12]], [1, Flatten, []], [1, Linear, [50, ReLU]], [1, Linear, [6]]",
        width=0.5,
    )
    assert [s.channels for s in found] == [16, 8, 24, 21, 22, 0, 50]


def test_the_stride_is_last_for_convolutions_and_first_for_inverted_residuals():
    """The course's own rule, module by module, up to the built layers."""
    found = stages(
        "[2, Conv, [8, 3, 2]], [2, DWConv, [8, 3, 2]], [2, InvertedResidualv2, [8, 4, 2]],"
        "[2, InvertedResidualv3, [3, 4, 8, 0, 0, 2]], [2, MBConv, [4, 8, 2, 3]], [1, Linear, [6]]"
    )
    assert [s.stride_on for s in found] == ["last", "last", "first", "first", "first"]
    assert all(s.stride == 2 for s in found)


def test_arguments_reach_the_block_in_the_courses_order():
    """Kernel, expansion, SE and activation are where each module has them."""
    v3, mb, conv, dw = stages(
        "[1, InvertedResidualv3, [5, 2.5, 16, 1, 0, 1]], [1, MBConv, [6, 24, 1, 5]],"
        "[1, Conv, [32, 3, 1, null, 2, HardSwish]], [1, DWConv, [32, 5, 1, null, null]]"
    )
    assert (v3.channels, v3.options) == (16, {"kernel": 5, "expand": 2.5, "se": True, "hardswish": False})
    assert (mb.channels, mb.options) == (24, {"kernel": 5, "expand": 6})
    assert conv.options == {"kernel": 3, "activation": "HardSwish", "groups": 2}
    assert dw.options == {"kernel": 5, "activation": "identity"}


def test_padding_null_and_zero_keep_the_size_and_a_list_means_what_it_says():
    """The baseline's `padding or kernel // 2`."""
    found = stages("[1, Conv, [8, 7, 2, null]], [1, Conv, [8, 7, 2, 0]], [1, Conv, [8, 7, 2, [0]]]")
    assert [s.options.get("padding") for s in found] == [None, None, 0]


def test_a_bottleneck_changes_channels_in_its_last_repeat():
    """The ones before it keep those that come in."""
    found = stages("[1, Conv, [16, 3]], [3, Bottleneck, [32]]")
    assert [(s.block, s.channels, s.repeat) for s in found[1:]] == [
        ("short_bottleneck", 16, 2),
        ("short_bottleneck", 32, 1),
    ]


def test_shufflenet_multiplies_channels_by_its_stride():
    """The teams' own argument: the stride alone."""
    found = stages("[1, Conv, [24, 3]], [1, ShuffleNetV2, [2]], [3, ShuffleNetV2, [1]], [1, ShuffleNetV2, [60, 2]]")
    assert [s.channels for s in found[1:]] == [48, 48, 48, 48, 64]


def test_pooling_strides_by_its_kernel_and_in_every_repeat():
    """As torch's MaxPool2d(*args), once a repeat."""
    found = stages("[2, MaxPool, [2]], [1, AvgPool, [3, 1, 1]]")
    assert [(s.block, s.stride, s.options["kernel"]) for s in found] == [
        ("maxpool", 2, 2),
        ("maxpool", 2, 2),
        ("avgpool", 1, 3),
    ]


TAILS = [
    ("[1, GlobalAvgPool, []], [1, FixedConv, [6, 1, 1, null, 1, null]]", []),
    ("[1, GlobalAvgPool, []], [1, Flatten, []], [1, Linear, [6]]", []),
    ("[1, FixedConv, [6, 1]], [1, GlobalAvgPool, []], [1, Flatten, []]", []),
    ("[1, Flatten, []], [1, Linear, [6]]", ["flatten"]),
    ("[1, GlobalAvgPool, []], [1, Flatten, []], [1, Linear, [64, ReLU]], [1, Linear, [6]]",
     ["globalavgpool", "flatten", "linear"]),
    ("[1, GlobalAvgPool, []], [1, Conv, [64, 1]], [1, Flatten, []], [1, Linear, [6]]",
     ["globalavgpool", "conv", "flatten"]),
]  # fmt: skip


@pytest.mark.parametrize(("tail", "kept"), TAILS)
def test_the_classifier_is_left_to_the_builder_and_hidden_layers_are_kept(tail: str, kept: list[str]):
    """Whatever the old number of classes, only what comes before the last layer is read."""
    assert [s.block for s in stages(f"[1, Conv, [16, 3]], {tail}")] == ["conv", *kept]


def test_an_unknown_module_is_answered_with_its_place_and_the_known_ones():
    """A team's own module is named, not skipped."""
    with pytest.raises(HarnessError, match=r"backbone\.1: unknown 'ResBottleneck'; allowed: .*InvertedResidualv3"):
        stages("[1, Conv, [8, 3]], [3, ResBottleneck, [64]]")


def test_wrong_arguments_are_answered_with_the_modules_order():
    """Too few or too many."""
    with pytest.raises(HarnessError, match=r"backbone\.0: InvertedResidualv2 \[32\].*\[out, expand, stride\]"):
        stages("[1, InvertedResidualv2, [32]]")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("backbone: [[1, Conv]]", "backbone.0"),
        ("backbone: [[0, Conv, [8, 3]]]", "backbone.0"),
        ("stages: []", "backbone"),
        ("backbone: [", "not YAML"),
        ("nowhere/model.yaml", "no such file"),
    ],
)
def test_what_is_no_course_model_is_refused(text: str, said: str):
    """With what was wrong and where."""
    with pytest.raises(HarnessError) as caught:
        read_course(text)
    assert said in str(caught.value)
