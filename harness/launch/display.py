"""What a person sees of a study that runs: live in a terminal, a line now and then anywhere else."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from datetime import datetime, timedelta
from types import TracebackType

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table

from harness.study import progress
from harness.study.progress import Progress

EVERY_S = 30.0
"""How long after one line about the running trials the next may come, where no terminal shows them."""
MOST_ROWS, MOST_NAMED = 10, 4
"""Running trials that a terminal shows, and that a line names."""


class Display:
    """Trials that have ended, each in a line that stays, and below them how far the study and the running trials are.

    total, done: trials of the budget, and those finished before this command.
    """

    def __init__(self, study: str, *, total: int, done: int) -> None:
        self._study, self._total, self._before, self._begin = study, total, done, time.monotonic()
        self._said, self._due = "", 0.0
        self._idle = "no trial is running yet: a worker loads the data first"
        self._live: Live | None = None
        if sys.stdout.isatty():
            self._live = Live(self._page(done, [], ""), auto_refresh=False, console=Console(file=sys.stdout))

    def __enter__(self) -> Display:
        if self._live:
            self._live.start(refresh=True)
        return self

    def __exit__(self, _kind: type | None, _error: BaseException | None, _trace: TracebackType | None) -> None:
        if self._live:
            self._live.stop()

    def say(self, line: str) -> None:
        """Print a line that stays."""
        if self._live:
            self._live.console.print(line, markup=False, highlight=False, soft_wrap=True)
        else:
            print(line, flush=True)

    def show(self, done: int, running: Sequence[Progress], note: str) -> None:
        """Show how many trials are finished, how far those that run are, and a note."""
        if self._live:
            self._live.update(self._page(done, running, note), refresh=True)
            return
        told = _line(running)
        if told and told != self._said and time.monotonic() >= self._due:
            print(f"{done} of {self._total} finished; running: {told}", flush=True)
            self._said, self._due = told, time.monotonic() + EVERY_S

    def _page(self, done: int, running: Sequence[Progress], note: str) -> RenderableType:
        top = Table.grid(padding=(0, 1))
        bar = ProgressBar(total=self._total, completed=done, width=30)
        top.add_row(self._study, bar, f"{done} of {self._total} trials{self._end(done)}", note)
        if not running:
            return Group(top, "" if done >= self._total else self._idle)
        self._idle = "no trial is running at the moment"
        table = Table("trial", "worker", *progress.COLUMNS, box=None, padding=(0, 1))
        for one in running[:MOST_ROWS]:
            table.add_row(str(one.trial), one.worker, *progress.cells(one))
        more = len(running) - MOST_ROWS
        rest = [f"and {more} more: python -m harness status study={self._study}"] if more > 0 else []
        return Group(top, table, *rest)

    def _end(self, done: int) -> str:
        """Say when the budget is finished at the rate of this command so far."""
        finished = done - self._before
        if not finished or done >= self._total:
            return ""
        left_s = (time.monotonic() - self._begin) / finished * (self._total - done)
        return (
            f", expected end in {timedelta(seconds=round(left_s))}, {datetime.now() + timedelta(seconds=left_s):%H:%M}"
        )


def _line(running: Sequence[Progress]) -> str:
    """Name the first trials that have something to show."""
    known = [one for one in running if one.latency_ms is not None]
    rest = f"; and {len(known) - MOST_NAMED} more" if len(known) > MOST_NAMED else ""
    return "; ".join(progress.words(one) for one in known[:MOST_NAMED]) + rest
