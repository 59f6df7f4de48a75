"""`python -m harness submit`: an entry gets there once, whatever the connection does, and its verdict comes back."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import in_process
import pytest
from staged import Staged, bearer, packed, verdict

from harness.board import entries, queue
from harness.errors import HarnessError
from harness.web import client as teams_end


@contextlib.contextmanager
def judging(staged: Staged, reason: str = "") -> Iterator[None]:
    """Judge what comes in, from a thread; `reason` refuses it."""
    over = threading.Event()

    def work() -> None:
        while not over.wait(0.05):
            claim = queue.claim(staged.engine, "judge", 60)
            if claim is None:
                continue
            queue.stage(staged.engine, claim, "time")
            time.sleep(0.3)
            if reason:
                queue.fail(staged.engine, claim, reason, "model.onnx: is a Loop\n  do: export without one")
            else:
                queue.finish(staged.engine, claim, verdict(staged.hosted, 0.9, 0.5))

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


class Cut:
    """A proxy that passes uploads on and cuts the answer off, so many times; then it passes everything."""

    def __init__(self, port: int, times: int) -> None:
        self._to, self._left, self.cuts = port, times, 0
        self._listener = socket.create_server(("localhost", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            client, _ = self._listener.accept()
            server, uploads = socket.create_connection(("127.0.0.1", self._to)), threading.Event()
            threading.Thread(target=self._ask, args=[client, server, uploads], daemon=True).start()
            threading.Thread(target=self._answer, args=[client, server, uploads], daemon=True).start()

    def _ask(self, client: socket.socket, server: socket.socket, uploads: threading.Event) -> None:
        with contextlib.suppress(OSError):  # one of them has gone
            while chunk := client.recv(65536):
                if chunk.startswith(b"POST /api/entries"):
                    uploads.set()
                server.sendall(chunk)

    def _answer(self, client: socket.socket, server: socket.socket, uploads: threading.Event) -> None:
        with contextlib.suppress(OSError):
            while chunk := server.recv(65536):
                if uploads.is_set() and self.cuts < self._left:
                    self.cuts += 1
                    client.shutdown(socket.SHUT_RDWR)
                    return
                client.sendall(chunk)


@pytest.fixture(autouse=True)
def in_a_hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pauses are short here."""
    monkeypatch.setattr(teams_end, "POLL_S", 0.05)
    monkeypatch.setattr(teams_end, "FIRST_PAUSE_S", 0.05)
    monkeypatch.setattr(teams_end, "LAST_PAUSE_S", 0.2)


def test_an_entry_is_sent_and_watched_until_its_verdict(staged: Staged, served: str, tmp_path: Path) -> None:
    """What comes back is what the API tells of it."""
    with judging(staged):
        told = teams_end.submit(packed(tmp_path / "net"), served, staged.tokens["A"])
    assert (told["entry"]["state"], told["rank"], told["entry"]["points"] is not None) == ("COMPLETE", 1, True)
    assert "latency_ms" in {cell for column in teams_end.drawn(told).columns for cell in column.cells}


def test_a_refusal_is_told_with_its_reason(staged: Staged, served: str, tmp_path: Path) -> None:
    """The judge's: which rule, what was found, what to do. It is an error, so the exit code isn't 0."""
    with (
        judging(staged, "gate"),
        pytest.raises(HarnessError, match="entry 1 was refused: gate: model.onnx: is a Loop") as e,
    ):
        teams_end.submit(packed(tmp_path / "net"), served, staged.tokens["A"])
    assert e.value.fix == "export without one"


def test_what_is_wrong_at_home_is_found_at_home(tmp_path: Path) -> None:
    """A changed file, no token, no address: nothing is sent."""
    folder = packed(tmp_path / "net")
    with pytest.raises(HarnessError, match="not a server's address"):
        teams_end.submit(folder, "board", "hb_x")
    with pytest.raises(HarnessError, match="no token given"):
        teams_end.submit(folder, "http://localhost:1", "")
    (folder / "model.onnx").write_bytes(b"changed")
    with pytest.raises(HarnessError, match=r"model.onnx: isn't the file that was packed"):
        teams_end.submit(folder, "http://localhost:1", "hb_x")


def test_a_server_that_is_away_is_asked_again_and_then_given_up(tmp_path: Path) -> None:
    """Six times, with pauses; then an error that says so."""
    with socket.create_server(("localhost", 0)) as unused:
        port = unused.getsockname()[1]
    with pytest.raises(HarnessError, match="no answer"):
        teams_end.submit(packed(tmp_path / "net"), f"http://localhost:{port}", "hb_x")


def test_a_reply_that_is_cut_off_costs_nothing(staged: Staged, served: str, tmp_path: Path) -> None:
    """Five times the server took the entry and its answer was lost: one entry, one of the quota, its number."""
    proxy = Cut(int(served.rsplit(":", 1)[1]), 5)
    told = teams_end.submit(packed(tmp_path / "net"), f"http://localhost:{proxy.port}", staged.tokens["A"], wait=False)
    assert proxy.cuts == 5 and told["entry"]["id"] == 1
    assert len(entries.of(staged.engine, staged.hosted)) == 1
    mine = httpx.get(f"{served}/api/teams/me", headers=bearer(staged.tokens["A"])).json()
    assert mine["left"]["scored"] == 9


def test_thirty_times_the_same_entry_at_once_is_one(staged: Staged, served: str, tmp_path: Path) -> None:
    """Whoever comes second gets the first one's number."""
    from concurrent.futures import ThreadPoolExecutor

    from staged import form

    files, head = form(packed(tmp_path / "net")), bearer(staged.tokens["A"])

    def once(_: int) -> httpx.Response:
        while (reply := httpx.post(f"{served}/api/entries", files=files, headers=head)).status_code == 429:
            time.sleep(0.05)
        return reply

    with ThreadPoolExecutor(8) as pool:
        replies = list(pool.map(once, range(30)))
    assert sorted(r.status_code for r in replies) == [200] * 29 + [201]
    assert {r.json()["id"] for r in replies} == {1} and len([*staged.root.glob("??/*")]) == 1


def test_the_verb_ends_with_an_exit_code(staged: Staged, served: str, tmp_path: Path) -> None:
    """2 for a wrong token, which isn't shown; 0 and JSON for an entry that is in. The second is a real command."""
    folder = packed(tmp_path / "net")
    words = ["-m", "harness", "submit", str(folder), f"url={served}", "wait=false", "--json"]
    wrong = in_process.command(tmp_path, *words, HARNESS_TOKEN="hb_" + "w" * 43)
    environment = os.environ | {"HARNESS_TOKEN": staged.tokens["A"]}
    right = subprocess.run([sys.executable, *words], capture_output=True, text=True, env=environment, check=False)
    assert (wrong.returncode, right.returncode) == (2, 0), wrong.stderr + right.stderr
    assert "error: token: no token" in wrong.stderr and "www" not in wrong.stderr
    assert '"state": "WAITING"' in right.stdout and staged.tokens["A"] not in right.stdout + right.stderr
