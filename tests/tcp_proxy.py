"""A wire between a client and a server of this machine that can break in the two ways that wires do."""

from __future__ import annotations

import contextlib
import ctypes
import socket
import struct
import threading

_SO_ATTACH_FILTER = 26  # linux/socket.h; not in Python's socket module
_DROP_ALL = ctypes.create_string_buffer(struct.pack("HBBI", 0x06, 0, 0, 0))  # the program "return 0": let nothing in


class Wire:
    """Pass bytes on from a port of its own to a server's, until it is cut or goes silent."""

    def __init__(self, to_port: int) -> None:
        self._to = ("127.0.0.1", to_port)
        self._ends: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, args=[self._listener], daemon=True).start()

    def cut(self) -> None:
        """Break every connection as a reset does, and refuse new ones."""
        self._stop_listening()
        for end in self._ends:
            with contextlib.suppress(OSError):  # it may be gone already
                end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                end.shutdown(socket.SHUT_RD)  # wakes the thread that reads it; a close alone doesn't
            end.close()
        self._ends.clear()

    def silence(self) -> None:
        """Go half-open: the kernel takes in no packet more, acknowledges none and refuses none, as a host that lost its
        power does."""
        for end in [self._listener, *self._ends]:
            program = struct.pack("HL", 1, ctypes.addressof(_DROP_ALL))
            end.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, program)

    def mend(self) -> None:
        """Take new connections again; what was cut or silent stays so."""
        self._stop_listening()
        self._listener = socket.create_server(("127.0.0.1", self.port))
        threading.Thread(target=self._accept, args=[self._listener], daemon=True).start()

    def _stop_listening(self) -> None:
        with contextlib.suppress(OSError):  # it may have been stopped before
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self, listener: socket.socket) -> None:
        with contextlib.suppress(OSError):  # it was closed, or the server is away
            while True:
                client, _ = listener.accept()
                server = socket.create_connection(self._to)
                self._ends += [client, server]
                for one, other in ((client, server), (server, client)):
                    threading.Thread(target=self._pass_on, args=[one, other], daemon=True).start()

    def _pass_on(self, one: socket.socket, other: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while got := one.recv(65536):
                other.sendall(got)
            other.shutdown(socket.SHUT_WR)
