"""The Pareto set of a study: no trial is both better and faster."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from optuna.trial import FrozenTrial
from rich.table import Table

from harness.record import files
from harness.rules import pareto
from harness.search.attributes import candidate_of, result_of


def front(trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    """Return the finished trials that no other beats in F1 and latency ratio at once, fastest first."""
    return [
        trial for trial, _ in pareto.front([(t, result_of(t)) for t in trials], lambda p: (p[1].f1, p[1].cost.ratio))
    ]


def save(trials: Sequence[FrozenTrial], folder: Path) -> list[Path]:
    """Write each trial's candidate as a file that `train.py candidate=` takes."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for trial in trials:
        path = folder / f"trial-{trial.number:05d}.json"
        files.write_json(path, candidate_of(trial).to_dict())
        paths.append(path)
    return paths


def table(trials: Sequence[FrozenTrial], title: str) -> Table:
    """Lay the trials out for reading."""
    shown = Table(title=title)
    for name in ("trial", "points", "F1", "latency ms", "ratio", "timed", "MMACs", "params", "px", "blocks"):
        shown.add_column(name, justify="left" if name == "blocks" else "right")
    for t in trials:
        result, cost, candidate = result_of(t), result_of(t).cost, candidate_of(t)
        stages = candidate.model.stages
        times = [f"x{s.repeat}" if s.repeat > 1 else "" for s in stages]
        blocks = " ".join(f"{s.block}{s.channels}{x}" for s, x in zip(stages, times, strict=True))
        shown.add_row(
            str(t.number), as_text(result.points), as_text(result.f1), f"{cost.latency_ms:.4f}", f"{cost.ratio:.3f}",
            f"{cost.sessions}x", f"{cost.macs / 1e6:.2f}", f"{cost.parameters:,}", str(candidate.resolution_px), blocks,
        )  # fmt: skip
    return shown


def as_text(value: float | None) -> str:
    """Write points or an F1; a formula that ranks whole boards gives a trial no points."""
    return "-" if value is None else f"{value:.4f}"
