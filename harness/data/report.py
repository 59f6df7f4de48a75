"""What a reader found, kept and lost; what is too little or too damaged to go on with."""

from __future__ import annotations

import unicodedata
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from harness.errors import HarnessError


def summary(
    read: int,
    classes: Sequence[str],
    labels: np.ndarray,
    damaged: list[dict[str, str]],
    dropped: list[dict[str, str]],
) -> dict[str, Any]:
    """Return the report of a reader: counts a class, and every loss with its reason."""
    counts = np.bincount(labels, minlength=len(classes)).tolist()
    return {
        "read": read,
        "kept": dict(zip(classes, counts, strict=True)),
        "damaged": damaged,
        "dropped": dropped,
        "dropped_by_reason": dict(Counter(d["reason"] for d in dropped)),
    }


def refuse_damaged(damaged: Sequence[Mapping[str, str]], total: int, root: str) -> None:
    """Refuse a data set of which more than half can't be read."""
    if 2 * len(damaged) > total:
        first = "; ".join(f"{d['name']}: {d['reason']}" for d in damaged[:3])
        raise HarnessError(
            f"data.root: {len(damaged)} of {total} images in '{root}' are damaged or missing ({first})",
            "copy or download the data again, or point data.root at the right place",
        )


def refuse_lost(lost: Mapping[str, Sequence[tuple[str, str]]]) -> None:
    """Refuse a data set of which a class lost all its images. lost: names and reasons, by class."""
    for kind, images in lost.items():
        reasons = Counter(reason for _, reason in images).most_common(3)
        said = ", ".join(f"{reason} {count}" for reason, count in reasons)
        raise HarnessError(
            f"data: class '{kind}' lost all its {len(images)} images: {said} ({images[0][0]} is the first)",
            "mend these, or leave the class out: move its folder away, or its line out of data.map",
        )


def alike(classes: Sequence[str]) -> list[str]:
    """Say which classes differ in capitals, blanks or Unicode form alone."""
    groups = defaultdict(list)
    for kind in classes:
        groups[unicodedata.normalize("NFC", " ".join(kind.casefold().split()))].append(kind)
    return [
        f"classes {', '.join(map(repr, kinds))} look alike: they differ in capitals, blanks or Unicode form"
        for kinds in groups.values()
        if len(kinds) > 1
    ]


def refuse_few(classes: Sequence[str], labels: np.ndarray, lost: Sequence[Mapping[str, str]] = ()) -> None:
    """Refuse fewer than two classes, and classes that can't be in three parts. lost: what was left out beside them."""
    if len(classes) < 2:
        raise HarnessError(f"data.root: one class only, '{classes[0]}'", "give a folder with a folder for each class")
    counts = np.bincount(labels, minlength=len(classes))
    few = [f"'{c}' ({n}{_lost_of(c, lost)})" for c, n in zip(classes, counts, strict=True) if n < 3]
    if few:
        raise HarnessError(
            f"data.root: fewer than 3 images in class {', '.join(few)}; each of the three parts needs one",
            "add images, or move the class folder away",
        )


def _lost_of(kind: str, lost: Sequence[Mapping[str, str]]) -> str:
    """Say what was left out of a class's folder."""
    reasons = Counter(d["reason"] for d in lost if kind in d["name"].split("/")[:-1])
    return "".join(f"; {count} left out: {reason}" for reason, count in reasons.most_common(3))


def refuse_little(report: Mapping[str, Any]) -> None:
    """Refuse a cleaning that leaves fewer than two classes."""
    if len(report["kept"]) < 2:
        rare = ", ".join(f"'{kind}' ({count})" for kind, count in report["rare_classes"].items()) or "none"
        raise HarnessError(
            f"data: {len(report['kept'])} class left of {report['read']} objects; {report['dropped_by_reason']}; "
            f"too rare: {rare}",
            "lower data.min_per_class, or look at data.map and data.annotations",
        )
