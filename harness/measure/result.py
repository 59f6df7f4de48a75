"""Where a network's cost and its predictions become a result: one way for trials, final training and judge."""

from __future__ import annotations

from typing import Any

import numpy as np

from harness.measure.quality import confusion, macro_f1_of
from harness.record.result import Cost, Result
from harness.rules.competition import Competition
from harness.rules.formulas import scored


def result(
    competition: Competition, cost: Cost, labels: np.ndarray, predicted: np.ndarray, classes: int, **rest: Any
) -> Result:
    """Score predictions at a network's cost. labels, predicted: int (N,). rest: the other fields of `Result`."""
    table = confusion(labels, predicted, classes)
    f1 = macro_f1_of(table)
    counts = tuple(tuple(row) for row in table.tolist())
    return Result(cost=cost, f1=f1, confusion=counts, points=scored(competition, cost, f1), **rest)
