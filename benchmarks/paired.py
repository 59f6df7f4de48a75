"""What the benchmarks share: the ratio of interleaved runs, and the JSON object that ends their output."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from harness.measure.machine import machine, versions

RESULTS = Path(__file__).resolve().parent / "results"


def compared(ours: Sequence[float], peer: Sequence[float], again: Sequence[float]) -> dict[str, Any]:
    """Compare costs that were measured by turns, round by round: a ratio above 1 means that we are better.

    ours, peer, again: the cost (seconds, say) of each round; `again` is the peer measured a second time.
    Returns `ratio` (median over the rounds), `low`, `high` (their range) and `peer_vs_peer` (lowest, highest).
    """
    ratios, noise = np.divide(peer, ours), np.divide(peer, again)
    return {
        "ratio": _round(np.median(ratios)),
        "low": _round(ratios.min()),
        "high": _round(ratios.max()),
        "peer_vs_peer": [_round(noise.min()), _round(noise.max())],
    }


def publish(name: str, figures: dict[str, Any]) -> None:
    """Write results/NAME.json with the machine and the versions, and print the figures as the last line."""
    result = {"name": name, **figures}
    RESULTS.mkdir(exist_ok=True)
    record = result | {"machine": machine(), "versions": versions()}
    (RESULTS / f"{name}.json").write_text(json.dumps(record, indent=2) + "\n")
    print(json.dumps(result), flush=True)


def _round(value: float) -> float:
    return float(f"{value:.4g}")
