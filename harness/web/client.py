"""A team's end: an entry sent to a competition's server, and watched until its verdict."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlsplit

import httpx
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn
from rich.table import Table

from harness.errors import HarnessError
from harness.record import manifest
from harness.record.files import sha256
from harness.record.manifest import MANIFEST, MODEL, PREDICTIONS

FILES = {"model": MODEL, "predictions": PREDICTIONS, "manifest": MANIFEST}
TRIES = 6
FIRST_PAUSE_S, LAST_PAUSE_S = 1.0, 15.0
POLL_S = 1.0
PASSING = {408, 502, 503, 504}
"""Statuses after which the same request is sent again: it is safe, as the same files make one entry only."""
FIGURES = (
    "points", "f1", "latency_ms", "latency_low_ms", "latency_high_ms", "ratio", "macs", "size_bytes", "agreement",
    "points_private", "f1_private", "sandbox",
)  # fmt: skip
ENDED = ("COMPLETE", "FAIL")


@dataclass(frozen=True)
class Board:
    """A competition's server, asked with a team's token; announce: gets a line of what goes on."""

    client: httpx.Client
    announce: Callable[[str], None]

    def ask(self, path: str) -> dict[str, Any]:
        """Read something."""
        return self._sure(lambda: self.client.get(path))

    def send(self, folder: Path, debug: bool, sent: Callable[[int], None]) -> dict[str, Any]:
        """Send an entry's files. sent: gets how many bytes of them have gone, from 0 again when sent anew."""

        def once() -> httpx.Response:
            sent(0)
            with ExitStack() as open_files:
                files = {
                    part: (name, _Counted(open_files.enter_context((folder / name).open("rb")), sent))
                    for part, name in FILES.items()
                }
                data = {"kind": "debug" if debug else "scored"}
                return self.client.post("/api/entries", data=data, files=files)  # type: ignore[arg-type]

        return self._sure(once)

    def _sure(self, act: Callable[[], httpx.Response]) -> dict[str, Any]:
        """Get an answer, though a connection breaks now and then."""
        pause_s = FIRST_PAUSE_S
        for left in reversed(range(TRIES)):
            try:
                reply = act()
                why = f"status {reply.status_code}"
                if reply.status_code not in PASSING or not left:
                    return _understood(reply)
            except httpx.TransportError as e:
                why = str(e) or type(e).__name__
                if not left:
                    fix = "nothing is lost: the same command goes on where this ended"
                    raise HarnessError(f"url={self.client.base_url}: no answer: {why}", fix) from e
            self.announce(f"no answer yet ({why}); again in {pause_s:.0f} s")
            time.sleep(pause_s)
            pause_s = min(2 * pause_s, LAST_PAUSE_S)
        raise AssertionError("unreachable")


class _Counted:
    """A file that tells how much of it was read; httpx takes its size and sends it piece by piece."""

    def __init__(self, file: IO[bytes], sent: Callable[[int], None]) -> None:
        self._file, self._sent = file, sent
        self.seek, self.tell, self.fileno = file.seek, file.tell, file.fileno

    def read(self, size: int = -1) -> bytes:
        chunk = self._file.read(size)
        if chunk:
            self._sent(len(chunk))
        return chunk


def submit(folder: Path, url: str, token: str, *, debug: bool = False, wait: bool = True) -> dict[str, Any]:
    """Send an entry to a competition's server, and watch it until its verdict; return the entry as the API tells it.

    Raises:
        HarnessError: the entry was refused, at once or by the judge; or the server can't be reached.
    """
    console = Console(stderr=True)
    _check_entry(folder)
    with httpx.Client(
        base_url=_checked(url, console), headers={"Authorization": f"Bearer {_token(token)}"}, timeout=60,
        follow_redirects=False,
    ) as client:  # fmt: skip
        board = Board(client, lambda line: console.print(line, style="yellow"))
        mine = board.ask("/api/teams/me")
        kind = "debug" if debug else "scored"
        console.print(f"team {mine['team']['name']}: {mine['left'][kind]} {kind} entries left today", highlight=False)
        with _progress(folder, console) as sent:
            accepted = board.send(folder, debug, sent)
        number = accepted["id"]
        words = "received" if accepted["new"] else "these very files were there already"
        console.print(f"entry {number}: {words}; {str(client.base_url).rstrip('/')}{accepted['url']}", highlight=False)
        return _watch(board, number, console) if wait else board.ask(f"/api/entries/{number}")


def drawn(reply: dict[str, Any]) -> Table:
    """Draw an entry for a terminal."""
    entry = reply["entry"]
    rank = f", rank {reply['rank']}" if reply["rank"] else ""
    table = Table("figure", "value", title=f"entry {entry['id']} ({entry['name']}): {entry['state']}{rank}")
    for name in FIGURES:
        if entry[name] is not None:
            table.add_row(name, f"{entry[name]:.5g}" if isinstance(entry[name], float) else str(entry[name]))
    for name, figures in (entry["checks"] or {}).items():
        values = (f"{k} {v:.4g}" if isinstance(v, float) else f"{k} {v}" for k, v in figures.items())
        table.add_row(f"check {name}", ", ".join(values) or "passed")
    return table


def _watch(board: Board, number: int, console: Console) -> dict[str, Any]:
    with console.status("waiting") as live:
        while True:
            reply = board.ask(f"/api/entries/{number}")
            entry = reply["entry"]
            if entry["state"] in ENDED:
                break
            live.update(_spoken(reply))
            time.sleep(POLL_S)
    if entry["state"] == "FAIL":
        what, _, fix = (entry["message"] or "").partition("\n  do: ")
        now = fix or ("mend it" if entry["charged"] else "tell the organiser: `requeue` has it judged again")
        raise HarnessError(f"entry {number} was refused: {entry['reason']}: {what}", now)
    return reply


def _spoken(reply: dict[str, Any]) -> str:
    entry = reply["entry"]
    if entry["state"] == "RUNNING":
        return f"being judged{': ' + entry['stage'] if entry['stage'] else ''}"
    expected_s = reply["expected_s"]
    about = "" if expected_s is None else f", verdict in about {expected_s:.0f} s"
    return f"waiting: {entry['ahead']} before it{about}"


def _check_entry(folder: Path) -> None:
    """Find here what the server would refuse after the whole upload."""
    entry = manifest.read(folder)
    for name in (MODEL, PREDICTIONS):
        path = folder / name
        if not path.is_file():
            raise HarnessError(f"{path}: not found", "name a folder that `python inference.py` wrote")
        if sha256(path) != entry.files[name]:
            raise HarnessError(f"{path}: isn't the file that was packed", "pack the entry again")


def _checked(url: str, console: Console) -> str:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise HarnessError(
            f"url={url or chr(39) * 2}: not a server's address",
            "give the organiser's, as url=https://board.example.org",
        )
    if parts.scheme == "http" and parts.hostname not in ("localhost", "127.0.0.1", "::1"):
        console.print("url=http://...: others in the network can read your token; ask for https://", style="yellow")
    return url.rstrip("/")


def _token(token: str) -> str:
    if not token or not token.isascii() or not token.isprintable():
        raise HarnessError("no token given, or not a token", "export HARNESS_TOKEN=hb_... as the organiser gave it")
    return token.strip()


def _understood(reply: httpx.Response) -> dict[str, Any]:
    try:
        found = reply.json()
    except ValueError:
        found = {}
    if reply.is_success and isinstance(found, dict):
        return found
    reason, message = (
        found.get("reason", f"status {reply.status_code}"),
        found.get("message", "not a competition's"),
    )
    raise HarnessError(f"{reason}: {message}", found.get("fix", "check url="))


@contextmanager
def _progress(folder: Path, console: Console) -> Iterator[Callable[[int], None]]:
    """Show how much has gone."""
    total = sum((folder / name).stat().st_size for name in FILES.values())
    columns = TextColumn("sending"), BarColumn(), DownloadColumn(), TransferSpeedColumn()
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("", total=total)

        def sent(size: int) -> None:
            if size:
                bar.update(task, advance=size)
            else:
                bar.reset(task, total=total)

        yield sent
