"""Labelled images in memory, their split and their fingerprint."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from harness.errors import HarnessError


@dataclass(frozen=True)
class Images:
    """Labelled square images.

    pixels: uint8 (N, S, S, 3), RGB. labels: int64 (N,), an index into the classes; None where they are hidden, so that
    no figure can be made of them. names: N unique ids. weights: float32 (N,), how much each counts in the loss; None
    for 1 each. provenance: N texts that say what each comes from; None where all come from the data set as it is.
    """

    pixels: np.ndarray
    labels: np.ndarray | None
    names: tuple[str, ...]
    weights: np.ndarray | None = None
    provenance: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        parts = {"images": self.pixels, "labels": self.labels, "names": self.names, "weights": self.weights,
                 "provenances": self.provenance}  # fmt: skip
        counts = {name: len(part) for name, part in parts.items() if part is not None}
        if len(set(counts.values())) > 1:
            raise ValueError(", ".join(f"{count} {name}" for name, count in counts.items()))

    def __len__(self) -> int:
        return len(self.pixels)

    def take(self, index: np.ndarray) -> Images:
        """Return the images at the given positions."""
        labels, weights = (None if part is None else part[index] for part in (self.labels, self.weights))
        names, provenance = (part and tuple(part[i] for i in index) for part in (self.names, self.provenance))
        return Images(self.pixels[index], labels, names, weights, provenance)

    def with_pixels(self, pixels: np.ndarray) -> Images:
        """Return the same images as other pixels show them, uint8 (N, S, S, 3)."""
        return replace(self, pixels=pixels)


@dataclass(frozen=True)
class Dataset:
    """A data set cut into three parts; the test part is for the judge alone.

    report: what was read, dropped and damaged, as JSON-able counts and lists.
    """

    name: str
    classes: tuple[str, ...]
    train: Images
    validation: Images
    test: Images
    report: Mapping[str, Any] = field(default_factory=dict)

    @property
    def side_px(self) -> int:
        """Side of the stored square images, in px."""
        return int(self.train.pixels.shape[1])

    @property
    def hidden(self) -> bool:
        """Whether the labels of the test part are the judge's alone, and not here."""
        return self.test.labels is None

    def counts(self) -> dict[str, list[int] | str]:
        """Count the images per class in each part; "hidden" where the labels are."""
        parts = {"train": self.train, "validation": self.validation, "test": self.test}
        return {k: "hidden" if p.labels is None else self._by_class(p.labels) for k, p in parts.items()}

    def _by_class(self, labels: np.ndarray) -> list[int]:
        return np.bincount(labels, minlength=len(self.classes)).tolist()

    def fingerprint(self) -> str:
        """Hash what every team holds (sha256, 64 hex digits): neither the test part's labels, nor its order.

        Names are left out, as a published copy has its own. Train and validation count in their order, which decides
        what a trial learns.
        """
        digest = hashlib.sha256("\0".join(self.classes).encode())
        for part in (self.train, self.validation):
            digest.update(np.ascontiguousarray(part.labels, dtype="<i8"))
            digest.update(str(part.pixels.shape).encode())
            digest.update(np.ascontiguousarray(part.pixels))
        digest.update("".join(sorted(pixel_hashes(self.test.pixels))).encode())
        return digest.hexdigest()

    def judge_fingerprint(self) -> str:
        """Hash what the judge alone holds: classes, names, labels and pixels of the three parts (sha256).

        Before there were two it was the only one: entries, runs and boards from then are known by it.

        Raises:
            HarnessError: the test part's labels are hidden.
        """
        self.check_labels()
        digest = hashlib.sha256("\0".join(self.classes).encode())
        for part in (self.train, self.validation, self.test):
            digest.update("\0".join(part.names).encode())
            digest.update(np.ascontiguousarray(part.labels, dtype="<i8").tobytes())
            digest.update(str(part.pixels.shape).encode())
            digest.update(np.ascontiguousarray(part.pixels))
        return digest.hexdigest()

    def is_known_by(self, fingerprint: str) -> bool:
        """Whether a fingerprint, one of today or from before there were two, is of this data set."""
        return fingerprint == self.fingerprint() or (not self.hidden and fingerprint == self.judge_fingerprint())

    def check_labels(self) -> None:
        """Refuse a team's copy where labels of the test part are needed.

        Raises:
            HarnessError: they are hidden.
        """
        if self.hidden:
            raise HarnessError(
                f"data: '{self.name}' is a team's copy, without labels of its {len(self.test)} test images",
                "give the organiser's data set, which has them",
            )


def pixel_hashes(pixels: np.ndarray) -> list[str]:
    """Hash each of uint8 (N, S, S, 3) with its shape: N times 64 hex digits."""
    shape = str(pixels.shape[1:]).encode()
    return [hashlib.sha256(shape + image.tobytes()).hexdigest() for image in pixels]


def merge(first: Images, second: Images) -> Images:
    """Join two parts: the final training learns from train and validation together."""
    both = (first, second)
    weights = [np.ones(len(part), np.float32) if part.weights is None else part.weights for part in both]
    provenance = [("",) * len(part) if part.provenance is None else part.provenance for part in both]
    return Images(
        np.concatenate([part.pixels for part in both]),
        np.concatenate([part.labels for part in both]),
        first.names + second.names,
        None if first.weights is second.weights is None else np.concatenate(weights),
        None if first.provenance is second.provenance is None else provenance[0] + provenance[1],
    )


def stratified(labels: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Choose `count` positions with the class shares of the whole, sorted.

    Largest remainders decide the odd ones; every class that has an image keeps at least one where count allows.
    """
    if not 0 <= count <= len(labels):
        raise HarnessError(
            f"{count} images asked for, {len(labels)} are there",
            f"ask for 0 to {len(labels)} images",
        )
    rng = np.random.default_rng(seed)
    kinds, sizes = np.unique(labels, return_counts=True)
    exact = sizes * (count / max(len(labels), 1))
    take = np.floor(exact).astype(int)
    if count >= len(kinds):
        take = np.maximum(take, 1)
    while take.sum() < count:
        take[np.argmax(np.where(take < sizes, exact - take, -np.inf))] += 1
    while take.sum() > count:
        take[np.argmax(np.where(take > 1, take - exact, -np.inf))] -= 1
    chosen = [rng.permutation(np.flatnonzero(labels == k))[:t] for k, t in zip(kinds, take, strict=True)]
    return np.sort(np.concatenate(chosen)) if chosen else np.empty(0, dtype=np.int64)


def cut(labels: np.ndarray, shares: Sequence[float], seed: int) -> list[np.ndarray]:
    """Cut positions into stratified parts by share; what remains is the last part.

    shares: each 0..1, together at most 1. Where rounding asks for more than is left, the later part gets what is left.
    """
    rest = np.arange(len(labels))
    parts = []
    for number, share in enumerate(shares):
        count = min(round(share * len(labels)), len(rest))
        inner = stratified(labels[rest], count, seed + number)
        parts.append(rest[inner])
        rest = np.delete(rest, inner)
    return [*parts, rest]


def cut_groups(labels: np.ndarray, groups: np.ndarray, shares: Sequence[float], seed: int) -> list[np.ndarray]:
    """Cut positions into parts of about the given shares of each class, each group whole in one part.

    The heaviest group first (rare classes weigh more), each goes where it brings the class counts closest to
    their share; then parts without some class get a group from a part that can spare it.
    """
    kinds, kind = np.unique(labels, return_inverse=True)
    names, group = np.unique(groups, return_inverse=True)
    table = np.zeros((len(names), len(kinds)))
    np.add.at(table, (group, kind), 1)
    total = table.sum(axis=0)
    goal = np.asarray(shares)[:, None] * total
    have = np.zeros_like(goal)
    part = np.empty(len(names), dtype=np.int64)
    order = np.random.default_rng(seed).permutation(len(names))
    for g in order[np.argsort(-(table / total).sum(axis=1)[order], kind="stable")]:
        worse = ((have + table[g] - goal) ** 2 - (have - goal) ** 2) / total
        part[g] = np.argmin(worse.sum(axis=1))
        have[part[g]] += table[g]
    fill_gaps(part, table, have)
    return [np.flatnonzero(part[group] == p) for p in range(len(shares))]


def fill_gaps(part: np.ndarray, table: np.ndarray, have: np.ndarray) -> None:
    """Move the smallest group that can be spared to each part that lacks a class, in place.

    part: (G,) of each group. table: (G, C) and have: (P, C) members of each class in each group and part.
    """
    for p, c in np.argwhere(have == 0):
        spare = ((have[part] > table) | (table == 0)).all(axis=1) & (part != p) & (table[:, c] > 0)
        if have[p, c] == 0 and spare.any():
            g = min(np.flatnonzero(spare), key=lambda g: table[g].sum())
            have[part[g]] -= table[g]
            have[p] += table[g]
            part[g] = p
