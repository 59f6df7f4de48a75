"""What holds for every request and reply, whatever its route: names of the server, sizes, patience, headers."""

from __future__ import annotations

import asyncio
import time
from dataclasses import asdict, dataclass

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from harness.web.declined import Declined, Problem

HEADERS = {
    "content-security-policy": "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; "
    "img-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}
"""Put on each reply that hasn't set its own. Nothing runs or loads but what this server keeps in `static`."""
STRANGE = Problem(
    "host",
    "the request names another host than this server's",
    "use the organiser's address; the names that are allowed are set by `python -m harness serve hosts=NAME`",
)
UPLOADS = {("POST", "/api/entries"), ("POST", "/upload")}


@dataclass(frozen=True)
class Bounds:
    """How much of the server a client may take.

    hosts: by which names it may be asked for (against DNS rebinding). body_bytes: of a request; of an upload it is
    upload_bytes. idle_s: without a byte of a body. After grace_s a body must have come at least_bytes_s a second.
    wrong_tokens: a minute from one address. uploads: at once, and of one team.
    """

    hosts: tuple[str, ...] = ("localhost", "127.0.0.1", "[::1]")
    body_bytes: int = 64_000
    upload_bytes: int = 152_000_000
    idle_s: float = 20
    grace_s: float = 30
    least_bytes_s: float = 4_000
    wrong_tokens: int = 20
    uploads: int = 16
    uploads_of_team: int = 2


class Body:
    """A request's body, counted and timed as it comes in."""

    def __init__(self, scope: Scope, receive: Receive, bounds: Bounds) -> None:
        upload = (scope["method"], scope["path"]) in UPLOADS
        self._receive, self._bounds = receive, bounds
        self._most = bounds.upload_bytes if upload else bounds.body_bytes
        headers = Headers(scope=scope)
        self.over = headers.get("content-length", "0") == "0" and "transfer-encoding" not in headers
        self._declared = headers.get("content-length", "0")
        self._got, self._since = 0, time.monotonic()

    async def receive(self) -> Message:
        """Return the next part.

        Raises:
            Declined: the body is too large, or comes too slowly.
        """
        declared = int(self._declared) if self._declared.isascii() and self._declared.isdigit() else 0
        self._check_size(declared)
        message = await self._in_time()
        if message["type"] == "http.request":
            self._got += len(message.get("body", b""))
            self._check_size(self._got)
            self.over = not message.get("more_body", False)
        return message

    async def _in_time(self) -> Message:
        bounds, spent_s = self._bounds, time.monotonic() - self._since
        if not self.over and spent_s > bounds.grace_s and self._got < bounds.least_bytes_s * spent_s:
            raise self._late(f"{self._got:,} bytes came in {spent_s:.0f} s")
        if self.over:
            return await self._receive()  # waits for the end of the connection
        try:
            return await asyncio.wait_for(self._receive(), bounds.idle_s)
        except TimeoutError:
            raise self._late(f"nothing came for {bounds.idle_s:g} s") from None

    def _check_size(self, size: int) -> None:
        if size > self._most:
            what = f"the request's body: {size:,} bytes; allowed: {self._most:,}"
            raise Declined(413, "size", what, "send a smaller one")

    @staticmethod
    def _late(what: str) -> Declined:
        return Declined(408, "slow", f"the request's body: {what}", "send it again over a better connection")


class Guard:
    """The outermost layer of the application."""

    def __init__(self, app: ASGIApp, bounds: Bounds) -> None:
        self._app, self._bounds = app, bounds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, where it was meant for this server, and dress the reply."""
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        body = Body(scope, receive, self._bounds)

        async def dressed(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
                if not body.over:  # what is still coming isn't read: an endless body would be read for ever
                    headers["connection"] = "close"
            await send(message)

        meant = _named(Headers(scope=scope), self._bounds.hosts)
        await (self._app if meant else JSONResponse(asdict(STRANGE), 400))(scope, body.receive, dressed)


def _named(headers: Headers, hosts: tuple[str, ...]) -> bool:
    """Find out whether a request names one of our hosts, and no second one.

    Starlette's TrustedHostMiddleware compares as much, but answers "Invalid host header" as plain text: an organiser
    who forgot `hosts=` would not learn it, and a program would get an error in another shape than all others.
    """
    host = headers.get("host", "").lower()
    name = host[: host.index("]") + 1] if host.startswith("[") and "]" in host else host.partition(":")[0]
    return len(headers.getlist("host")) == 1 and name in hosts
