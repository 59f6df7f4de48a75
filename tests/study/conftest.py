"""Databases for the study's tests."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(params=["sqlite", "postgres", "mariadb"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty database of each kind."""
    return (
        f"sqlite:///{tmp_path}/x.db" if request.param == "sqlite" else request.getfixturevalue(f"{request.param}_url")
    )


@pytest.fixture
def lite(tmp_path: Path) -> str:
    """An empty SQLite database, where the kind of database makes no difference."""
    return f"sqlite:///{tmp_path}/x.db"
