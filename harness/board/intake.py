"""From an inbox into the queue: what can be told at once is checked before anything is kept."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Engine

from harness.board import competitions, files, queue, queue_stats, quota, store
from harness.board.competitions import Hosted
from harness.board.files import Inbox
from harness.board.quota import Kind
from harness.board.teams import Team
from harness.errors import HarnessError
from harness.record import manifest
from harness.record.manifest import MANIFEST, MODEL, PREDICTIONS, Manifest
from harness.sandbox.refused import Refused
from harness.submission import predictions, terms


def take(engine: Engine, hosted: Hosted, team: Team, kind: Kind, inbox: Inbox) -> tuple[int, bool]:
    """Put what came in into the queue; return the entry's number, and whether it is new.

    The same files again give the same number, and cost nothing: whatever the hour and the quota.

    Raises:
        Refused: a file is missing, manifest and files don't fit, the entry is of other data or for another engine, or a
            row of the predictions is wrong.
        Full, Shut: as `queue.submit`; nothing is kept then.
    """
    known = queue_stats.known(engine, team.id, hosted.id, files.content_of(inbox.hashes()), kind)
    if known is not None:
        return known, False
    quota.check_open(hosted)
    store.look(engine, lambda c: quota.check(c, competitions.by_id(c, hosted.id), team.id, kind))
    entry = _checked(hosted, inbox)
    kept = inbox.keep()
    return queue.submit(engine, team.id, hosted.id, kept.content, kept.sizes, entry.to_dict(), kind)


def _checked(hosted: Hosted, inbox: Inbox) -> Manifest:
    with _refused("manifest", inbox):
        entry = manifest.read(inbox.folder)
        terms.check(MANIFEST, entry, hosted.competition, hosted.classes, hosted.fingerprint)
    hashes = inbox.hashes()
    for name in (MODEL, PREDICTIONS):
        if entry.files[name] != hashes[name]:
            what = f"{name}: its sha256 is {hashes[name]}, the manifest says {entry.files[name]}"
            raise Refused("files", what, "send the files of one entry, as they were packed")
    with _refused("predictions", inbox):
        predictions.labels(inbox.folder / PREDICTIONS, hosted.classes)
    return entry


@contextmanager
def _refused(reason: str, inbox: Inbox) -> Iterator[None]:
    """Give the mistakes found within a reason, and no path of this server."""
    try:
        yield
    except HarnessError as e:
        raise Refused(reason, e.what.replace(f"{inbox.folder}/", ""), e.fix) from None
