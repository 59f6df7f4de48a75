"""A space suggests what is used, and nothing else; what is recorded is what is built."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

import optuna
import pytest

from harness import config
from harness.errors import HarnessError
from harness.models.build import build
from harness.record.candidate import Candidate
from harness.search.space import check, fixed, suggest

SPACES = config.groups()["space"]
SMALL: dict[str, Any] = {
    "name": "small",
    "min_map_px": 1,
    "resolution_px": {"choice": [8, 16]},
    "model": {
        "stages": [
            {
                "choice": {
                    "conv": {"block": "conv", "channels": {"int": [8, 16], "step": 8}, "stride": {"down": [1, 2]}},
                    "ghost": {"block": "ghost", "channels": 8, "kernel": {"choice": [1, 3]}},
                    "pass": None,
                }
            },
            {"block": "conv", "channels": 8, "stride": {"down": [1, 2]}},
        ]
    },
}


@cache
def space_of(name: str, data: str) -> dict[str, Any]:
    """Compose a space of conf/ as `tune.py` does."""
    return config.load("tune", [f"space={name}", f"data={data}"]).space


def trials(space: dict[str, Any], count: int, seed: int = 0) -> list[tuple[Candidate, optuna.trial.FrozenTrial]]:
    """Draw random trials."""
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed))
    drawn = []
    for _ in range(count):
        trial = study.ask()
        drawn.append((suggest(space, trial), study.get_trials(deepcopy=False)[trial.number]))
    return drawn


def small(**stage: Any) -> dict[str, Any]:
    """Make a space of one convolution."""
    return {"resolution_px": 8, "model": {"stages": [{"block": "conv", "channels": 8} | stage]}}


def test_a_branch_not_taken_suggests_nothing() -> None:
    """What stands beside the chosen branch leaves no parameter."""
    for candidate, trial in trials(SMALL, 60):
        taken = trial.params["model.stages.0"]
        others = [f"model.stages.0.{name}." for name in ("conv", "ghost", "pass") if name != taken]
        assert not any(p.startswith(tuple(others)) for p in trial.params)
        assert ("model.stages.0.conv.channels" in trial.params) == (taken == "conv")
        assert len(candidate.model.stages) == (1 if taken == "pass" else 2)


@pytest.mark.parametrize("data", ["cifar10", "digits"])
@pytest.mark.parametrize("name", SPACES)
def test_one_name_has_one_range(name: str, data: str) -> None:
    """Over many random trials, and a parameter is suggested only under the branches that were taken."""
    ranges: dict[str, Any] = {}
    for _, trial in trials(space_of(name, data), 80):
        for parameter, distribution in trial.distributions.items():
            assert ranges.setdefault(parameter, distribution) == distribution
        for parameter, value in trial.params.items():
            below = [p for p in trial.params if p.startswith(f"{parameter}.")]
            assert all(p.startswith(f"{parameter}.{value}.") for p in below)
    check(space_of(name, data))


@pytest.mark.parametrize("data", ["cifar10", "digits"])
@pytest.mark.parametrize("name", SPACES)
def test_every_candidate_builds_the_same_from_its_record(name: str, data: str) -> None:
    """At each resolution a space allows, random candidates build, and their JSON rebuilds equal networks."""
    for resolution_px in {8, 12, 16} if data == "digits" else {24, 28, 32}:
        space = fixed(space_of(name, data), {"resolution_px": resolution_px})
        for candidate, _ in trials(space, 2, seed=resolution_px):
            assert candidate.resolution_px == resolution_px
            rebuilt = Candidate.from_dict(json.loads(json.dumps(candidate.to_dict())))
            assert rebuilt == candidate and rebuilt.digest() == candidate.digest()
            first, second = (build(c.model, 10, resolution_px).state_dict() for c in (candidate, rebuilt))
            assert {k: v.shape for k, v in first.items()} == {k: v.shape for k, v in second.items()}


def test_the_resolutions_are_those_the_data_set_allows() -> None:
    """No space goes beyond 8, 12, 16 px for digits and 24, 28, 32 px for CIFAR-10."""
    for data, allowed in (("digits", {8, 12, 16}), ("cifar10", {24, 28, 32})):
        for name in SPACES:
            assert {c.resolution_px for c, _ in trials(space_of(name, data), 30)} <= allowed


def test_no_stride_is_suggested_beyond_the_map() -> None:
    """A map of 8 px halves three times at most; later strides are 1 and leave no parameter."""
    space = small(stride={"down": [1, 2]}) | {"min_map_px": 1}
    space["model"]["stages"] *= 6
    for candidate, trial in trials(space, 60):
        strides = [s.stride for s in candidate.model.stages]
        asked = [f"model.stages.{i}.stride" in trial.params for i in range(6)]
        assert strides.count(2) <= 3
        before = [strides[:i].count(2) for i in range(6)]
        assert asked == [b < 3 for b in before]
        build(candidate.model, 2, 8)


@pytest.mark.parametrize(("limits", "most"), [({"max_down": 1}, 1), ({"min_map_px": 4}, 1), ({"min_map_px": 8}, 0)])
def test_limits_on_strides_hold(limits: dict[str, int], most: int) -> None:
    """`max_down` and `min_map_px` each end the halving."""
    space = small(stride={"down": [1, 2]}) | limits
    space["model"]["stages"] *= 3
    assert max([s.stride for s in c.model.stages].count(2) for c, _ in trials(space, 40)) == most


def test_a_fixed_stride_counts_too() -> None:
    """Two written strides leave one on a map of 8 px."""
    space = small(stride=2) | {"min_map_px": 1}
    space["model"]["stages"] = [*space["model"]["stages"] * 2, *small(stride={"down": [2]})["model"]["stages"] * 2]
    (candidate, trial), *_ = trials(space, 1)
    assert [s.stride for s in candidate.model.stages] == [2, 2, 2, 1]
    assert list(trial.params) == ["model.stages.2.stride"]


def test_each_names_the_copies() -> None:
    """A list of one subtree a name, each with parameters of its own."""
    stages = {"each": ["m1", "m2"], "of": {"block": "conv", "channels": {"choice": [8, 16]}}}
    (candidate, trial), *_ = trials({"resolution_px": 8, "model": {"stages": stages}}, 1)
    assert set(trial.params) == {"model.stages.m1.channels", "model.stages.m2.channels"}
    assert len(candidate.model.stages) == 2


def test_fixed_replaces_and_leaves_the_original() -> None:
    """A fixed part is the same in every trial, suggests nothing, and may hold ranges of its own."""
    before = json.dumps(SMALL)
    space = fixed(SMALL, {"resolution_px": 16, "recipe.batch": 32, "recipe.weight_decay": {"float": [0.1, 0.2]}})
    for candidate, trial in trials(space, 20):
        assert (candidate.resolution_px, candidate.recipe.batch) == (16, 32)
        assert 0.1 <= candidate.recipe.weight_decay <= 0.2
        assert "resolution_px" not in trial.params and "recipe.weight_decay" in trial.params
    assert json.dumps(SMALL) == before


def test_the_proxys_fixed_parts_fit_every_space() -> None:
    """`small_cifar` holds the lecture's RandAugment, batch and optimiser in each space, `fast_cifar` its recipe."""
    for name in SPACES:
        settings = config.load("tune", [f"space={name}", "data=cifar10", "proxy=fast_cifar"])
        for candidate, trial in trials(fixed(settings.space, settings.proxy.fix), 5):
            assert (candidate.recipe.optimizer["name"], candidate.recipe.start) == ("muon", "whitened")
            assert not any(p.startswith(("augment", "recipe")) for p in trial.params)
        settings = config.load("tune", [f"space={name}", "data=cifar10", "proxy=small_cifar"])
        for candidate, trial in trials(fixed(settings.space, settings.proxy.fix), 5):
            assert (candidate.augment.n, candidate.augment.m, candidate.recipe.batch) == (2, 15, 128)
            assert candidate.recipe.optimizer["name"] == "sgd"
            assert not any(p.startswith("augment") for p in trial.params)


@pytest.mark.parametrize(
    ("space", "message"),
    [
        (small(channels={"int": [16, 8]}), r"model.stages.0.channels: int \[16, 8\].*\n.*low not above high"),
        (small(channels={"int": [8]}), r"int \[8\]"),
        (small(channels={"int": [8, 16.5]}), r"int \[8, 16.5\].*\n.*whole numbers"),
        (small(channels={"int": [8, 16], "step": 0}), "step 0"),
        (small(channels={"int": [0, 16], "log": True}), "log: true"),
        (small(channels={"int": [8, 16], "log": True, "step": 2}), "log: true"),
        (small(x={"float": ["a", 1]}), "float"),
        (small(x={"float": [float("nan"), 1]}), "float"),
        (small(kernel={"choice": []}), "choice of"),
        (small(kernel={"choice": 3}), "choice of 3"),
        (small(kernel={"choice": [3], "stp": 1}), "'stp' beside 'choice'"),
        (small(stride={"down": [1, 3]}), r"down \[1, 3\]"),
        ({"resolution_px": 8, "model": {"stages": {"each": ["a"]}}}, "each of"),
        ({"resolution_px": 8, "model": {"stages": {"each": ["a", "a"], "of": {}}}}, "each of"),
        (small() | {"recipes": {}}, "unknown part 'recipes'.*\n.*did you mean 'recipe'"),
        (small() | {"recipe": {"optimizer": {"choice": {"a": {"name": "sgd"}}}}}, "no lr"),
        ({"model": small()["model"]}, "no 'resolution_px'"),
    ],
)
def test_check_refuses_a_bad_space(space: dict[str, Any], message: str) -> None:
    """Before a study starts, with the place and what is allowed."""
    with pytest.raises(HarnessError, match=message):
        check(space)


def test_check_looks_into_every_branch() -> None:
    """A mistake in the middle branch, or in a choice within a choice, is found before it is drawn."""
    bad = {"block": "conv", "channels": {"int": [2, 1]}}
    good = small()["model"]["stages"][0]
    nested = {"choice": {"a": good, "b": {"choice": {"c": good, "d": good, "e": bad}}, "f": None}}
    for stage in ({"choice": {"a": good, "b": bad, "c": good}}, nested):
        with pytest.raises(HarnessError, match=r"int \[2, 1\]"):
            check({"resolution_px": 8, "model": {"stages": [good, stage]}})


def test_what_has_no_names_is_fixed_as_a_whole() -> None:
    """A path into a list of stages is an error that says so."""
    with pytest.raises(HarnessError, match="can't fix 'stages.0': 'stages' has no named parts"):
        fixed(SMALL, {"model.stages.0": None})
