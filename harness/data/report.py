"""What a reader found, kept and lost; what is too little or too damaged to go on with."""

from __future__ import annotations

from collections import Counter
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


def refuse_few(classes: Sequence[str], labels: np.ndarray) -> None:
    """Refuse fewer than two classes, and classes that can't be in three parts."""
    if len(classes) < 2:
        raise HarnessError(f"data.root: one class only, '{classes[0]}'", "give a folder with a folder for each class")
    counts = np.bincount(labels, minlength=len(classes))
    few = [f"'{c}' ({n})" for c, n in zip(classes, counts, strict=True) if n < 3]
    if few:
        raise HarnessError(
            f"data.root: fewer than 3 images in class {', '.join(few)}; each of the three parts needs one",
            "add images, or move the class folder away",
        )


def refuse_little(report: Mapping[str, Any]) -> None:
    """Refuse a cleaning that leaves fewer than two classes."""
    if len(report["kept"]) < 2:
        rare = ", ".join(f"'{kind}' ({count})" for kind, count in report["rare_classes"].items()) or "none"
        raise HarnessError(
            f"data: {len(report['kept'])} class left of {report['read']} objects; {report['dropped_by_reason']}; "
            f"too rare: {rare}",
            "lower data.min_per_class, or look at data.map and data.annotations",
        )
