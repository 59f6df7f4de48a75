"""One measurement a host at a time."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from filelock import FileLock


def host_lock() -> FileLock:
    """Return the lock that every measurement on this host holds; the system frees it when its holder dies."""
    return FileLock(Path(tempfile.gettempdir()) / f"harness-measure-{os.getuid()}.lock")
