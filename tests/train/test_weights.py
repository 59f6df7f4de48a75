"""A training that begins with a run's weights: those and no others, and recorded so that it can be repeated."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from small import PLAIN, SPEC, network, same

from harness.errors import HarnessError
from harness.models.spec import ModelSpec, Stage
from harness.record.candidate import Candidate, Weights
from harness.record.recipe import Recipe
from harness.train import start

CANDIDATE = Candidate(SPEC, 8, PLAIN, Recipe())


def saved(folder: Path) -> Weights:
    """Weights of another seed, as a run leaves them."""
    torch.save(network(seed=7).state_dict(), folder / "weights.pt")
    return start.source(folder / "weights.pt")


def test_it_begins_with_the_weights_of_the_file(tmp_path: Path) -> None:
    """Whatever its seed; without them the seed decides."""
    begun = start.network(replace(CANDIDATE, weights=saved(tmp_path)), 10, seed=1)
    assert same(begun, network(seed=7)) and not same(start.network(CANDIDATE, 10, seed=1), network(seed=7))


def test_another_number_of_classes_keeps_its_own_head(tmp_path: Path) -> None:
    """All but the head is the file's."""
    begun = start.network(replace(CANDIDATE, weights=saved(tmp_path)), 4, seed=1).state_dict()
    theirs, own = network(seed=7).state_dict(), start.network(CANDIDATE, 4, seed=1).state_dict()
    for name, values in begun.items():
        assert torch.equal(values, own[name] if name.startswith("head.") else theirs[name])


def test_the_candidate_on_record_names_file_and_hash(tmp_path: Path) -> None:
    """A candidate without weights is written as ever, so digests of before hold."""
    weights = saved(tmp_path)
    candidate = replace(CANDIDATE, weights=weights)
    assert Candidate.from_dict(candidate.to_dict()) == candidate
    assert candidate.digest() != CANDIDATE.digest() and "weights" not in CANDIDATE.to_dict()


def test_a_file_that_has_changed_is_refused(tmp_path: Path) -> None:
    """By both hashes; so is one that is gone."""
    candidate = replace(CANDIDATE, weights=saved(tmp_path))
    torch.save(network(seed=8).state_dict(), tmp_path / "weights.pt")
    with pytest.raises(
        HarnessError, match=rf"sha256 is [0-9a-f]{{64}}, the candidate names {candidate.weights.sha256}"
    ):
        start.network(candidate, 10, seed=1)
    (tmp_path / "weights.pt").unlink()
    with pytest.raises(HarnessError, match=r"weights=.*weights\.pt: no such file"):
        start.network(candidate, 10, seed=1)


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    """A channel more is another network, and so is a stage more."""
    weights = saved(tmp_path)
    for stages in ((Stage("conv", 24, stride=2), SPEC.stages[1]), (*SPEC.stages, Stage("conv", 32))):
        with pytest.raises(HarnessError, match="of another network: .* differs"):
            start.network(replace(CANDIDATE, model=ModelSpec(stages), weights=weights), 10, seed=1)


def test_a_start_that_would_write_over_them_is_refused(tmp_path: Path) -> None:
    """Whitening replaces the first layers; and a half-named source is no source."""
    with pytest.raises(HarnessError, match="recipe.start=whitened: would write over the weights"):
        replace(CANDIDATE, weights=saved(tmp_path), recipe=Recipe(start="whitened"))
    with pytest.raises(HarnessError, match="c.weights: .*allowed: name and sha256"):
        Candidate.from_dict(CANDIDATE.to_dict() | {"weights": {"name": "x"}}, "c")
