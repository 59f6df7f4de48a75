"""W&B: a mirror of what the run folder holds."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

from harness.errors import HarnessError

MODES = ("offline", "online", "disabled")


class Mirror(Protocol):
    """What a run tells the tracker."""

    def log(self, row: dict[str, Any]) -> None:
        """Show one row of metrics."""

    def summary(self, figures: dict[str, Any]) -> None:
        """Show the run's final figures."""


class _Silent:
    def log(self, row: dict[str, Any]) -> None:
        """Show nothing."""

    def summary(self, figures: dict[str, Any]) -> None:
        """Show nothing."""


class _Wandb:
    def __init__(self, run: Any) -> None:
        self.run = run

    def log(self, row: dict[str, Any]) -> None:
        """Log the row at its epoch."""
        self.run.log({k: v for k, v in row.items() if k not in ("time", "epoch")}, step=row.get("epoch"))

    def summary(self, figures: dict[str, Any]) -> None:
        """Set the run's summary."""
        self.run.summary.update(figures)


def check(mode: str) -> None:
    """Refuse an unknown mode."""
    if mode not in MODES:
        raise HarnessError(f"track={mode}: allowed: {', '.join(MODES)}", "use track=offline")


@contextlib.contextmanager
def mirrored(
    mode: str, folder: Path, *, study: str, run: str, job_type: str, config: dict[str, Any]
) -> Iterator[Mirror]:
    """Open a W&B run with id `study-run`, grouped by study; its files lie in the run folder.

    The same command resumes the same W&B run. Trouble with W&B never stops a training: what happened is in the run
    folder; the trouble is written to `wandb-error.txt` there and said once.
    """
    if mode == "disabled":
        yield _Silent()
        return
    import wandb  # half a second that `track=disabled` doesn't pay

    os.environ.setdefault("WANDB_SILENT", "true")
    folder.mkdir(parents=True, exist_ok=True)
    try:
        opened = wandb.init(
            project=os.environ.get("WANDB_PROJECT", "harness"),
            id=f"{study}-{run}",
            name=f"{study}-{run}",
            group=study,
            job_type=job_type,
            config=config,
            dir=str(folder),
            mode=mode,
            resume="allow" if mode == "online" else None,
            settings=wandb.Settings(console="off", x_disable_stats=True, x_disable_meta=True, init_timeout=60),
        )
    except (wandb.Error, OSError) as e:
        (folder / "wandb-error.txt").write_text(f"{e}\n")
        print(f"W&B: {e}\n  the run folder {folder} keeps the record; track=offline or track=disabled avoids this")
        yield _Silent()
        return
    code = 1
    try:
        yield _Wandb(opened)
        code = 0
    finally:
        opened.finish(exit_code=code)
