"""Boards to test on, one on each kind of database."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine

from harness.board import store

FIXTURES = {"postgresql": "postgres_url", "mariadb": "mariadb_url"}


@pytest.fixture(params=["sqlite", "postgresql", "mariadb"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A new, empty database, of each kind that can be had here."""
    kind = request.param
    return f"sqlite:///{tmp_path}/new/board.db" if kind == "sqlite" else request.getfixturevalue(FIXTURES[kind])


@pytest.fixture
def engine(url: str) -> Iterator[Engine]:
    """An empty board on each kind of database."""
    engine = store.open(url)
    yield engine
    engine.dispose()


@pytest.fixture
def lite(tmp_path: Path) -> Iterator[Engine]:
    """An empty board on SQLite, for what the kind of database has no part in."""
    engine = store.open(f"sqlite:///{tmp_path}/board.db")
    yield engine
    engine.dispose()
