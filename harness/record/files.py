"""Files that are whole or not there, and what their content hashes to."""

from __future__ import annotations

import codecs
import glob
import hashlib
import json
import os
import socket
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

from harness.errors import HarnessError

MARKS_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
HOST = socket.gethostname()


def write(
    path: Path, content: str | bytes | Callable[[BinaryIO], object], *, durable: bool = False, mode: int = 0o666
) -> None:
    """Put a whole file in the place of the old one, in one step; what is killed meanwhile leaves the old one.

    Several processes may write one file at a time: one of them is the last. content: text, bytes, or what fills the
    open file. durable: through to the disk, so that it survives a power cut. mode: of the new file, which nobody else
    can read before it is set; less what the umask takes away.
    """
    for left in _parts(path):
        if _is_left(left):
            left.unlink(missing_ok=True)
    part = path.with_name(f".{path.name}.{HOST}.{os.getpid()}.part")
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


def read_text(path: Path, setting: str, holds: str = "a text file") -> str:
    """Read a text file that the user names: UTF-8, or UTF-16 that begins with its mark.

    setting: what named it, for messages. holds: what it should be.

    Raises:
        HarnessError: it isn't there, is a folder, can't be read, or is in another encoding.
    """
    named = f"{setting}={path}" if setting else str(path)
    try:
        raw = path.expanduser().read_bytes()
    except FileNotFoundError as e:
        raise HarnessError(f"{named}: no such file, seen from {Path.cwd()}", f"name {holds}") from e
    except IsADirectoryError as e:
        raise HarnessError(f"{named}: is a folder", f"name {holds}") from e
    except OSError as e:
        raise HarnessError(f"{named}: can't be read: {e.strerror}", f"name {holds} that this account may read") from e
    try:
        return raw.decode("utf-16" if raw.startswith(MARKS_16) else "utf-8-sig")
    except UnicodeDecodeError as e:
        line = raw[: e.start].count(b"\n") + 1
        what = f"{named}:{line}: not UTF-8 text (byte 0x{raw[e.start]:02x})"
        raise HarnessError(what, f"save it as UTF-8, or name {holds}") from e


def writable(folder: Path, setting: str) -> None:
    """Make a folder that the user names for what is to be written, and make sure that it can be.

    Raises:
        HarnessError: it can't; nothing was begun then.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as e:
        why = "a file stands there" if isinstance(e, (FileExistsError, NotADirectoryError)) else e.strerror
        raise HarnessError(
            f"{setting}={folder}: nothing can be written there: {why}",
            f"set {setting} to a folder that this account may write to",
        ) from e


def write_json(path: Path, plain: Any, *, durable: bool = False) -> None:
    """Write plain values as `write` does, laid out for reading."""
    write(path, json.dumps(plain, indent=2) + "\n", durable=durable)


def remove(path: Path) -> None:
    """Remove a file, and what killed writers have left of it."""
    for file in (path, *_parts(path)):
        file.unlink(missing_ok=True)


def _parts(path: Path) -> list[Path]:
    """List the unfinished files of this one's writers."""
    return [*path.parent.glob(f".{glob.escape(path.name)}.*.part")]


def _is_left(part: Path) -> bool:
    """Tell whether a part's writer was a process of this host, or this one itself, that is no longer at it."""
    host, _, pid = part.name.removesuffix(".part").rpartition(".")
    if not host.endswith(f".{HOST}") or not pid.isdecimal():
        return False
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except PermissionError:  # another user's, which runs
        return False
    return int(pid) == os.getpid()


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
