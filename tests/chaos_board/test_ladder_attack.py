"""Random submissions learn little of the public labels. The attack on the rule itself, many times over.

The attack through the API, where each entry is posted and judged, is `long_ladder_attack.py`, in `make chaos`.
"""

from __future__ import annotations

import numpy as np
import pytest
from ladder_attack import Setting, simulated

SUBMISSIONS, SEEDS = 150, 20


def gaps(ladder: bool) -> np.ndarray:
    """Attack 300 labels, whose gap has by chance alone a standard deviation of 0.04, from so many seeds."""
    settings = (Setting(classes=2, public=300, private=300, ladder=ladder, seed=seed) for seed in range(SEEDS))
    return np.array([simulated(setting, SUBMISSIONS)["all_held"] for setting in settings])


@pytest.mark.parametrize(("ladder", "low", "high"), [(True, -0.03, 0.03), (False, 0.1, 1.0)])
def test_the_ladder_holds_the_attack_off(ladder: bool, low: float, high: float) -> None:
    """The mean over the seeds; the control: without the Ladder the attack succeeds."""
    assert low < gaps(ladder).mean() < high
