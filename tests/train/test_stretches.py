"""A training in stretches, and in several processes, is the same training."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small import few, network, same, train

from harness.data.augment import Augment
from harness.errors import HarnessError
from harness.record.recipe import Recipe
from harness.train import checkpoint

EPOCHS = 4
RECIPES = st.builds(
    Recipe, epochs=st.just(EPOCHS), batch=st.just(32), ema=st.sampled_from([0.0, 0.9]),
    schedule=st.sampled_from(["cosine", "onecycle", "linear"]),
    optimizer=st.sampled_from([Recipe().optimizer, {"name": "adamw", "lr": 0.01}, {"name": "muon", "lr": 0.05}]),
)  # fmt: skip


@given(recipe=RECIPES, stops=st.lists(st.integers(1, EPOCHS), max_size=3).map(sorted), moves=st.booleans())
@settings(max_examples=8)
def test_stopped_at_rungs_it_ends_as_in_one_go(
    recipe: Recipe, stops: list[int], moves: bool, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Whatever the rungs, the schedule and the optimiser: to the last bit, also from a state in another folder."""
    folder, how, seen = tmp_path_factory.mktemp("stretches"), Augment(1, 9, True, 0.125), []
    straight = train(few(64), recipe, how=how)
    state = None
    for number, stop in enumerate([*stops, EPOCHS]):
        to = folder / (f"{number}.pt" if moves else "state.pt")
        model = train(
            few(64), recipe, how=how, begin=state, stop=stop, save_to=to, save_every_s=1e9,
            on_epoch=lambda e: seen.append(e.number),
        )  # fmt: skip
        state = to if to.exists() else state  # a stretch of no epochs saves none
    assert same(straight, model)
    assert seen == list(range(1, EPOCHS + 1))


def test_a_schedule_as_short_as_its_rung_is_another_training(tmp_path: Path) -> None:
    """Negative control: epoch 2 of 5 isn't epoch 2 of 2, so the horizon is no matter of where it stops."""
    horizon = train(few(64), Recipe(epochs=5, batch=32), stop=2)
    assert not same(horizon, train(few(64), Recipe(epochs=2, batch=32)))


def test_a_state_past_the_stop_is_refused(tmp_path: Path) -> None:
    """What was trained for three epochs can't stop at two; the error names the file and both."""
    saved, recipe = tmp_path / "c.pt", Recipe(epochs=5, batch=32)
    train(few(64), recipe, save_to=saved, stop=3)
    assert checkpoint.load(saved)["epoch"] == 3
    with pytest.raises(HarnessError, match=r"c\.pt: trained for 3 epochs, past epoch 2"):
        train(few(64), recipe, save_to=saved, stop=2)
    with pytest.raises(HarnessError, match=r"nowhere\.pt: not a whole checkpoint"):
        train(few(64), recipe, begin=tmp_path / "nowhere.pt")


RANK = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[4])
import torch
from small import few, train
from test_stretches import plain, DISTRIBUTED
torch.set_num_threads(1)
rank, folder = int(sys.argv[1]), Path(sys.argv[2])
torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2)
model = train(few(90), DISTRIBUTED, plain(), rank=rank, world=2, save_to=folder / f"saved-{rank}.pt")
torch.save(model.state_dict(), folder / f"{rank}.pt")
"""
DISTRIBUTED = Recipe(epochs=2, batch=33)  # shares of 17 and 16


def plain() -> torch.nn.Module:
    """A network without batch norm, which would see its process's share alone."""
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(192, 16), torch.nn.ReLU(), torch.nn.Linear(16, 10))


def test_two_processes_train_what_one_does(tmp_path: Path) -> None:
    """Each with its share of every batch: equal weights to the last bit, and one process's but for rounding.

    Over 5 s: two Pythons import torch. Both shares are needed: one alone trains something else.
    """
    script = [sys.executable, "-c", RANK]
    ranks = [
        subprocess.Popen([*script, str(rank), str(tmp_path), "-", str(Path(__file__).parent)], stderr=subprocess.PIPE)
        for rank in (0, 1)
    ]
    said = [process.communicate(timeout=120)[1].decode() for process in ranks]
    assert [process.returncode for process in ranks] == [0, 0], said
    first, second = (torch.load(tmp_path / f"{rank}.pt") for rank in (0, 1))
    assert all(torch.equal(first[name], second[name]) for name in first)
    alone = train(few(90), DISTRIBUTED, plain()).state_dict()
    assert all(torch.allclose(first[name], alone[name], atol=1e-5) for name in first)
    half = train(few(45), DISTRIBUTED, plain()).state_dict()
    assert not all(torch.allclose(half[name], alone[name], atol=1e-5) for name in first)
    assert (tmp_path / "saved-0.pt").exists() and not (tmp_path / "saved-1.pt").exists()


def test_more_processes_than_images_in_a_batch_are_refused() -> None:
    """One of them would have nothing to learn from."""
    with pytest.raises(HarnessError, match="recipe.batch: 8 images a batch for 9 processes"):
        train(few(64), Recipe(epochs=1, batch=8), network(), world=9)
