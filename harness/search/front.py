"""The Pareto set of a study: no trial is both better and faster."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from optuna.trial import FrozenTrial
from rich.table import Table

from harness.record import files
from harness.rules import pareto


def front(trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    """Return the finished trials that no other beats in F1 and latency ratio at once, fastest first."""
    return pareto.front(trials, lambda t: (t.user_attrs["figures"]["f1"], t.user_attrs["figures"]["ratio"]))


def save(trials: Sequence[FrozenTrial], folder: Path) -> list[Path]:
    """Write each trial's candidate as a file that `train.py candidate=` takes."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for trial in trials:
        path = folder / f"trial-{trial.number:05d}.json"
        files.write_json(path, trial.user_attrs["candidate"])
        paths.append(path)
    return paths


def table(trials: Sequence[FrozenTrial], title: str) -> Table:
    """Lay the trials out for reading."""
    shown = Table(title=title)
    for name in ("trial", "points", "F1", "latency ms", "ratio", "MMACs", "params", "px", "blocks"):
        shown.add_column(name, justify="left" if name == "blocks" else "right")
    for t in trials:
        f, candidate = t.user_attrs["figures"], t.user_attrs["candidate"]
        stages = candidate["model"]["stages"]
        times = [f"x{s['repeat']}" if s["repeat"] > 1 else "" for s in stages]
        blocks = " ".join(f"{s['block']}{s['channels']}{x}" for s, x in zip(stages, times, strict=True))
        shown.add_row(
            str(t.number), f"{f['points']:.4f}", f"{f['f1']:.4f}", f"{f['latency_ms']:.4f}", f"{f['ratio']:.3f}",
            f"{f['macs'] / 1e6:.2f}", f"{f['parameters']:,}", str(candidate["resolution_px"]), blocks,
        )  # fmt: skip
    return shown
