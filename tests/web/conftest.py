"""Servers to test on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from staged import Staged, client_of, running, stage


@pytest.fixture
def staged(tmp_path: Path) -> Iterator[Staged]:
    """A hosted competition with the teams A and B, and one whose token was revoked."""
    made = stage(tmp_path)
    yield made
    made.engine.dispose()


@pytest.fixture
def client(staged: Staged) -> httpx.Client:
    """A client of its application, without a network."""
    return client_of(staged)


@pytest.fixture
def served(staged: Staged) -> Iterator[str]:
    """The address of a real server of it, in a thread of this process."""
    with running(staged) as address:
        yield address
