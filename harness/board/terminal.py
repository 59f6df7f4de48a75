"""Boards, entries and the log as tables for a terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from rich.markup import escape
from rich.table import Table

from harness.board.competitions import Hosted
from harness.board.entries import EntryView
from harness.board.local import Key, Row
from harness.board.log import LogRow
from harness.board.quota import moment
from harness.board.rescore import Change
from harness.board.standings import Place
from harness.board.teams import Team


def local_table(key: Key, rows: Sequence[Row]) -> Table:
    """Draw one board for a terminal."""
    title = f"Standings: {key.competition} ({key.digest[:6]}) on {key.data} ({key.fingerprint[:6]})"
    drawn = Table("rank", "name", "points", "F1", "ratio", "latency ms", "size MB", "when (UTC)", title=title)
    for column in drawn.columns:
        column.justify = "left" if column.header in ("name", "when (UTC)") else "right"
    for row in rows:
        drawn.add_row(*_cells(row))
    return drawn


def local_as_json(boards: Mapping[Key, Sequence[Row]]) -> list[dict[str, Any]]:
    """Return the boards as plain JSON values."""
    return [key._asdict() | {"rows": [asdict(row) for row in rows]} for key, rows in boards.items()]


def standings(hosted: Hosted, places: Sequence[Place], part: str) -> Table:
    """Draw the standings of a hosted competition. part: "public" or "private"."""
    title = f"{part} standings: {hosted.name} ({hosted.terms[:6]})"
    drawn = Table(
        "rank", "team", "points", "interval", "F1", "ratio", "latency ms", "timed", "MB", "entries", "when", title=title
    )
    for p in places:
        drawn.add_row(
            "–" if p.rank is None else str(p.rank), p.team, f"{p.points:.4f}", f"{p.low:.4f} – {p.high:.4f}",
            f"{p.f1:.4f}", f"{p.ratio:.4g}", f"{p.latency_ms:.4g}", times(p.timed), f"{p.size_bytes / 1e6:.2f}",
            str(p.entries), moment(p.created),
        )  # fmt: skip
    if part == "public" and hosted.step:
        drawn.caption = (
            f"F1 is shown rounded to {hosted.step:.3g}, the Ladder's step on {hosted.public_images} public images: an "
            "entry moves up when it beats its team's best by one"
        )
    return drawn


def entries(hosted: Hosted, seen: Sequence[EntryView]) -> Table:
    """Draw entries, the newest first."""
    columns = ("entry", "team", "name", "kind", "state", "tries", "F1 shown", "latency ms", "timed", "when", "reason")
    drawn = Table(*columns, title=f"submissions: {hosted.name}")
    for e in seen:
        state = f"{e.state} ({e.stage})" if e.stage else e.state
        figures = ["" if value is None else f"{value:.4g}" for value in (e.f1, e.latency_ms)]
        why = f"{e.reason}: {(e.message or '').splitlines()[0] if e.message else ''}" if e.reason else ""
        cells = (str(e.id), e.team, e.name, e.kind, state, str(e.tries), *figures, times(e.timed), moment(e.created))
        drawn.add_row(*cells, escape(why))
    return drawn


def sessions(seen: Sequence[EntryView]) -> Table | None:
    """Draw each session of the entries that were timed again; None where none was."""
    drawn = Table("entry", "when", "ratio", "interval", "latency ms", "on", title="timed again")
    for e in seen:
        for s in e.sessions if len(e.sessions) > 1 else ():
            when, on = moment(s.at), f"{s.cpu}, {s.engine}" if s.cpu else ""
            if s.reason is None:
                ends = f"{s.ratio_low:.4g} – {s.ratio_high:.4g}"
                drawn.add_row(str(e.id), when, f"{s.ratio:.4g}", ends, f"{s.latency_ms:.4g}", escape(on))
            else:
                drawn.add_row(str(e.id), when, "–", f"doesn't count: {escape(s.reason)}", "–", escape(on))
    return drawn if drawn.row_count else None


def times(timed: int | None) -> str:
    """Say in how many sessions an entry was timed."""
    return "" if timed is None else "once" if timed == 1 else f"{timed} times"


def teams(listed: Sequence[Team]) -> Table:
    """Draw the teams."""
    drawn = Table("team", "token begins", "baseline", "since", "page", title="teams")
    for t in listed:
        token = "revoked" if t.revoked else f"hb_{t.prefix}"
        drawn.add_row(t.name, token, "yes" if t.baseline else "", moment(t.created), escape(t.url))
    return drawn


def log(lines: Sequence[LogRow]) -> Table:
    """Draw rows of the log, the oldest first."""
    drawn = Table("row", "when (UTC)", "who", "what", "detail", "hash", title="log")
    for line in lines:
        drawn.add_row(str(line.id), line.at[:19], line.actor, line.action, escape(line.detail[:200]), line.hash[:12])
    return drawn


def changes(changed: Sequence[Change]) -> Table:
    """Draw the ranks before and after a change of the rules."""
    drawn = Table("team", "public before", "public now", "private before", "private now", title="changed ranks")
    for c in changed:
        ranks = (c.public_before, c.public, c.private_before, c.private)
        drawn.add_row(c.team, *("–" if rank is None else str(rank) for rank in ranks))
    return drawn


def _cells(row: Row) -> list[str]:
    return [
        str(row.rank),
        row.name,
        f"{row.points:.4f}",
        f"{row.f1:.4f}",
        f"{row.ratio:.4g} [{row.ratio_low:.4g} – {row.ratio_high:.4g}]",
        f"{row.latency_ms:.4g}",
        f"{row.size_bytes / 1e6:.2f}",
        row.created[:16].replace("T", " "),
    ]
