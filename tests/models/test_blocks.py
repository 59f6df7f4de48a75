"""The contract that every block keeps."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from torch import Tensor, nn

from harness.models.build import BLOCKS, build, export_ready, options_of
from harness.models.spec import ModelSpec, Stage

KEEPS = ("maxpool", "avgpool", "globalavgpool", "flatten", "dropout")  # keep their channels
UNSTRIDED = ("globalavgpool", "flatten", "linear", "dropout")
CASES = [(block, stride) for block in BLOCKS for stride in (1, 2) if stride == 1 or block not in UNSTRIDED]
every_case = pytest.mark.parametrize(("block", "stride"), CASES)


def small_net(block: str, stride: int, resolution_px: int = 8, **options) -> nn.Module:
    """One block twice, once where shapes change and once where they agree, between a convolution and the head."""
    before = [Stage("flatten")] if block == "linear" else []
    stage = Stage(block, 0 if block in KEEPS else 16, 2, stride, options=options)
    return build(ModelSpec((Stage("conv", 8), *before, stage)), 5, resolution_px)


def settle(model: nn.Module) -> nn.Module:
    """Give every batch normalisation statistics and weights of its own, as training would."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for norm in (m for m in model.modules() if isinstance(m, nn.BatchNorm2d)):
            norm.running_mean.normal_(0, 0.3, generator=generator)
            norm.running_var.uniform_(0.5, 2, generator=generator)
            norm.weight.uniform_(0.5, 1.5, generator=generator)
            norm.bias.normal_(0, 0.3, generator=generator)
    return model.eval()


def images(count: int, resolution_px: int) -> Tensor:
    """Fixed noise in the shape of images."""
    return torch.randn(count, 3, resolution_px, resolution_px, generator=torch.Generator().manual_seed(2))


@pytest.mark.parametrize("resolution_px", [8, 32, 64])
@every_case
def test_a_block_halves_the_map_at_stride_2_and_keeps_it_at_stride_1(block: str, stride: int, resolution_px: int):
    """Shapes are right for every block, stride and resolution, and the network ends in the classes."""
    model = small_net(block, stride, resolution_px).eval()
    x = images(2, resolution_px)
    assert model(x).shape == (2, 5)
    out = model[:-1](x)
    if block not in UNSTRIDED:
        assert out.shape == (2, 8 if block in KEEPS else 16, resolution_px // stride, resolution_px // stride)


@every_case
def test_every_parameter_gets_a_finite_gradient(block: str, stride: int):
    """No parameter is left out of the graph."""
    model = small_net(block, stride)
    model(images(4, 8)).square().sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), name


@every_case
def test_an_image_is_classified_alike_in_any_company(block: str, stride: int):
    """In eval mode the other images of a batch change nothing."""
    model, batch = settle(small_net(block, stride)), images(4, 8)
    torch.testing.assert_close(model(batch)[:1], model(batch[:1]), atol=1e-5, rtol=1e-4)


@every_case
def test_the_exported_block_computes_the_same_for_any_batch_size(block: str, stride: int, tmp_path: Path):
    """ONNX Runtime agrees with torch within 1e-4, at batches other than the traced one."""
    model = settle(small_net(block, stride))
    session = onnxruntime.InferenceSession(exported(model, tmp_path))
    for count in (1, 3):
        x = images(count, 8)
        (found,) = session.run(None, {"images": x.numpy()})
        np.testing.assert_allclose(found, model(x).detach().numpy(), atol=1e-4, rtol=1e-4)


def exported(model: nn.Module, folder: Path) -> str:
    """Write a network to ONNX as the harness does."""
    path = str(folder / "model.onnx")
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            export_ready(model),
            (torch.zeros(1, 3, 8, 8),),
            path,
            dynamo=False,
            opset_version=17,
            input_names=["images"],
            dynamic_axes={"images": {0: "N"}},
        )
    return path


ANOTHER = {  # for each option, a value that is not a default
    "kernel": 5,
    "activation": "HardSwish",
    "groups": 2,
    "residual": True,
    "padding": 0,
    "expansion": 0.75,
    "expand": 3.0,
    "se": True,
    "hardswish": True,
    "rounding": "nearest",
    "last_activation": "hardswish",
    "middle_activation": "hardswish",
    "padded": "as_course",
    "ceil": True,
    "count_padding": False,
    "size": 2,
    "share": 0.25,
    "squeeze": 0.25,
    "wide": 0.25,
}


@pytest.mark.parametrize(("block", "option"), [(b, o) for b in BLOCKS for o in options_of(b)])
def test_every_option_changes_the_network(block: str, option: str):
    """No option is accepted and then ignored: what is recorded is what is built."""
    value = not options_of(block)[option] if option == "residual" else ANOTHER[option]
    strides = (1,) if block in UNSTRIDED else (1, 2)  # some make a difference at stride 2 alone
    beside = {"rounding": {"expand": 2.1, "se": True}}.get(option, {})  # nothing to round at the default

    def outputs(**options) -> list[Tensor]:
        torch.manual_seed(0)  # of dropout, which does something while training alone
        models = [settle(small_net(block, s, **beside, **options)).train(block == "dropout") for s in strides]
        return [model[: -1 if option == "size" else None](images(2, 8)) for model in models]  # the head averages it all

    plain, changed = outputs(), outputs(**{option: value})
    assert any(a.shape != b.shape or not torch.allclose(a, b) for a, b in zip(plain, changed, strict=True))


def test_dwconv_is_depthwise_where_channels_agree_and_grouped_elsewhere():
    """Groups are the greatest common divisor of both channel counts."""
    for cin, cout, groups in ((16, 16, 16), (16, 24, 8), (3, 16, 1)):
        assert BLOCKS["dwconv"](cin, cout, 1)[0].groups == groups


@pytest.mark.parametrize("block", ["inverted_v2", "inverted_v3", "mbconv"])
def test_an_inverted_residual_convolves_depthwise_and_does_not_widen_at_expand_1(block: str):
    """The kxk convolution has a group a channel; expand 1 leaves the first 1x1 out."""
    wide, narrow = (
        [
            m
            for m in BLOCKS[block](16, 24, 1, expand=e).modules()
            if isinstance(m, nn.Conv2d) and m.kernel_size != (1, 1)
        ]
        for e in (4.0, 1.0)
    )
    assert [m.groups for m in wide] == [64] and [m.groups for m in narrow] == [16]
    convs = sum(isinstance(m, nn.Conv2d) for m in BLOCKS[block](16, 24, 1, expand=4.0).modules())
    assert sum(isinstance(m, nn.Conv2d) for m in BLOCKS[block](16, 24, 1, expand=1.0).modules()) == convs - 1


def test_shufflev2_interleaves_its_halves():
    """Even channels are the untouched half at stride 1."""
    x = torch.randn(2, 8, 4, 4)
    torch.testing.assert_close(BLOCKS["shufflev2"](8, 8, 1).eval()(x)[:, ::2], x[:, :4])


def test_residual_conv_adds_its_input():
    """With the convolution at zero, relu(input) is left; without `residual`, nothing."""
    x = torch.randn(1, 8, 4, 4)
    for residual, expected in ((True, x.relu()), (False, torch.zeros_like(x))):
        block = BLOCKS["conv"](8, 8, 1, residual=residual).eval()
        for layer in (m for m in block.modules() if isinstance(m, nn.Conv2d)):
            nn.init.zeros_(layer.weight)
        torch.testing.assert_close(block(x), expected)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("cin", [8, 16])
def test_repvgg_fuses_into_one_convolution_that_computes_the_same(cin: int, stride: int):
    """Equal within 1e-4 whatever the statistics, with and without the identity branch."""
    block = settle(BLOCKS["repvgg"](cin, 16, stride))
    fused, x = export_ready(nn.Sequential(block)), torch.randn(4, cin, 8, 8)
    assert sum(isinstance(m, nn.Conv2d) for m in fused.modules()) == 1
    assert not any(isinstance(m, nn.BatchNorm2d) for m in fused.modules())
    torch.testing.assert_close(fused(x), block(x), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    ("block", "options"),
    [
        ("maxpool", {"ceil": True, "padding": 0}),
        ("avgpool", {"ceil": True, "count_padding": False}),
        ("globalavgpool", {"size": 3}),  # of a map that it doesn't divide
        ("mbconv", {"padded": "as_course", "kernel": 5}),
        ("conv", {"kernel": 2, "padding": 1}),
        ("conv", {"activation": "mish"}),
        ("conv", {"activation": "prelu"}),
        ("conv", {"activation": "celu"}),
        ("conv", {"activation": "softmax"}),
    ],
)
def test_what_course_files_need_is_exported_too(block: str, options: dict, tmp_path: Path):
    """ONNX Runtime agrees with torch, on maps of 8 and at stride 2, options that no other test exports."""
    for stride in (1,) if block in UNSTRIDED else (1, 2):
        model, x = settle(small_net(block, stride, **options)), images(3, 8)
        (found,) = onnxruntime.InferenceSession(exported(model, tmp_path)).run(None, {"images": x.numpy()})
        np.testing.assert_allclose(found, model(x).detach().numpy(), atol=1e-4, rtol=1e-4)


def test_several_means_are_torchs(tmp_path: Path):
    """Parts that overlap where they don't divide the map."""
    x = images(2, 7)
    torch.testing.assert_close(BLOCKS["globalavgpool"](3, 3, 1, size=3)(x), nn.functional.adaptive_avg_pool2d(x, 3))


@pytest.mark.parametrize(("side_px", "evenly", "as_course"), [(8, 4, 4), (7, 4, 3)])
@pytest.mark.parametrize("block", ["mbconv", "fused_mbconv"])
def test_the_courses_padding_halves_odd_maps_rounding_down(block: str, side_px: int, evenly: int, as_course: int):
    """By the rule kernel - stride: (7 + 1 - 3) // 2 + 1 = 3, where the same on both sides gives 4."""
    for padded, side in (("evenly", evenly), ("as_course", as_course)):
        for kernel in (3, 5):
            x = BLOCKS[block](8, 16, 2, kernel=kernel, padded=padded).eval()(torch.zeros(1, 8, side_px, side_px))
            assert x.shape[2:] == (side, side)


def test_what_was_recorded_before_builds_the_network_of_before():
    """Our own descriptions that name no rounding, no slope and no padding mean what they meant: up, 0.1, evenly.

    Shapes and values are those of version 0.5.
    """
    v3 = BLOCKS["inverted_v3"](24, 24, 1, expand=3.67, se=True)
    assert [tuple(p.shape[:2]) for p in v3.parameters() if p.dim() == 4] == [
        (96, 24), (96, 1), (24, 96), (96, 24), (24, 96)
    ]  # fmt: skip
    assert next(BLOCKS["ghost"](24, 24, 1, expand=2.1).parameters()).shape[0] == 56 // 2
    slope = [m for m in BLOCKS["conv"](3, 8, 1, activation="LeakyReLU").modules() if isinstance(m, nn.LeakyReLU)]
    assert slope[0].negative_slope == 0.1
    both = [m for m in BLOCKS["short_bottleneck"](8, 8, 1, activation="hardswish").modules()]
    assert sum(isinstance(m, nn.Hardswish) for m in both) == 2
    assert not any(isinstance(m, nn.ZeroPad2d) for m in BLOCKS["mbconv"](8, 8, 2).modules())


def test_repvgg_without_its_identity_branch_would_not_compute_the_same():
    """The negative control of the test above: it can fail."""
    block, x = settle(BLOCKS["repvgg"](16, 16, 1)), torch.randn(4, 16, 8, 8)
    expected = block(x)
    block.skip = None
    assert not torch.allclose(block.fuse()(x), expected, atol=1e-2)


def test_export_ready_leaves_the_trained_network_as_it_is():
    """The copy is fused and in eval mode, the original keeps its branches and its mode."""
    model = small_net("repvgg", 1)
    names = list(model.state_dict())
    ready = export_ready(model)
    assert not ready.training and all(not m.training for m in ready.modules())
    assert model.training and list(model.state_dict()) == names != list(ready.state_dict())
