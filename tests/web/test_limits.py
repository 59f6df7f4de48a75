"""What a client may take of the server: its names, sizes, its patience; by a real server and raw sockets."""

from __future__ import annotations

import re
import select
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from staged import Staged, bearer, form, judged, packed, stage

SERVER = """
import sys; sys.path.insert(0, {here!r})
from pathlib import Path
from harness.board import store
from harness.web import serve
from harness.web.guard import Bounds
from harness.web.app import create_app
serve.HEAD_S = {head_s}
bounds = Bounds(hosts=("localhost",), idle_s={idle_s}, grace_s={grace_s}, least_bytes_s=2000, uploads_of_team=20)
app = create_app(store.open({url!r}), Path({files!r}), "", bounds)
serve.server(app, "127.0.0.1", 0, lambda url: print(url, flush=True)).run()
"""
PART = b'--x\r\ncontent-disposition: form-data; name="model"; filename="m"\r\n\r\n'
RSS_MB = 40
"""How much the server's memory may grow, over all that is sent to it here."""


@dataclass(frozen=True)
class Server:
    """A server's process."""

    process: subprocess.Popen[str]
    port: int
    staged: Staged

    def peak_mb(self) -> float:
        """Return the most memory that it has had."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) / 1000  # type: ignore[index]

    def connect(self) -> socket.socket:
        """Open a connection."""
        return socket.create_connection(("127.0.0.1", self.port), timeout=120)

    def head(self, *lines: str, token: str = "A") -> bytes:
        """Return the head of an upload."""
        fixed = ["POST /api/entries HTTP/1.1", "host: localhost", f"authorization: Bearer {self.staged.tokens[token]}"]
        return "\r\n".join([*fixed, "content-type: multipart/form-data; boundary=x", *lines, "", ""]).encode()


@contextmanager
def served(folder: Path, **patience: float) -> Iterator[Server]:
    """A real server in a process of its own, with a model's cap at 100 MB."""
    staged = stage(folder, max_model_mb=100)
    code = SERVER.format(here=str(Path.cwd()), url=f"sqlite:///{folder}/board.db", files=str(staged.root), **patience)
    with open(folder / "log", "w") as log:
        process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=log, text=True)
    assert process.stdout
    try:
        port = int(re.search(r":(\d+)/", process.stdout.readline())[1])  # type: ignore[index]
        yield Server(process, port, staged)
    finally:
        process.terminate()
        process.wait(120)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server of little patience."""
    with served(tmp_path_factory.mktemp("server"), head_s=0.7, idle_s=1, grace_s=1.5) as server:
        yield server


def answer(connection: socket.socket) -> bytes:
    """Read until the server hangs up."""
    got = b""
    try:
        while chunk := connection.recv(65536):
            got += chunk
    except ConnectionResetError:
        pass  # it hung up while more was coming
    return got


def flood(connection: socket.socket, most: int, framed: bool) -> int:
    """Send as much as the server takes, up to `most` bytes; return how many it took."""
    block = b"\0" * 262_144
    block = b"%x\r\n%b\r\n" % (len(block), block) if framed else block
    sent = 0
    try:
        while sent < most:
            connection.sendall(block)
            sent += len(block)
    except (ConnectionError, TimeoutError):
        pass
    return sent


def empty(server: Server) -> bool:
    """Wait until no upload has left anything."""
    end = time.monotonic() + 120
    while [*server.staged.root.glob(".incoming-*")] and time.monotonic() < end:
        time.sleep(0.05)
    return not [*server.staged.root.glob(".incoming-*")]


def test_bodies_without_measure_cost_neither_memory_nor_disk(server: Server) -> None:
    """10 GB declared, chunks without end, a body that stops, one that drips, one that is cut off: bounded and gone.

    Over 5 s: a body that drips must be waited for.
    """
    before = server.peak_mb()
    with server.connect() as declared:
        declared.sendall(server.head("content-length: 10000000000") + PART)
        assert b" 413 " in answer(declared)
    with server.connect() as chunked:
        chunked.sendall(server.head("transfer-encoding: chunked") + b"%x\r\n%b\r\n" % (len(PART), PART))
        taken = flood(chunked, 1_000_000_000, framed=True)
        assert 100e6 < taken < 130e6  # the model's cap, and what lies in the sockets
        assert b" 413 " in answer(chunked)
    with server.connect() as stopped:
        stopped.sendall(server.head("content-length: 50000000") + PART + b"\0" * 3_000_000)
        began = time.monotonic()
        assert b" 408 " in answer(stopped) and time.monotonic() - began < 60
    with server.connect() as dripping:
        dripping.sendall(server.head("content-length: 50000000") + PART)
        began = time.monotonic()
        while time.monotonic() - began < 60:
            try:
                dripping.sendall(b"\0")
            except ConnectionError:
                break
            time.sleep(0.2)
        assert time.monotonic() - began < 60
    for _ in range(10):
        with server.connect() as aborted:
            aborted.sendall(server.head("content-length: 50000000") + PART + b"\0" * 2_000_000)
    assert empty(server) and not [*server.staged.root.glob("??/*")]
    assert server.peak_mb() - before < RSS_MB
    assert httpx.get(f"http://localhost:{server.port}/").status_code == 200


def test_many_uploads_at_once_are_held_to_a_few(tmp_path: Path) -> None:
    """Of 30 uploads under way 16 are received and 14 told to wait; all that are cut off leave nothing.

    The server is a patient one: no upload may be over because this test was slow to look.
    """
    with served(tmp_path, head_s=60, idle_s=60, grace_s=60) as server:
        connections = [server.connect() for _ in range(30)]
        for connection in connections:
            connection.sendall(server.head("content-length: 5000000") + PART + b"\0" * 100_000)
        end, refused, received = time.monotonic() + 300, 0, 0
        while (refused, received) != (14, 16) and time.monotonic() < end:
            refused = len(select.select(connections, [], [], 0.1)[0])  # those that were answered
            received = len([*server.staged.root.glob(".incoming-*")])
            time.sleep(0.05)
        assert (refused, received) == (14, 16)
        assert all(b" 429 " in c.recv(65536) for c in select.select(connections, [], [], 0)[0])
        for connection in connections:
            connection.close()
        assert empty(server)


def test_nobody_is_waited_for_without_a_request(server: Server) -> None:
    """A connection that says nothing, or never ends its head, is hung up on; so is an endless head."""
    silent, slow, endless = server.connect(), server.connect(), server.connect()
    slow.sendall(b"GET / HTTP/1.1\r\nhost: localhost\r\n")
    endless.sendall(b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 10_000)
    began = time.monotonic()
    assert answer(silent) == answer(slow) == b"" and time.monotonic() - began < 60
    assert b" 400 " in answer(endless)


def test_without_a_token_nothing_is_written(server: Server) -> None:
    """The first file's part ends it: 401, before a byte of it is kept."""
    with server.connect() as connection:
        head = server.head("content-length: 50000000").replace(server.staged.tokens["A"].encode(), b"hb_" + b"z" * 43)
        connection.sendall(head + PART + b"\0" * 100_000)
        assert b" 401 " in answer(connection) and not [*server.staged.root.glob(".incoming-*")]


def test_a_small_route_takes_a_small_body(staged: Staged, client: httpx.Client) -> None:
    """64 kB; beyond that 413, as an object and as a page."""
    told = client.put("/api/picks", content=b"x" * 64_001, headers=bearer(staged.tokens["A"]))
    assert (told.status_code, told.json()["reason"]) == (413, "size")
    assert client.post("/team", data={"token": "x" * 64_001}).status_code == 413


KINDS = [
    ("GET", "/", 200), ("GET", "/queue", 200), ("GET", "/static/style.css", 200), ("GET", "/api/queue", 200),
    ("GET", "/nowhere", 404), ("GET", "/api/nowhere", 404), ("GET", "/api/teams/me", 401), ("PATCH", "/", 405),
    ("GET", "/entries/x", 422), ("GET", "/openapi.json", 200), ("GET", "/api/standings?board=private", 403),
]  # fmt: skip


@pytest.mark.parametrize(("method", "path", "status"), KINDS)
def test_every_reply_carries_the_headers(client: httpx.Client, method: str, path: str, status: int) -> None:
    """Whatever the status: nothing runs but our own, nothing frames it, nothing guesses its type."""
    reply = client.request(method, path)
    policy = dict(part.strip().split(" ", 1) for part in reply.headers["content-security-policy"].split(";"))
    assert reply.status_code == status and policy["default-src"] == "'none'" and policy["frame-ancestors"] == "'none'"
    assert {policy[f"{kind}-src"] for kind in ("script", "style", "img", "connect")} == {"'self'"}
    assert (policy["base-uri"], policy["form-action"]) == ("'none'", "'self'")
    assert reply.headers["x-content-type-options"] == "nosniff" and reply.headers["referrer-policy"] == "no-referrer"
    assert "set-cookie" not in reply.headers and "server" not in reply.headers
    if path.startswith("/api") and status >= 400:
        assert set(reply.json()) == {"reason", "message", "fix"}


def test_pages_hold_nothing_that_the_policy_would_stop(staged: Staged, client: httpx.Client) -> None:
    """No inline script or style, no address of another server."""
    judged(staged, "A", 0.9, 0.5)
    for path in ("/", "/queue", "/upload", "/rules", "/team", "/teams/2", "/entries/1"):
        text = client.get(path).text
        assert not re.search(r"<script(?! src=\"/static/)|<style|\sstyle=|\son\w+=|javascript:", text), path
        assert not re.search(r"(src|action)=\"(?!/)", text), path


def test_a_request_for_another_host_is_refused(client: httpx.Client) -> None:
    """Against DNS rebinding: only the names that the organiser gave; a second Host header is none."""
    for host in ("evil.example", "localhost.evil.example", "", "127.0.0.1.nip.io", "localhost@evil"):
        reply = client.get("/", headers={"host": host})
        assert (reply.status_code, reply.json()["reason"]) == (400, "host") and "hosts=NAME" in reply.json()["fix"]
    assert client.get("/", headers={"host": "LOCALHOST:8080"}).status_code == 200
    twice = client.build_request("GET", "/", headers=[("host", "localhost"), ("host", "evil.example")])
    assert client.send(twice).status_code == 400


def test_a_board_that_has_not_changed_is_not_sent_again(staged: Staged, client: httpx.Client) -> None:
    """304 for the tag of the last reply, until something happens."""
    judged(staged, "A", 0.9, 0.5)
    tag = client.get("/").headers["etag"]
    assert client.get("/", headers={"if-none-match": tag}).status_code == 304
    judged(staged, "B", 0.9, 0.4)
    fresh = client.get("/", headers={"if-none-match": tag})
    assert fresh.status_code == 200 and fresh.text.index(">B<") < fresh.text.index(">A<")


def test_a_fault_of_ours_tells_nothing(staged: Staged, client: httpx.Client) -> None:
    """500 in the one shape, with the headers, and not a word of the fault."""
    import sqlalchemy as sa

    with staged.engine.begin() as connection:
        connection.execute(sa.text("ALTER TABLE teams RENAME TO hidden_teams"))
    for path in ("/api/teams/1", "/teams/1"):
        reply = client.get(path)
        assert reply.status_code == 500 and "nosniff" in reply.headers["x-content-type-options"]
        assert "hidden" not in reply.text and "sql" not in reply.text.lower() and "Traceback" not in reply.text


def test_uploads_of_one_team_wait_for_each_other(staged: Staged, client: httpx.Client, tmp_path: Path) -> None:
    """The third at once is told to wait; a place is free again when one ends."""
    lanes, team = staged.app.state.site.lanes, staged.teams["A"].id
    files = form(packed(tmp_path / "in"))
    with lanes.taken(team), lanes.taken(team):
        busy = client.post("/api/entries", files=files, headers=bearer(staged.tokens["A"]))
        other = client.post("/api/entries", files=files, headers=bearer(staged.tokens["B"]))
    assert (busy.status_code, busy.headers["retry-after"], other.status_code) == (429, "5", 201)
    assert client.post("/api/entries", files=files, headers=bearer(staged.tokens["A"])).status_code == 201
