"""Optimisers and schedules."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from small import network

from harness.errors import HarnessError
from harness.record.recipe import Recipe
from harness.train.optimizers import OPTIMIZERS, SCHEDULES, optimizer_of


@pytest.mark.parametrize("name", SCHEDULES)
@given(done=st.floats(0, 1))
def test_a_schedule_is_a_share(name: str, done: float):
    """Over the whole training it stays within 0..1."""
    assert 0 <= SCHEDULES[name](done) <= 1


@pytest.mark.parametrize("name", SCHEDULES)
def test_a_schedule_reaches_its_peak_once_and_ends_near_zero(name: str):
    """It rises to 1, then falls, and at the end hardly anything is left."""
    shares = [SCHEDULES[name](i / 1000) for i in range(1001)]
    top = shares.index(max(shares))
    assert max(shares) == pytest.approx(1, abs=1e-3) and shares[-1] < 1e-6 and shares[0] < 0.01
    assert shares[:top] == sorted(shares[:top]) and shares[top:] == sorted(shares[top:], reverse=True)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"optimizer": {"name": "sdg", "lr": 0.1}},
            "unknown 'sdg'; allowed: adamw, muon, sgd(.|\n)*did you mean 'sgd'",
        ),
        ({"optimizer": {"lr": 0.1}}, "recipe.optimizer.name: unknown 'None'"),
        ({"optimizer": {"name": "sgd"}}, "no lr; it takes lr, momentum, nesterov"),
        ({"optimizer": {"name": "adamw", "lr": 0.1, "momentum": 0.9}}, "adamw: momentum; it takes beta1, beta2, lr"),
        ({"start": "white"}, "recipe.start: unknown 'white'"),
        ({"optimizer": {"name": "muon", "lr": 0.1, "nesterov": True}}, "muon: nesterov; it takes lr, momentum, sgd_lr"),
        ({"schedule": "cosin"}, "recipe.schedule: unknown 'cosin'(.|\n)*did you mean 'cosine'"),
        ({"epochs": 0}, "recipe.epochs=0: allowed: a whole number, 1 to 100,000"),
        ({"batch": 1}, "recipe.batch=1: allowed: a whole number, 2"),
        ({"ema": 1.0}, "recipe.ema=1.0: allowed: a number, 0 to 0.99999"),
        ({"label_smoothing": -0.1}, "recipe.label_smoothing=-0.1"),
        ({"epochs": "many"}, "recipe.epochs='many': allowed: a whole number"),
        ({"optimizer": 5}, "recipe.optimizer=5"),
        ({"optimizer": {"name": "sgd", "lr": -1}}, "recipe.optimizer.lr=-1: allowed: a number"),
        ({"optimizer": {"name": "sgd", "lr": "1e-3"}}, "recipe.optimizer.lr='1e-3': allowed: a number"),
        ({"optimizer": {"name": "adamw", "lr": 0.1, "beta1": 1}}, "recipe.optimizer.beta1=1"),
        ({"optimizer": {"name": "sgd", "lr": 0.1, "nesterov": 1}}, "recipe.optimizer.nesterov=1: allowed: true"),
        ({"optimizer": {"name": "sgd", "lr": 0.1, "momentum": 0, "nesterov": True}}, "with a momentum above 0"),
        ({"weight_decay": math.nan}, "recipe.weight_decay=nan"),
    ],
)
def test_a_wrong_recipe_is_refused_by_name(changes: dict, message: str):
    """The message holds the value, its place and what is allowed."""
    with pytest.raises(HarnessError, match=message):
        Recipe(**changes)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_only_weights_of_more_than_one_dimension_decay(name: str):
    """Biases and normalisation weights stand in a group without decay; every parameter stands in one group."""
    model = network()
    groups = optimizer_of(Recipe(optimizer={"name": name, "lr": 0.1}, weight_decay=0.01), model).param_groups
    decay = {id(p): g["weight_decay"] for g in groups for p in g["params"]}
    assert len(decay) == sum(len(g["params"]) for g in groups) == len(list(model.parameters()))
    assert all(decay[id(p)] == (0.01 if p.ndim > 1 else 0) for p in model.parameters())


def test_a_recipe_survives_its_plain_values():
    """What is recorded builds the same recipe."""
    recipe = Recipe(epochs=3, optimizer={"name": "adamw", "lr": 0.002, "beta1": 0.85}, ema=0.99)
    assert Recipe(**recipe.to_dict()) == recipe
