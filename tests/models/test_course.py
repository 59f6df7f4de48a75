"""The course's model files, rule by rule."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn
from torchvision.models import mobilenet_v3_large, shufflenet_v2_x0_5

from harness.errors import HarnessError
from harness.models.build import build
from harness.models.course import Images, images_of, read_course
from harness.models.rounding import nearest8
from harness.models.spec import ModelSpec, Stage

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


def test_channels_scale_by_width_and_round_to_the_nearest_eight():
    """Never more than a tenth down; FixedConv, Fire and Linear are as written."""
    found = stages(
        "[1, Conv, [20, 3]], [1, DWConv, [15, 3]], [1, InvertedResidualv2, [33, 4, 1]], [1, FixedConv, [21, 1]],"
        "[1, Fire, [4, 10, 12]], [1, Flatten, []], [1, Linear, [50, ReLU]], [1, Linear, [6]]",
        width=0.5,
    )
    assert [s.channels for s in found] == [16, 8, 16, 21, 22, 0, 50]


# By hand, of the rule in words: the nearest multiple of 8 (half way: up), one more where that is less than nine tenths.
NEAREST = [
    (17.6, 16), (22.0, 24), (33.6, 32), (50.4, 48), (88.08, 88), (1.0, 8), (12.0, 16), (11.9, 16), (10.0, 16),
    (8.8, 8), (8.9, 16), (16.5, 16), (18.0, 24), (17.7, 16), (35.0, 32), (36.0, 40), (100.0, 104), (99.9, 96),
]  # fmt: skip


@pytest.mark.parametrize(("channels", "rounded"), NEAREST)
def test_the_nearest_eight_is_never_more_than_a_tenth_down(channels: float, rounded: int):
    """`make_divisible` of the course's code, which is MobileNet's."""
    assert nearest8(channels) == rounded


def parameters(model: nn.Module) -> int:
    """Count the numbers that are trained."""
    return sum(p.numel() for p in model.parameters())


# Counts at 6 classes of the course's own code (boostcampaitech2/model-optimization-level3-nlp-11, `Model Summary`), run
# once with torch 2.15 on these very texts; ours lacks the last FixedConv's batch norm (12) and adds its bias (6).
MULTIPLES = """
input_channel: 3
depth_multiple: {depth}
width_multiple: {width}
backbone:
  - [1, Conv, [32, 3, 2]]
  - [3, DWConv, [40, 5, 1, null, Hardswish]]
  - [3, InvertedResidualv3, [3, 2.1, 40, 1, 0, 2]]
  - [2, InvertedResidualv2, [50, 3, 1]]
  - [3, Bottleneck, [72, true, 1, 0.5, Hardswish]]
  - [1, GlobalAvgPool, []]
  - [1, FixedConv, [6, 1, 1, null, 1, null]]
"""
COUNTS = {(1.0, 1.0): 122_020, (1.0, 0.75): 77_716, (0.5, 0.5): 26_956, (0.25, 0.25): 7_892, (0.75, 0.55): 37_428}


@pytest.mark.parametrize(("multiples", "expected"), COUNTS.items())
def test_a_file_has_as_many_parameters_as_in_the_courses_code(multiples: tuple[float, float], expected: int):
    """At every multiple of the course's own search space, and at one that a team's study came to."""
    depth, width = multiples
    model = build(read_course(MULTIPLES.format(depth=depth, width=width)), 6, 64)
    assert parameters(model) == expected - 2 * 6 + 6


def test_a_small_file_has_the_parameters_that_pen_and_paper_say():
    """Conv 16, DWConv 16, inverted to 24 by way of 32 with a squeeze to 8; then the head's 24 x 6 + 6."""
    found = stages("[1, Conv, [32, 3, 2]], [1, DWConv, [32, 3, 1]], [1, InvertedResidualv3, [3, 2.1, 40, 1, 0, 2]]",
                   width=0.55)  # fmt: skip
    assert [s.channels for s in found] == [16, 16, 24]
    squeeze = 32 * 8 + 8 + 8 * 32 + 32
    inverted = 16 * 32 + 2 * 32 + 32 * 9 + 2 * 32 + squeeze + 32 * 24 + 2 * 24
    expected = (3 * 16 * 9 + 2 * 16) + (16 * 9 + 2 * 16) + inverted + (24 * 6 + 6)
    assert parameters(build(ModelSpec(found), 6, 64)) == expected == 3086


SHUFFLE = """
input_channel: 3
depth_multiple: 1.0
width_multiple: 1.0
backbone:
  - [1, Conv, [24, 3, 2]]
  - [1, MaxPool, [3, 2, 1]]
  - [1, InvertedResidual, [{four}48, 2]]
  - [3, InvertedResidual, [{four}48, 1]]
  - [1, InvertedResidual, [{four}96, 2]]
  - [7, InvertedResidual, [{four}96, 1]]
  - [1, InvertedResidual, [{four}192, 2]]
  - [3, InvertedResidual, [{four}192, 1]]
  - [1, Conv, [1024, 1]]
  - [1, GlobalAvgPool, []]
  - [1, Flatten, []]
  - [1, Linear, [9]]
"""
EFFICIENTNET = """
input_channel: 3
depth_multiple: 1.0
width_multiple: 1.0
backbone:
  - [1, Conv, [32, 3, 2, null, 1, SiLU]]
  - [1, MBConv, [1, 16, 1, 3]]
  - [2, MBConv, [6, 24, 2, 3]]
  - [2, MBConv, [6, 40, 2, 5]]
  - [3, MBConv, [6, 80, 2, 3]]
  - [3, MBConv, [6, 112, 1, 5]]
  - [4, MBConv, [6, 192, 2, 5]]
  - [1, MBConv, [6, 320, 1, 3]]
  - [1, Conv, [1280, 1, 1, null, 1, SiLU]]
  - [1, GlobalAvgPool, []]
  - [1, Flatten, []]
  - [1, Linear, [6]]
"""
MOBILENET_SMALL = """
input_channel: 3
depth_multiple: 1.0
width_multiple: 1.0
backbone:
  - [1, Conv, [16, 3, 2, null, 1, HardSwish]]
  - [1, InvertedResidualv3, [3, 1, 16, 1, 0, 2]]
  - [1, InvertedResidualv3, [3, 4.5, 24, 0, 0, 2]]
  - [1, InvertedResidualv3, [3, 3.67, 24, 0, 0, 1]]
  - [1, InvertedResidualv3, [5, 4, 40, 1, 1, 2]]
  - [2, InvertedResidualv3, [5, 6, 40, 1, 1, 1]]
  - [1, InvertedResidualv3, [5, 3, 48, 1, 1, 1]]
  - [1, InvertedResidualv3, [5, 3, 48, 1, 1, 1]]
  - [1, InvertedResidualv3, [5, 6, 96, 1, 1, 2]]
  - [2, InvertedResidualv3, [5, 6, 96, 1, 1, 1]]
  - [1, Conv, [576, 1, 1, null, 1, HardSwish]]
  - [1, GlobalAvgPool, []]
  - [1, Flatten, []]
  - [1, Linear, [6]]
"""
# Parameters before the classifier, of the models' pages at torchvision's: whole at 1,000 classes, less the last layers.
PUBLISHED = {
    "shufflenet_v2_x0_5": (SHUFFLE.format(four=""), 1_366_792 - (1024 * 1000 + 1000), 1024),
    "shufflenet_v2_x0_5, four arguments": (SHUFFLE.format(four="3, 1, "), 1_366_792 - (1024 * 1000 + 1000), 1024),
    "efficientnet_b0": (EFFICIENTNET, 5_288_548 - (1280 * 1000 + 1000), 1280),
    "mobilenet_v3_small": (MOBILENET_SMALL, 2_542_856 - (576 * 1024 + 1024 + 1024 * 1000 + 1000), 576),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_known_networks_have_their_published_counts(name: str):
    """Source: https://docs.pytorch.org/vision/stable/models.html#table-of-all-available-classification-weights."""
    text, body, features = PUBLISHED[name]
    assert parameters(build(read_course(text), 6, 64)) == body + features * 6 + 6


def test_shufflenets_unit_computes_what_torchvisions_does():
    """Given torchvision's weights in order, the body returns torchvision's features."""
    theirs = shufflenet_v2_x0_5(num_classes=9).eval()
    body = build(read_course(SHUFFLE.format(four="")), 9, 64).eval()[:-1]
    names = [name for name in theirs.state_dict() if not name.startswith("fc.")]
    units = {unit: i for i, unit in enumerate(dict.fromkeys(name.split(".branch")[0] for name in names))}
    names.sort(key=lambda name: (units[name.split(".branch")[0]], ".branch1" in name))  # ours has the way around last
    weights = [theirs.state_dict()[name] for name in names]
    assert [v.shape for v in body.state_dict().values()] == [v.shape for v in weights]
    body.load_state_dict(dict(zip(body.state_dict(), weights, strict=True)))
    theirs.fc = nn.Identity()
    x = torch.randn(2, 3, 64, 64)
    torch.testing.assert_close(body(x).mean((2, 3)), theirs(x))


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
    rounded = {"se": True, "hardswish": False, "rounding": "nearest"}
    assert (v3.channels, v3.options) == (16, {"kernel": 5, "expand": 2.5} | rounded)
    assert (mb.channels, mb.options) == (24, {"kernel": 5, "expand": 6, "padded": "as_course"})
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
    with pytest.raises(HarnessError, match=r"backbone\.1: unknown 'MobileViT'; allowed: .*InvertedResidualv3"):
        stages("[1, Conv, [8, 3]], [3, MobileViT, [64]]")


# Layers that the modules of teams have, by their own code: (out, in / groups, k, k) and stride of each convolution.
TEAMS = {
    "[2, ResBottleneck, [64, 1, 1, 0.25, HardSwish]]": [
        (4, 16, 1, 1), (4, 4, 3, 1), (16, 4, 1, 1), (16, 16, 1, 1), (16, 16, 3, 1), (64, 16, 1, 1)],
    "[2, FusedMBConv, [4, 24, 2, 3]]": [(64, 16, 3, 2), (24, 64, 1, 1), (96, 24, 3, 1), (24, 96, 1, 1)],
    "[1, FusedMBConv, [1, 16, 1, 3]]": [(16, 16, 3, 1), (16, 16, 1, 1)],
    "[1, Conv, [24, 2, 2]]": [(24, 16, 2, 2)],
    "[1, DWConv, [16, [3, 3], [2, 2], [0]]]": [(16, 1, 3, 2)],
}  # fmt: skip


@pytest.mark.parametrize("line", TEAMS)
def test_modules_of_teams_have_the_layers_that_their_own_code_builds(line: str):
    """Repeats, strides and widths; ResBottleneck widens in its last repeat."""
    model = build(ModelSpec(stages(f"[1, Conv, [16, 3]], {line}")), 6, 16)
    layers = [m for m in model.modules() if isinstance(m, nn.Conv2d)][1:]
    assert [(*m.weight.shape[:3], m.stride[0]) for m in layers] == TEAMS[line]


def test_an_activation_is_the_modules_that_the_course_gives_it_to():
    """A Bottleneck's first convolution, a ResBottleneck's first and last; the slope of LeakyReLU is torch's."""

    def names(line: str) -> list[str]:
        model = build(ModelSpec(stages(f"[1, Conv, [8, 3]], {line}")), 6, 16)[1]
        return [type(m).__name__ for m in model.modules() if "eLU" in type(m).__name__ or "swish" in type(m).__name__]

    assert names("[1, Bottleneck, [16, 1, 1, 0.5, Hardswish]]") == ["Hardswish", "ReLU"]
    assert names("[1, ResBottleneck, [16, 1, 1, 0.5, HardSwish]]") == ["Hardswish", "ReLU", "Hardswish"]
    leaky = build(ModelSpec(stages("[1, Conv, [8, 3, 1, null, 1, LeakyReLU]]")), 6, 16)
    assert [m.negative_slope for m in leaky.modules() if isinstance(m, nn.LeakyReLU)] == [0.01]


@pytest.mark.parametrize(
    ("line", "side_px"),
    [
        ("[1, MaxPool, [3, 2]]", 5),
        ("[1, MaxPool, [3, 2, 0, 1, false, true]]", 6),
        ("[1, AvgPool, [3, 2, 0, true]]", 6),
        ("[1, MaxPool, [3]]", 4),
        ("[1, AvgPool, [[4, 4]]]", 3),
        ("[1, GlobalAvgPool, [2]]", 2),
        ("[1, Conv, [8, 2]]", 13),
        ("[1, Conv, [8, 4, 2]]", 7),
        ("[1, MBConv, [4, 8, 2, 3]]", 6),
    ],
)
def test_maps_have_the_sizes_that_torch_gives_them(line: str, side_px: int):
    """Of a map of 12; MBConv's is of one of 13, where the course's padding makes a difference."""
    side = 13 if "MBConv" in line else 12
    body = build(ModelSpec(stages(f"[1, Conv, [8, 3]], {line}, [1, Conv, [8, 1]]")), 6, side).eval()[:-1]
    assert body(torch.zeros(1, 3, side, side)).shape[2:] == (side_px, side_px)


def test_dropout_stays_where_it_stands_and_does_nothing_afterwards():
    """Before a classifier that is left out, of features that are flat by then; with the course's share."""
    found = stages("[1, Conv, [8, 3]], [1, GlobalAvgPool, []], [1, Flatten, []], [1, Dropout, [0.3]], [1, Linear, [6]]")
    assert [s.block for s in found] == ["conv", "globalavgpool", "flatten", "dropout"]
    model, x = build(ModelSpec(found), 6, 8), torch.randn(4, 3, 8, 8)
    assert [m.p for m in model.modules() if isinstance(m, nn.Dropout)] == [0.3]
    assert torch.equal(model.eval()(x), model(x)) and not torch.equal(model.train()(x), model(x))
    assert stages("[1, Conv, [8, 3]], [1, Dropout, []]")[1].options == {"share": 0.5}


# What isn't understood, and what of it the message has to name.
REFUSED = [
    ("[1, Conv, ['16', 3]]", "Conv: out='16'"),
    ("[1, Conv, [16, [3, 1]]]", "Conv: kernel=[3, 1]"),
    ("[1, Conv, [16, 3.5]]", "Conv: kernel=3.5"),
    ("[1, Conv, [16, null]]", "Conv: kernel=None"),
    ("[1, Conv, [16, 3, [2, 1]]]", "Conv: stride=[2, 1]"),
    ("[1, Conv, [16, 3, 0]]", "Conv: stride=0"),
    ("[1, Conv, [16, 3, 1, same]]", "Conv: padding='same'"),
    ("[1, Conv, [16, 3, 1, [1, 0]]]", "Conv: padding=[1, 0]"),
    ("[1, Conv, [16, 3, 1, null, true]]", "Conv: groups=True"),
    ("[1, Conv, [16, 3, 1, null, 1, None]]", "Conv: activation='None'"),
    ("[1, Conv, [16, 3, 1, null, 1, ReLU, 4]]", "[out, kernel, stride, padding, groups, activation]"),
    ("[1, InvertedResidualv3, [3, 4, 16, 2, 0, 1]]", "InvertedResidualv3: se=2"),
    ("[1, InvertedResidualv3, [3, 4, 16, 'false', 0, 1]]", "InvertedResidualv3: se='false'"),
    ("[1, InvertedResidualv2, [16, 0, 1]]", "InvertedResidualv2: expand=0"),
    ("[1, InvertedResidualv2, [16, 4, 3]]", "InvertedResidualv2: stride=3"),
    ("[1, InvertedResidual, [5, 1, 16, 2]]", "kernel 5"),
    ("[1, InvertedResidual, [24, 1]]", "stride 1 keeps the 8 channels"),
    ("[1, InvertedResidual, [3, 1, 16]]", "takes [out, stride] or [kernel, expand, out, stride]"),
    ("[1, MaxPool, [3, 2, 0, 2]]", "dilation=2"),
    ("[1, MaxPool, [3, 2, 0, 1, true]]", "return_indices=True"),
    ("[1, AvgPool, [3, 2, 0, true, true, 9]]", "divisor_override=9"),
    ("[1, GlobalAvgPool, [2, 3]]", "takes [size]"),
    ("[1, GlobalAvgPool, [[2, 3]]]", "GlobalAvgPool: size=[2, 3]"),
    ("[1, Dropout, [1.5]]", "Dropout: probability=1.5"),
    ("[1, Flatten, [1]]", "Flatten [1]: takes []"),
    ("['2', Conv, [16, 3]]", "Conv: repeat='2'"),
    ("[1.5, Conv, [16, 3]]", "Conv: repeat=1.5"),
    ("[true, Conv, [16, 3]]", "Conv: repeat=True"),
    ("[1, GlobalAvgPool, []], [1, Linear, [6, softmin]]", "Linear: activation='softmin'"),
]


@pytest.mark.parametrize(("line", "said"), REFUSED)
def test_an_argument_that_isnt_understood_is_named(line: str, said: str):
    """With its line, its module and its name; none is ignored, not even the classifier's."""
    with pytest.raises(HarnessError) as caught:
        stages(f"[1, Conv, [8, 3]], {line}")
    last = 2 if "Linear" in line else 1
    assert said in str(caught.value) and f"backbone.{last}: " in str(caught.value)


def test_a_classifiers_activation_is_left_out_with_it():
    """A softmax over the classes, as a team has it, changes no label."""
    assert [s.block for s in stages("[1, Conv, [8, 3]], [1, Flatten, []], [1, Linear, [6, softmax]]")] == [
        "conv",
        "flatten",
    ]


WHOLE = "input_channel: 3\ndepth_multiple: 1.0\nwidth_multiple: 1.0\nbackbone: [[1, Conv, [8, 3]]]\n"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (WHOLE.replace("depth_multiple", "depth_multipel"), "unknown key 'depth_multipel'"),
        (WHOLE + "head: []\n", "unknown key 'head'"),
        (WHOLE.replace("depth_multiple: 1.0\n", ""), "no 'depth_multiple'"),
        (WHOLE.replace("width_multiple: 1.0\n", ""), "no 'width_multiple'"),
        (WHOLE.replace("input_channel: 3\n", ""), "no 'input_channel'"),
        (WHOLE.replace("width_multiple: 1.0", "width_multiple: '0.5'"), "width_multiple='0.5'"),
        (WHOLE.replace("depth_multiple: 1.0", "depth_multiple:"), "depth_multiple=None"),
        (WHOLE.replace("depth_multiple: 1.0", "depth_multiple: .nan"), "depth_multiple=nan"),
        (WHOLE.replace("input_channel: 3", "input_channel: rgb"), "input_channel='rgb'"),
    ],
)
def test_a_key_that_is_missing_misspelt_or_no_number_is_named(text: str, said: str, tmp_path: Path):
    """Where the baseline stops with a KeyError, one error; of a file with its path."""
    path = tmp_path / "model.yaml"
    path.write_text(text)
    with pytest.raises(HarnessError) as caught:
        read_course(path)
    assert said in str(caught.value) and str(path) in str(caught.value) and "Conv takes" not in str(caught.value)


@pytest.mark.parametrize(
    ("line", "side_px"),
    [("", None), ("INPUT_SIZE: [52, 52]", 52), ("input_size: [96, 96]", 96), ("INPUT_SIZE: 40", 40)],
)
def test_the_input_size_of_a_file_is_read(line: str, side_px: int | None):
    """In both spellings that teams use."""
    assert images_of(WHOLE + line) == Images(3, side_px)


@pytest.mark.parametrize("size", ["[52, 64]", "[[52], [52]]", "[52, 52, 3]", "'52'", "[0, 0]", "[]", "null"])
def test_an_input_size_that_isnt_a_square_is_refused(size: str):
    """Its name is in the message."""
    for read in (images_of, read_course):
        with pytest.raises(HarnessError, match="INPUT_SIZE"):
            read(f"{WHOLE}INPUT_SIZE: {size}")


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


@pytest.mark.parametrize("value", ["[" * 5000 + "]" * 5000, "2021-99-01", "9" * 5000], ids=["deep", "date", "digits"])
def test_text_that_yaml_stumbles_over_is_one_error(value):
    """Each once ended in a traceback."""
    with pytest.raises(HarnessError, match="not YAML"):
        read_course(f"backbone:\n  - [1, Conv, [{value}, 3]]\n")
