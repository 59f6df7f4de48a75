"""The whitened start: first outputs of unit variance, later layers that pass their input on."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from small import digits, network
from torch import nn

from harness.data.loader import normalised
from harness.data.prepare import Preprocessing, statistics
from harness.models.build import build
from harness.models.spec import ModelSpec, Stage
from harness.train.start import STARTS, whitened

PIXELS = digits(16).train.pixels
HOW = Preprocessing(16, *statistics(PIXELS))


def responses(weight: torch.Tensor) -> torch.Tensor:
    """Run the first layer's filters over patches that the start has seen, as rows."""
    patches = F.unfold(normalised(torch.from_numpy(PIXELS), HOW, torch.device("cpu")), 3, stride=2)
    return patches.transpose(1, 2).flatten(0, 1) @ weight.flatten(1).T


def first(model: nn.Module) -> nn.Conv2d:
    """Find the first convolution."""
    return next(m for m in model.modules() if isinstance(m, nn.Conv2d))


def test_the_first_layer_whitens_patches():
    """Its responses to the images' own patches have variance 1, or less in rare directions, and don't correlate.

    Negative control: those of the random start do.
    """
    model = build(ModelSpec((Stage("conv", 16), Stage("conv", 32))), 10, 16)
    before = responses(first(model).weight.detach())
    whitened(model, PIXELS, HOW)
    after = responses(first(model).weight.detach())[:, :8]
    covariance = after.T @ after / len(after)
    used = covariance.diag() > 0.5
    assert used.sum() >= 3 and covariance.diag().max() < 1.2
    assert (covariance[used][:, used] - torch.eye(int(used.sum()))).abs().max() < 0.1
    plain = torch.corrcoef(before[:, :8].T) - torch.eye(8)
    assert plain.abs().max() > 0.3


def test_filters_come_with_both_signs():
    """The second half of the chosen filters is the first half, negated."""
    model = build(ModelSpec((Stage("conv", 16),)), 10, 16)
    whitened(model, PIXELS, HOW)
    weight = first(model).weight
    assert torch.equal(weight[:8], -weight[8:16])


def test_later_layers_pass_their_input_on():
    """Each of the first outputs is one input, unchanged, of a 3x3 convolution that widens."""
    model = build(ModelSpec((Stage("conv", 8), Stage("conv", 16))), 10, 16)
    whitened(model, PIXELS, HOW)
    later = [m for m in model.modules() if isinstance(m, nn.Conv2d)][1]
    x = torch.randn(2, 8, 16, 16)
    torch.testing.assert_close(later(x)[:, :8], x)


def test_a_network_without_dense_layers_to_fit_still_starts():
    """Depthwise blocks, a first layer with an odd number of filters, and one that narrows: finite outputs."""
    stages = (Stage("conv", 7), Stage("inverted_v2", 16, options={"expand": 2}), Stage("conv", 4))
    model = build(ModelSpec(stages), 10, 16)
    whitened(model, PIXELS, HOW)
    assert model(torch.randn(4, 3, 16, 16)).isfinite().all()


def test_the_plain_start_changes_nothing():
    """The network stays as it was built."""
    model, twin = network(), network()
    STARTS["he"](model, digits().train.pixels, Preprocessing(8, (0.5,) * 3, (0.5,) * 3))
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), twin.parameters(), strict=True))
