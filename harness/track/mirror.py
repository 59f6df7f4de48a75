"""W&B: a mirror of what the run folder holds."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

from harness.track import environment

UNFIT = re.compile(r"[^A-Za-z0-9_.\-\u0080-\U0010ffff]")
"""What is replaced in the id of a run: W&B refuses some of it."""
ERROR = "wandb-error.txt"
INIT_S = 20
"""How long W&B may take to open a run online."""


_offline = False  # once W&B's server was away, no later run of this process waits for it


class Mirror(Protocol):
    """What a run tells the tracker."""

    def describe(self, config: dict[str, Any]) -> None:
        """Show more of what the run is."""

    def log(self, row: dict[str, Any]) -> None:
        """Show one row of metrics."""

    def summary(self, figures: dict[str, Any]) -> None:
        """Show the run's final figures."""


class _Silent:
    def describe(self, config: dict[str, Any]) -> None:
        """Show nothing."""

    def log(self, row: dict[str, Any]) -> None:
        """Show nothing."""

    def summary(self, figures: dict[str, Any]) -> None:
        """Show nothing."""


class _Wandb:
    """An open run; after its first trouble it is silent."""

    def __init__(self, run: Any, folder: Path) -> None:
        self.run: Any = run
        self.folder = folder

    def describe(self, config: dict[str, Any]) -> None:
        """Add to the run's config."""
        self._tell(lambda run: run.config.update(config))

    def log(self, row: dict[str, Any]) -> None:
        """Log the row at its epoch."""
        values = {k: v for k, v in row.items() if k not in ("time", "epoch")}
        self._tell(lambda run: run.log(values, step=row.get("epoch")))

    def summary(self, figures: dict[str, Any]) -> None:
        """Set the run's summary."""
        self._tell(lambda run: run.summary.update(figures))

    def finish(self, code: int) -> None:
        """Close the run."""
        self._tell(lambda run: run.finish(exit_code=code))

    def _tell(self, act: Callable[[Any], None]) -> None:
        if self.run is None:
            return
        try:
            act(self.run)
        except Exception as e:  # a dead service raises ConnectionResetError, a full disk something else
            self.run = None
            _trouble(self.folder, e)


def _trouble(folder: Path, e: Exception) -> None:
    (folder / ERROR).write_text(f"{type(e).__name__}: {e}\n", encoding="utf-8")
    environment.say(f"{environment.reason(e)}\n  the run folder {folder} keeps the record; track=disabled avoids this")


def trouble(folder: Path) -> str:
    """Return what went wrong with the mirror of a run folder; '' where nothing did."""
    path = folder / ERROR
    return path.read_text(encoding="utf-8").strip() if path.is_file() else ""


def _opened(mode: str, folder: Path, *, name: str, **more: Any) -> Any:
    """Open a run; offline, for good, where it can't be opened online; None where it can't be opened at all."""
    import wandb  # half a second that `track=disabled` doesn't pay

    global _offline
    for how in ["offline"] if _offline else [mode, "offline"][: 1 + (mode == "online")]:
        try:
            return wandb.init(
                project=environment.project(), id=UNFIT.sub("-", name)[:128], name=name, dir=str(folder), mode=how,
                resume="allow" if how == "online" else None, **more,
                settings=wandb.Settings(console="off", x_disable_stats=True, x_disable_meta=True, init_timeout=INIT_S),
            )  # fmt: skip
        except Exception as e:  # a refused name, an unwritable folder, no network, a setting of the environment
            _trouble(folder, e)
            if how == "online":
                _offline = True
                wandb.teardown()  # its process holds the run's id
    return None


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
    environment.clean()
    os.environ.setdefault("WANDB_SILENT", "true")
    folder.mkdir(parents=True, exist_ok=True)
    opened = _opened(mode, folder, name=f"{study}-{run}", group=study, job_type=job_type, config=config)
    if opened is None:
        yield _Silent()
        return
    mirror, code = _Wandb(opened, folder), 1
    try:
        yield mirror
        code = 0
    finally:
        mirror.finish(code)
