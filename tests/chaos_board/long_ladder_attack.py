"""1,000 random submissions through the API, with the Ladder and without, for `make chaos`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ladder_attack import Setting, attack, simulated

SUBMISSIONS, PUBLIC, PRIVATE, SEEDS = 1_000, 1_000, 1_000, 24
BOUND, CHANCE = 0.02, 0.0224
"""What the vote may gain; and the standard deviation of the gap of a model that learnt nothing, for two classes."""


@pytest.mark.parametrize("classes", [2, 10])
def test_1000_submissions_through_the_api(classes: int, tmp_path: Path) -> None:
    """Of one attack chance alone makes a gap; so the bound is for the mean of many, below."""
    gaps = {}
    for ladder in (True, False):
        gain = attack(tmp_path / str(ladder), Setting(classes, PUBLIC, PRIVATE, ladder), SUBMISSIONS)
        gaps[ladder] = gain.gap
        print(f"\n{classes} classes, Ladder {ladder}: vote of {gain.chosen}: public {gain.public:.4f}, private "
              f"{gain.private:.4f}, gap {gain.gap:+.4f}")  # fmt: skip
    assert gaps[True] < BOUND + 2 * CHANCE
    assert gaps[False] > 0.1


@pytest.mark.parametrize("classes", [2, 10])
def test_the_mean_over_many_attacks_on_the_rule(classes: int) -> None:
    """Beside it an attacker who knows the Ladder, and lets those vote alone that it showed: it is told, not bounded."""
    for ladder in (True, False):
        found = [simulated(Setting(classes, PUBLIC, PRIVATE, ladder, seed), SUBMISSIONS) for seed in range(SEEDS)]
        for way in found[0]:
            gaps = np.array([of[way] for of in found])
            half = 1.96 * gaps.std(ddof=1) / len(gaps) ** 0.5
            print(f"\n{classes} classes, Ladder {ladder}, {way}: gap {gaps.mean():+.4f} ± {half:.4f}")
            if way == "all_held":
                assert gaps.mean() + half < BOUND if ladder else gaps.mean() > 0.1
