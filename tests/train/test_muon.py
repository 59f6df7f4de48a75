"""Muon: filters move along orthogonal directions and keep their norm; everything else moves as under SGD."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from harness.train.muon import Muon, orthogonal


def matrix(rows: int, columns: int, seed: int) -> torch.Tensor:
    """Draw a matrix with singular values from 1 down to 0.1."""
    draw = torch.Generator().manual_seed(seed)
    u, _, v = torch.linalg.svd(torch.randn(rows, columns, generator=draw), full_matrices=False)
    return u @ torch.diag(torch.linspace(1, 0.1, len(v))) @ v


@given(st.integers(2, 40), st.integers(2, 40), st.integers(0, 1000))
def test_the_singular_vectors_stay_and_the_values_come_near_to_one(rows: int, columns: int, seed: int) -> None:
    """The larger half of the singular values ends within 0.6..1.3, and no direction changes into another's."""
    given_ = matrix(rows, columns, seed)
    found = orthogonal(given_).float()
    assert found.shape == given_.shape
    u, _, v = torch.linalg.svd(given_, full_matrices=False)
    seen = u.T @ found @ v.T  # diagonal, if the singular vectors are the same
    half = (len(seen) + 1) // 2
    assert (seen.diag()[:half] > 0.6).all() and (seen.diag() < 1.3).all()
    assert (seen - torch.diag(seen.diag())).abs().max() < 0.05


def test_a_plain_gradient_is_not_orthogonal() -> None:
    """The control: before the iteration the smallest singular value is a tenth of the largest, after it not a third."""
    given_ = matrix(16, 32, 0)
    before, after = (torch.linalg.svdvals(m.float()) for m in (given_, orthogonal(given_)))
    assert before[-1] / before[0] < 0.11 and after[-1] / after[0] > 0.3


def test_filters_keep_their_norm_and_the_rest_moves_as_under_sgd() -> None:
    """One step with weight decay: a linear layer and a bias end where torch's SGD takes them."""
    torch.manual_seed(0)
    parts = [nn.Conv2d(3, 8, 3).weight, nn.Linear(8, 4).weight, nn.Linear(8, 4).bias]
    for part in parts:
        part.grad = torch.randn_like(part)
    twins = [nn.Parameter(p.detach().clone()) for p in parts]
    for twin, part in zip(twins, parts, strict=True):
        twin.grad = part.grad.clone()
    groups = [{"params": parts, "weight_decay": 0.01}]
    sgd = torch.optim.SGD(twins[1:], lr=0.1, momentum=0.85, nesterov=True, weight_decay=0.01)
    muon = Muon(groups, lr=0.1)
    for _ in range(3):
        muon.step()
        sgd.step()
    for part, twin in zip(parts[1:], twins[1:], strict=True):
        torch.testing.assert_close(part, twin)
    assert parts[0].norm().item() == pytest.approx(8**0.5, rel=0.2)
    assert not torch.equal(parts[0], twins[0])


def test_a_filter_without_a_gradient_stays() -> None:
    """A frozen layer is left alone."""
    weight = nn.Conv2d(3, 8, 3).weight
    before = weight.detach().clone()
    Muon([{"params": [weight]}], lr=0.1).step()
    assert torch.equal(weight, before)
