"""A duplicate is what trains the same, however it is described and whatever it is exported to."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from harness.data.augment import Augment
from harness.measure.cache import graph
from harness.models.build import BLOCKS, build
from harness.models.spec import ModelSpec, Stage
from harness.models.training_graph import training_graph
from harness.record.candidate import Candidate
from harness.record.recipe import Recipe
from harness.runtime.export import export
from harness.search.duplicates import built

PX = 8


def candidate(*stages: Stage, **changed: Any) -> Candidate:
    """A candidate of these stages, on 8 px."""
    return replace(Candidate(ModelSpec(stages), PX, Augment(), Recipe()), **changed)


def digest(*stages: Stage, seed: int = 0, **changed: Any) -> str:
    """What is hashed of a candidate of these stages."""
    made = candidate(*stages, **changed)
    return built(made, build(made.model, 10, made.resolution_px, seed=seed))


def conv(channels: int = 32, **more: Any) -> Stage:
    """A convolution; what isn't a stage's own is the block's option."""
    return Stage.from_dict({"block": "conv", "channels": channels} | more)


def test_repvgg_is_no_duplicate_of_the_convolution_that_it_is_exported_as(tmp_path: Path) -> None:
    """Its artefact has the same graph, and it trains 4,352 weights more."""
    dense, branched = (conv(32), conv(128)), (conv(32), Stage("repvgg", 128))
    models = [build(ModelSpec(stages), 10, PX) for stages in (dense, branched)]
    assert [sum(p.numel() for p in m.parameters()) for m in models] == [39_338, 43_690]
    graphs = [graph(export(m, PX, tmp_path / f"{i}.onnx")) for i, m in enumerate(models)]
    assert graphs[0] == graphs[1], "the artefacts can't tell them apart: the negative control"
    assert digest(*dense) != digest(*branched)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ((conv(repeat=2),), (conv(), conv())),
        ((conv(), conv(64, residual=True)), (conv(), conv(64))),
        ((conv(padding=1),), (conv(),)),
        ((Stage("dwconv", 32), Stage("dwconv", 32)), (Stage("dwconv", 32), conv(groups=32))),
        ((conv(activation="swish"),), (conv(activation="silu"),)),
        ((conv(stride=2, stride_on="first"),), (conv(stride=2, stride_on="last"),)),
    ],
)  # fmt: skip
def test_two_descriptions_of_one_training_network_are_the_same(
    one: tuple[Stage, ...], other: tuple[Stage, ...]
) -> None:
    """Repeats or stages, an option without effect, one block or another that builds it; with whatever weights."""
    assert candidate(*one).digest() != candidate(*other).digest()
    assert digest(*one) == digest(*other, seed=7)


DIFFER = (
    (conv(),), (conv(16),), (conv(kernel=5),), (conv(groups=1), conv()), (conv(stride=2),), (conv(activation="gelu"),),
    (conv(activation="leakyrelu"),), (conv(), conv(groups=2)), (conv(), conv(residual=True)), (conv(padding=0),),
    (conv(), Stage("repvgg", 32)), (conv(), conv(), Stage("maxpool", stride=2)), (conv(), conv(stride=2)),
    (conv(), conv(), Stage("avgpool", stride=2)), (conv(), Stage("maxpool", stride=2), conv()),
)  # fmt: skip


def test_each_other_network_is_another() -> None:
    """Operations, their order, shapes and options."""
    assert len({digest(*stages) for stages in DIFFER}) == len(DIFFER)


def test_no_block_is_taken_for_another() -> None:
    """After one convolution, each as it is by default."""
    plain = {name: digest(conv(), Stage(name, 32)) for name in BLOCKS if name not in ("flatten", "linear")}
    assert len(set(plain.values())) == len(plain)


def test_recipe_augmentation_and_resolution_tell_candidates_apart() -> None:
    """The network being the same."""
    others = [{}, {"resolution_px": 16}, {"recipe": Recipe(batch=32)}, {"augment": Augment(n=1, m=3)}]
    assert len({digest(conv(), **changed) for changed in others}) == len(others)


def test_looking_leaves_the_network_and_the_random_numbers_alone() -> None:
    """It is a copy without numbers that is run; the statistics of normalisation stay."""
    model = build(ModelSpec((conv(), Stage("ghost", 32, options={"se": True}))), 10, PX)
    before, state = {k: v.clone() for k, v in model.state_dict().items()}, torch.random.get_rng_state()
    assert training_graph(model, PX) == training_graph(model, PX)
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert torch.equal(torch.random.get_rng_state(), state) and model.training


def test_weights_that_are_shared_or_frozen_are_seen() -> None:
    """The same shapes by other tensors, or some that don't train, are another network."""
    stages = ModelSpec((conv(), conv(), conv()))
    plain, shared, frozen = (build(stages, 10, PX) for _ in range(3))
    shared.stage2[0][0].weight = shared.stage1[0][0].weight
    frozen.stage2[0][0].weight.requires_grad_(False)
    graphs = [training_graph(model, PX) for model in (plain, shared, frozen)]
    assert graphs[0] != graphs[1] and graphs[0] != graphs[2]
