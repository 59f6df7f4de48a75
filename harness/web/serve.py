"""The server's process: one, which waits for no client longer than it should."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.h11_impl import H11Protocol

HEAD_S = 10.0
"""How long a client may be silent between its connection, or its last reply, and the end of its request's head."""
CONNECTIONS = 500
HEAD_BYTES = 32_768


class Prompt(H11Protocol):
    """A connection that is hung up on when no whole request comes: uvicorn itself would wait for ever."""

    def connection_made(self, transport: asyncio.Transport) -> None:
        """Begin to look at it now and then."""
        super().connection_made(transport)
        self._served: Any = None
        self._look = self.loop.call_later(HEAD_S, self._check)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop looking."""
        self._look.cancel()
        super().connection_lost(exc)

    def _check(self) -> None:
        if self.transport.is_closing():
            return
        waits = self.cycle is None or self.cycle.response_complete
        if waits and self.cycle is self._served:
            self.transport.close()
            return
        self._served = self.cycle
        self._look = self.loop.call_later(HEAD_S, self._check)


def server(app: FastAPI, host: str, port: int, on_ready: Callable[[str], None]) -> uvicorn.Server:
    """Make a server, which `run()` starts, until Ctrl-C or SIGTERM.

    on_ready: gets the address once it is reachable. port: 0 takes a free one.
    """
    settings = uvicorn.Config(
        app, host, port, http=Prompt, ws="none", lifespan="off", server_header=False, log_level="info",
        limit_concurrency=CONNECTIONS, h11_max_incomplete_event_size=HEAD_BYTES, timeout_graceful_shutdown=10,
    )  # fmt: skip
    return _Announcing(settings, on_ready)


class _Announcing(uvicorn.Server):
    def __init__(self, settings: uvicorn.Config, on_ready: Callable[[str], None]) -> None:
        super().__init__(settings)
        self._on_ready = on_ready

    async def startup(self, sockets: Any = None) -> None:
        await super().startup(sockets)
        if self.servers:
            host, port = self.servers[0].sockets[0].getsockname()[:2]
            self._on_ready(f"http://{f'[{host}]' if ':' in host else host}:{port}/")
