"""The files of entries: a folder each, named by what is in it, never by what a client says."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import sqlalchemy as sa
from sqlalchemy import Engine

from harness.board import store
from harness.board.log import digest
from harness.board.tables import Entry
from harness.record.files import sync_folder
from harness.record.manifest import MANIFEST, MODEL, PREDICTIONS
from harness.sandbox.limits import Limits
from harness.sandbox.refused import Refused

NAMES = (MODEL, PREDICTIONS, MANIFEST)
INCOMING = ".incoming-"


@dataclass(frozen=True)
class Kept:
    """An entry's files on disk. content: the hash of their hashes. sizes: in bytes, and hashes: sha256, by name."""

    content: str
    sizes: dict[str, int]
    hashes: dict[str, str]
    folder: Path


class Inbox:
    """Files that are coming in; use it through `incoming`."""

    def __init__(self, root: Path, part: Path, limits: Limits, closing: ExitStack) -> None:
        self._root, self._part = root, part
        most = (limits.model_bytes, limits.predictions_bytes, limits.manifest_bytes)
        self._most = dict(zip(NAMES, most, strict=True))
        self._closing = closing
        self._open: dict[str, IO[bytes]] = {}
        self._sizes: dict[str, int] = {}
        self._hashes: dict[str, Any] = {}

    def write(self, name: str, chunk: bytes) -> None:
        """Add to a file.

        Raises:
            Refused: "files" for a name that isn't an entry's; "size" where the file grows too large.
        """
        if name not in self._most:
            raise Refused("files", f"'{name[:40]}': allowed: {', '.join(NAMES)}", "send these three files")
        if name not in self._open:
            self._open[name] = self._closing.enter_context((self._part / name).open("wb"))
            self._sizes[name], self._hashes[name] = 0, hashlib.sha256()
        self._sizes[name] += len(chunk)
        if self._sizes[name] > self._most[name]:
            raise Refused("size", f"{name}: more than {self._most[name]:,} bytes", "submit a smaller file")
        self._hashes[name].update(chunk)
        self._open[name].write(chunk)

    @property
    def folder(self) -> Path:
        """Return where the files are until they are kept."""
        return self._part

    def hashes(self) -> dict[str, str]:
        """Return the sha256 of each file, all of which can be read in the folder then.

        Raises:
            Refused: one is missing.
        """
        lacking = [name for name in NAMES if not self._sizes.get(name)]
        if lacking:
            raise Refused("files", f"{lacking[0]}: not sent, or empty", f"send {', '.join(NAMES)}")
        for file in self._open.values():
            file.flush()
        return {name: self._hashes[name].hexdigest() for name in NAMES}

    def keep(self) -> Kept:
        """Put the files in their place for good, whole or not at all; the same content again changes nothing.

        Raises:
            Refused: a file is missing.
        """
        hashes = self.hashes()
        for file in self._open.values():
            os.fsync(file.fileno())
        self._closing.close()
        target = folder(self._root, content_of(hashes))
        target.parent.mkdir(exist_ok=True)
        if not target.exists():
            sync_folder(self._part)
            try:
                os.rename(self._part, target)
            except OSError:
                if not target.is_dir():  # else the same content came in twice at one moment
                    raise
            sync_folder(target.parent)
            sync_folder(self._root)
        os.utime(target)  # `sweep` takes it for new
        return Kept(target.name, dict(self._sizes), hashes, target)


@contextmanager
def incoming(root: Path, limits: Limits) -> Iterator[Inbox]:
    """Take in an entry's files; nothing remains of them unless they are kept."""
    root.mkdir(parents=True, exist_ok=True)
    part = Path(tempfile.mkdtemp(prefix=INCOMING, dir=root))
    try:
        with ExitStack() as closing:
            yield Inbox(root, part, limits, closing)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def content_of(hashes: Mapping[str, str]) -> str:
    """Hash the hashes of an entry's files (64 hex digits)."""
    return digest({name: hashes[name] for name in NAMES})


def folder(root: Path, content: str) -> Path:
    """Return where the files of an entry lie.

    Raises:
        ValueError: this is no content's hash.
    """
    if len(content) != 64 or set(content) - set("0123456789abcdef"):
        raise ValueError(f"no content: {content[:80]!r}")
    return root / content[:2] / content


def sweep(engine: Engine, root: Path, age_s: float = 86_400) -> int:
    """Remove what killed processes left and what belongs to no entry, once it is so old; return how many folders."""
    if not root.is_dir():
        return 0
    known = set(store.look(engine, lambda c: c.scalars(sa.select(Entry.content)).all()))
    found = [*root.glob(f"{INCOMING}*"), *root.glob("??/" + "?" * 64)]
    old = [f for f in found if f.name not in known and f.stat().st_mtime < time.time() - age_s]
    for path in old:
        shutil.rmtree(path, ignore_errors=True)
    return len(old)
