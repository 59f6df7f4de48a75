"""What a data set is, for a person to look at: one table, before anything is trained or judged."""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Mapping
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table
from rich.text import Text

from harness.data import duplicates
from harness.data.duplicates import Copies
from harness.data.split import Dataset

CLASSES = 50  # how many have a row of their own
REASONS = 12
SHOWN = 5  # how many copies are named
OWN = ("folder", "taco")  # what people bring; of the others it is known what they hold


def show(dataset: Dataset) -> list[Copies]:
    """Print the table of a data set and what is odd about it; return the photographs that it holds more than once."""
    copies, whole = duplicates.find(dataset) if dataset.name in OWN else ([], True)
    console = Console(width=None if sys.stdout.isatty() else 140, highlight=False)
    sizes = ", ".join(f"{name} {len(getattr(dataset, name))}" for name in dataset.counts())
    console.print(f"data {dataset.name}: {sizes}, {len(dataset.classes)} classes", soft_wrap=True)
    console.print(table(dataset))
    notes = [*dataset.report.get("notes", ()), *said(copies)]
    notes += [] if whole else ["too many images to hold all against each other: there may be more copies"]
    for note in notes:
        console.print(printable(f"note:  {note}"), soft_wrap=True)
    return copies


def table(dataset: Dataset) -> Table:
    """Return the classes with their counts by part, and what was left out and why."""
    shown = Table("class")
    for name in ("train", "validation", "test", "left out"):
        shown.add_column(name, justify="right")
    shown.add_column("of these the first", overflow="fold")
    counts = {part: c if c != "hidden" else ["hidden"] * len(dataset.classes) for part, c in dataset.counts().items()}
    for kind, *numbers in zip(dataset.classes[:CLASSES], *counts.values(), strict=False):
        shown.add_row(printable(kind), *map(str, numbers), "", "")
    if len(dataset.classes) > CLASSES:
        rest = [np.sum(c[CLASSES:]) if "hidden" not in c else "hidden" for c in counts.values()]
        shown.add_row(f"{len(dataset.classes) - CLASSES} more classes", *map(str, rest), "", "")
    shown.add_section()
    totals = [f"{len(getattr(dataset, part)):,}" for part in counts]
    left = reasons(dataset.report)
    shown.add_row(f"{len(dataset.classes)} classes", *totals, f"{sum(map(len, left.values())):,}", "", style="bold")
    shown.add_section()
    for kind, count in list(dataset.report.get("rare_classes", {}).items())[:REASONS]:
        annotated = dataset.report["annotated"][kind]
        shown.add_row(
            printable(f"class left out: {kind}"), "", "", "", "", f"{count} of {annotated} objects left, too few"
        )
    by_count = sorted(left.items(), key=lambda pair: -len(pair[1]))
    for reason, names in by_count[:REASONS]:
        shown.add_row(printable(f"left out: {reason}"), "", "", "", f"{len(names):,}", printable(names[0]))
    if len(by_count) > REASONS:
        rest = sum(len(names) for _, names in by_count[REASONS:])
        shown.add_row(f"left out: {len(by_count) - REASONS} more reasons", "", "", "", f"{rest:,}", "")
    return shown


def printable(text: str) -> Text:
    """Return text without markup; what would move a terminal's cursor is shown with escapes."""
    return Text("".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text))


def reasons(report: Mapping[str, Any]) -> dict[str, list[str]]:
    """List what was left out, by reason."""
    names = defaultdict(list)
    for kind, words in (("damaged", "can't be read: "), ("dropped", "")):
        for entry in report.get(kind) or ():
            names[f"{words}{entry['reason']}"].append(entry["name"])
    return names


def said(copies: list[Copies]) -> list[str]:
    """Say which photographs are in two classes or in two parts."""
    lines = []
    for what, chosen in (
        ("of two classes", [c for c in copies if len(set(c.classes)) > 1]),
        ("in two parts", [c for c in copies if len(set(c.parts)) > 1]),
    ):
        if chosen:
            lines.append(f"{len(chosen)} {'photograph is' if len(chosen) == 1 else 'photographs are'} {what}:")
            lines += [f"  {one_line(c)}" for c in chosen[:SHOWN]]
            lines += [f"  and {len(chosen) - SHOWN} more"] if len(chosen) > SHOWN else []
    return lines


def one_line(copies: Copies) -> str:
    """Name the places of one photograph."""
    places = [f"{n} ({p}, {k})" for n, p, k in zip(copies.names, copies.parts, copies.classes, strict=True)]
    more = f" and {len(places) - 4} more" if len(places) > 4 else ""
    return f"{' = '.join(places[:4])}{more}: {'the same pixels' if copies.exact else 'nearly the same'}"
