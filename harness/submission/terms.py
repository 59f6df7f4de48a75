"""What an entry must say of itself to be judged in a competition: checked at the door, at home and by the judge."""

from __future__ import annotations

from collections.abc import Sequence

from harness.errors import HarnessError
from harness.record.manifest import Manifest
from harness.rules.competition import Competition

AGAIN = "pack the entry again with `python inference.py`"


def check(
    path: str, entry: Manifest, competition: Competition, classes: Sequence[str], fingerprint: str | None
) -> None:
    """Make sure that an entry and a competition speak of the same thing.

    path: of the manifest, as messages name it. classes, fingerprint: of the competition's data; None where the
    fingerprint isn't known here.

    Raises:
        HarnessError: engine, threads, classes or data are others.
    """
    for field in ("runtime", "threads"):
        mine, asked = getattr(entry, field), getattr(competition, field)
        if mine != asked:
            what = f"{path}: {field} is {mine!r}; competition '{competition.name}' times {asked!r}"
            raise HarnessError(what, f"{AGAIN} ... competition={competition.name}")
    if list(entry.classes) != list(classes):
        what = f"{path}: classes are {entry.classes}; competition '{competition.name}' has {list(classes)}"
        raise HarnessError(what, "train and pack on the competition's data")
    mine = entry.data["fingerprint"]
    if fingerprint is not None and mine != fingerprint:
        what = f"{path}: data.fingerprint is {mine[:16]}; competition '{competition.name}' is on {fingerprint[:16]}"
        raise HarnessError(what, f"the entry is of {entry.data['name']} {entry.data['options']}: give the same data")
