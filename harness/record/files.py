"""Files that are whole or not there, and what their content hashes to."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO


def write(
    path: Path, content: str | bytes | Callable[[BinaryIO], object], *, durable: bool = False, mode: int = 0o666
) -> None:
    """Put a whole file in the place of the old one, in one step; what is killed meanwhile leaves the old one.

    Several processes may write one file at a time: one of them is the last. content: text, bytes, or what fills the
    open file. durable: through to the disk, so that it survives a power cut. mode: of the new file, which nobody else
    can read before it is set; less what the umask takes away.
    """
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    part.unlink(missing_ok=True)
    try:
        with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
            if callable(content):
                content(file)
            else:
                file.write(content.encode() if isinstance(content, str) else content)
            if durable:
                file.flush()
                os.fsync(file.fileno())
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    if durable:
        sync_folder(path.parent)


def write_json(path: Path, plain: Any, *, durable: bool = False) -> None:
    """Write plain values as `write` does, laid out for reading."""
    write(path, json.dumps(plain, indent=2) + "\n", durable=durable)


def remove(path: Path) -> None:
    """Remove a file, and what killed writers have left of it."""
    for file in (path, *path.parent.glob(f".{path.name}.*.part")):
        file.unlink(missing_ok=True)


def sync_folder(folder: Path) -> None:
    """Bring a folder's names to the disk: that of a new file, or a changed one."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sha256(path: Path) -> str:
    """Hash a file (64 hex digits)."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digest(plain: Any) -> str:
    """Hash plain values by their canonical JSON (sha256, 64 hex digits)."""
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()
