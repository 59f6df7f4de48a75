"""Optuna's gRPC proxy: one process reads and writes the trials for many workers. Slots don't go through it.

Without encryption and without a password, as Optuna has it: whoever reaches the port can read and write the studies.
"""

from __future__ import annotations

import json
import re
import signal
import socket
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import optuna
from sqlalchemy.exc import SQLAlchemyError

from harness import database
from harness.errors import HarnessError
from harness.search import storage

if TYPE_CHECKING:
    from optuna.storages import GrpcStorageProxy

PORT = 13000
THREADS = 4
"""Calls that are served at a time: as many as the storage has connections."""
PATIENCE_S = 0.5
"""How long the proxy itself waits for its database, as calls queue up behind one that waits: long enough for two that
were in each other's way. Then it says so, and the worker's own patience counts."""
GRACE_S = 5.0
CALL_S = 60
"""How long a call may take, so that a worker doesn't wait for ever for a proxy that hangs."""
# a proxy whose machine is gone without a word is noticed after 15 s, and connected to again within 5 s of its return
# Source: https://github.com/grpc/grpc/blob/master/doc/keepalive.md
#   and https://github.com/grpc/grpc/blob/master/doc/service_config.md
PINGS = [("grpc.keepalive_time_ms", 10_000), ("grpc.keepalive_timeout_ms", 5_000)]
CLIENT = [
    *PINGS, ("grpc.max_receive_message_length", -1), ("grpc.enable_http_proxy", 0),
    ("grpc.initial_reconnect_backoff_ms", 200), ("grpc.max_reconnect_backoff_ms", 5_000),
    ("grpc.service_config", json.dumps({"methodConfig": [{"name": [{}], "timeout": f"{CALL_S}s"}]})),
]  # fmt: skip
# so_reuseport: a second proxy on the port would start, and get a part of the calls
SERVER = [
    *PINGS, ("grpc.so_reuseport", 0), ("grpc.max_receive_message_length", -1),
    ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
]  # fmt: skip


def serve(url: str, host: str, port: int, told: Callable[[int], None]) -> None:
    """Serve a database's studies until Ctrl-C or SIGTERM. told: is called once it serves, with the port.

    Its storage is ours: few statements a trial, and patient with the database.

    Raises:
        HarnessError: the database or the port can't be used.
    """
    grpc = _library()
    from optuna.storages._grpc.auto_generated.api_pb2_grpc import add_StorageServiceServicer_to_server
    from optuna.storages._grpc.servicer import OptunaStorageProxyService

    _check_database(url)
    database.connect(url).dispose()  # says what is wrong with it, if anything is
    backend = optuna.storages.get_storage(storage.opened(url, PATIENCE_S))  # with Optuna's cache of finished trials
    for study in backend.get_all_studies():  # the cache refuses parameters of a trial it hasn't seen: a restart's
        backend.get_all_trials(study._study_id, deepcopy=False)
    server = grpc.server(ThreadPoolExecutor(THREADS), interceptors=[_honest(grpc, url)], options=SERVER)
    add_StorageServiceServicer_to_server(OptunaStorageProxyService(backend), server)
    try:
        bound = server.add_insecure_port(f"{f'[{host}]' if ':' in host else host}:{port}")
    except RuntimeError:
        raise HarnessError(
            f"host={host} port={port}: can't be listened on: the port is taken, or the host isn't this machine's",
            "take another port=, and host=127.0.0.1 or host=0.0.0.0",
        ) from None
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    server.start()
    try:
        told(bound)
        server.wait_for_termination()
    except KeyboardInterrupt:
        pass  # the way to end it
    finally:
        server.stop(GRACE_S).wait()


def client(proxy: str, url: str) -> GrpcStorageProxy:
    """Connect to a proxy, HOST:PORT, that stands before the database of this url.

    Raises:
        HarnessError: it can't be reached, or is no proxy.
    """
    grpc = _library()
    from optuna.storages import GrpcStorageProxy
    from optuna.storages._grpc.auto_generated.api_pb2_grpc import StorageServiceStub
    from optuna.storages._grpc.client import GrpcClientCache

    class Connected(GrpcStorageProxy):
        """Optuna's client, with a channel that notices when nobody is there."""

        def _setup(self) -> None:
            self._channel = grpc.insecure_channel(proxy, options=CLIENT)
            self._stub = StorageServiceStub(self._channel)
            self._cache = GrpcClientCache(self._stub)

    _check_database(url)
    host, _, port = proxy.rpartition(":")
    if not host or not re.fullmatch(r"\d{1,5}", port):
        raise HarnessError(f"storage.proxy={proxy}: allowed: HOST:PORT", f"write storage.proxy=HOST:{PORT}")
    fix = f"start it with `python -m harness db proxy host=0.0.0.0 port={port}`, or leave storage.proxy out"
    try:
        socket.create_connection((host.strip("[]"), int(port)), database.REACH_S).close()
    except (OSError, OverflowError) as e:
        raise HarnessError(
            f"storage.proxy={proxy}: can't be reached: {getattr(e, 'strerror', None) or e}", fix
        ) from None
    connected = Connected(host=host, port=int(port))
    try:
        grpc.channel_ready_future(connected._channel).result(database.REACH_S)
    except grpc.FutureTimeoutError:
        connected.close()
        raise HarnessError(f"storage.proxy={proxy}: something answers there that is no proxy of ours", fix) from None
    return connected


def _library() -> Any:
    try:
        import grpc
    except ImportError:
        raise HarnessError("storage.proxy: needs grpcio", "pip install 'harness[scale]'") from None
    return grpc


def _check_database(url: str) -> None:
    """Refuse SQLite: a worker that holds its one lock would wait for the proxy, which waits for that lock."""
    if database.address(url).get_backend_name() == "sqlite":
        raise HarnessError(
            f"storage.url={database.shown(url)}: a proxy can't stand before a SQLite file",
            "start a PostgreSQL with `python -m harness db start host=0.0.0.0` and set its storage.url",
        )


def _honest(grpc: Any, url: str) -> Any:
    """Let a worker know which errors pass: gRPC itself makes one kind of a database that is away and of a bug."""

    class Honest(grpc.ServerInterceptor):  # type: ignore[misc]
        def intercept_service(self, continuation: Callable[[Any], Any], details: Any) -> Any:
            handler = continuation(details)
            if handler is None:
                return None

            def act(request: Any, context: Any) -> Any:
                try:
                    return handler.unary_unary(request, context)
                except Exception as e:
                    if context.code() is not None:
                        raise  # the proxy's own refusal, such as of a change to a finished trial
                    if isinstance(e, database.Away) or database.passing(e):
                        said = e.what if isinstance(e, HarnessError) else database.unreachable(url, e).what
                        context.abort(grpc.StatusCode.UNAVAILABLE, said)
                    if isinstance(e, SQLAlchemyError):  # which may hold the password
                        context.abort(grpc.StatusCode.INTERNAL, database.unreachable(url, e).what)
                    context.abort(grpc.StatusCode.INTERNAL, f"{type(e).__name__}: {e}")

            return grpc.unary_unary_rpc_method_handler(act, handler.request_deserializer, handler.response_serializer)

    return Honest()
