"""The file system that a file is on: SQLite's locks can be relied on in none of a network's."""

from __future__ import annotations

import os
import re
from pathlib import Path

import sqlalchemy as sa

from harness.database.url import shown
from harness.errors import HarnessError

MOUNTS = Path("/proc/self/mountinfo")
# SQLite's locks can be relied on in none of them: https://www.sqlite.org/faq.html#q5
NETWORK = {
    *("nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "afs", "ncpfs", "lustre", "gpfs", "beegfs", "glusterfs", "ceph"),
    *("orangefs", "pvfs2", "fuse.glusterfs", "fuse.ceph", "fuse.ceph-fuse", "fuse.sshfs"),
    *("fuse.s3fs", "fuse.gcsfuse", "fuse.rclone"),
}


def file_system(path: Path, mounts: str) -> str:
    """Return the type of the file system that an absolute path without links is on, from Linux' list of mounts.

    Source: https://man7.org/linux/man-pages/man5/proc_pid_mountinfo.5.html
    """
    longest, kind = -1, ""
    for line in mounts.split("\n"):
        before, _, after = line.partition(" - ")
        if len(before.split()) < 5 or not after.split():
            continue
        # a blank, a tab, a line's end and a backslash stand in octal
        point = Path(re.sub(r"\\([0-7]{3})", lambda code: chr(int(code[1], 8)), before.split(" ")[4]))
        if path.is_relative_to(point) and len(point.parts) >= longest:  # a later mount hides an earlier one
            longest, kind = len(point.parts), after.split()[0]
    return kind


def check_locks_hold(target: sa.URL, setting: str) -> None:
    """Refuse a SQLite file on a network's file system.

    Raises:
        HarnessError: it is on one.
    """
    if target.database == ":memory:" or not MOUNTS.exists():
        return
    kind = file_system(Path(str(target.database)).resolve().parent, os.fsdecode(MOUNTS.read_bytes()))
    if kind in NETWORK:
        raise HarnessError(
            f"{setting}={shown(target, setting)}: is on a network file system ({kind}), where SQLite's locks don't "
            "hold: writers would damage each other's work",
            "put it on a local disk, or start a PostgreSQL with `python -m harness db start` and set its url",
        )
