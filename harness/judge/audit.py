"""What an entry's process showed while it was timed, held against what an honest network would: each check a reason."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from harness.data.split import Images
from harness.measure.fastest import TOLERANCE
from harness.measure.latency import T95
from harness.measure.quality import macro_f1
from harness.sandbox.refused import Refused

FASTER = 0.10
"""The most that the same image again may be faster. Source: MLPerf's TEST04."""
APART = 0.05
"""The most that the time of other images may differ. Source: MLPerf's TEST05, as the next two."""
APART_SMALL = 0.20
SMALL_MS = 0.2
OUTSIDE = 0.09
"""The most CPU time outside of the timed runs beyond what the protocol takes, as a share of all."""
BUSY = 1.05
"""The most CPU seconds in a second, for each thread."""
LOST = 0.05
"""The most F1 that private copies of the test images may cost: by experiment (docs/competition.md)."""
LIGHT, CONTRAST, NOISE = 4.0, 0.03, 3.0
"""How much a private copy's brightness (of 255) and contrast (share) change, and the noise's deviation (of 255)."""

KINDS = ("private", "plain", "noise", "same")
"""What is shown while time is audited: private copies, test images, normal noise, and one private copy again."""


@dataclass(frozen=True)
class Witness:
    """What was seen of one process while it was timed.

    ms: of one image, by `KINDS`. logits: rows that came of `images`, positions among the scored ones (-1: of none).
    outside: CPU time beyond the timed runs and the protocol's own, by `outside_share`. busy: CPU over wall time of the
    runs. threads: of the entry's process, and as many as there may be (0: can't be told).
    """

    ms: Mapping[str, float]
    images: np.ndarray
    logits: np.ndarray
    outside: float
    busy: float
    threads: int
    threads_allowed: int


def copies(images: Images, count: int, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return private copies of so many images, uint8 (count, S, S, 3), and the positions they were made of.

    A little brighter or darker, of more or less contrast, and noisy: so little that a network doesn't mind, and enough
    that no copy has the pixels of its original, nor a simple sum of them. Shifts, which networks trained without them
    do mind (a pixel of 16 cost them up to 0.23), are left out.
    """
    chosen = random.permutation(len(images))[:count]
    found = np.empty((len(chosen), *images.pixels.shape[1:]), dtype=np.uint8)
    for out, image in zip(found, images.pixels[chosen].astype(np.float32), strict=True):
        middle = image.mean()
        lit = (image - middle) * random.uniform(1 - CONTRAST, 1 + CONTRAST) + middle + random.uniform(-LIGHT, LIGHT)
        out[:] = np.clip(np.rint(lit + NOISE * random.standard_normal(lit.shape, dtype=np.float32)), 0, 255)
    return found, chosen


def determinism(first: np.ndarray, again: np.ndarray) -> dict[str, Any]:
    """Hold two runs over the same images against each other. first, again: logits (N, classes).

    Raises:
        Refused: the logits differ.
    """
    apart = _apart(first, again)
    if apart > TOLERANCE:
        what = f"the same {len(first)} images gave other logits the second time: {apart:.2g} of their range apart"
        raise Refused("determinism", f"{what}; allowed: {TOLERANCE:g}", "submit a network without random operators")
    return {"apart": apart, "allowed": TOLERANCE, "images": len(first)}


def outputs(scored: np.ndarray, witnesses: Sequence[Witness]) -> dict[str, Any]:
    """Hold the logits that came while timing against those that were scored, (N, classes), of the same images.

    Raises:
        Refused: they differ.
    """
    images = np.concatenate([w.images for w in witnesses])
    timed = np.concatenate([w.logits for w in witnesses])[images >= 0]
    images = images[images >= 0]
    apart = _apart(scored[images], timed, float(np.ptp(scored)))
    if apart > TOLERANCE:
        wrong = np.abs(scored[images] - timed).max(axis=1) > TOLERANCE * np.ptp(scored)
        raise Refused(
            "outputs",
            f"the logits of {wrong.sum()} of {len(images)} images differ between timing and scoring, by up to "
            f"{apart:.2g} of their range; allowed: {TOLERANCE:g}",
            "submit a network whose answer for an image doesn't hang on when or beside what it is asked",
        )
    return {"apart": apart, "allowed": TOLERANCE, "images": len(images)}


def repeat(witnesses: Sequence[Witness]) -> dict[str, Any]:
    """Hold the time of the same image again against that of images never shown.

    Raises:
        Refused: it is certainly faster than allowed.
    """
    ratio, low, high = _ratio(witnesses, "same")
    least = 1 - FASTER
    if high < least:
        raise Refused(
            "repeat",
            f"the same image again takes {ratio:.3f} ({low:.3f} to {high:.3f}) times as long as a new one; "
            f"allowed: {least:.2f} or more",
            "submit a network that remembers nothing",
        )
    return {"ratio": ratio, "low": low, "high": high, "allowed_low": least}


def unseen(witnesses: Sequence[Witness]) -> dict[str, Any]:
    """Hold the times of test images and of noise against that of private copies, which are what is scored.

    Raises:
        Refused: one of them certainly differs by more than allowed.
    """
    ms = float(np.exp(np.mean([np.log(w.ms["private"]) for w in witnesses])))
    allowed = APART_SMALL if ms <= SMALL_MS else APART
    found: dict[str, Any] = {"allowed": allowed}
    for kind in ("plain", "noise"):
        ratio, low, high = _ratio(witnesses, kind)
        if high < 1 / (1 + allowed) or low > 1 + allowed:
            raise Refused(
                "unseen",
                f"{SPOKEN[kind]} take {ratio:.3f} ({low:.3f} to {high:.3f}) times as long as private copies of test "
                f"images; allowed: {allowed:.0%} either way",
                "submit a network whose time doesn't hang on what is in the image",
            )
        found |= {f"{kind}_ratio": ratio, f"{kind}_low": low, f"{kind}_high": high}
    return found


SPOKEN = {"plain": "the test images themselves", "noise": "images of noise"}


def outside_share(inside_ms: float, outside_ms: float) -> float:
    """Return CPU time outside of the timed runs as a share of all of it, at most 1.

    Of all, not of that inside: a cheat has next to none inside, or less than none where the clock's noise is larger,
    and a quotient by it is so wild that its mean proves nothing.
    """
    return outside_ms / max(max(inside_ms, 0.0) + abs(outside_ms), 1e-9)


def outside(witnesses: Sequence[Witness]) -> dict[str, Any]:
    """Look for work before, after or between the timed runs.

    Raises:
        Refused: there is certainly more of it than allowed.
    """
    share, low, high = _interval(np.array([w.outside for w in witnesses]))
    if low > OUTSIDE:
        raise Refused(
            "outside",
            f"the process worked outside of the timed runs: {share:.0%} ({low:.0%} to {high:.0%}) of its CPU time; "
            f"allowed: {OUTSIDE:.0%}",
            "submit a network that works when it is asked",
        )
    return {"share": share, "low": low, "high": high, "allowed": OUTSIDE}


def threads(witnesses: Sequence[Witness], asked: int) -> dict[str, Any]:
    """Count threads, and CPU seconds in a second. asked: the competition's threads.

    Raises:
        Refused: there are more than there may be.
    """
    seen, allowed = max(w.threads for w in witnesses), max(w.threads_allowed for w in witnesses)
    busy = float(np.mean([w.busy for w in witnesses]))
    if (allowed and seen > allowed) or busy > BUSY * asked:
        raise Refused(
            "threads",
            f"{seen} threads, {busy:.2f} CPU seconds in a second; allowed: {allowed or 'any'} and {BUSY * asked:.2f}",
            "submit a network for the competition's threads",
        )
    return {"threads": seen, "allowed": allowed, "busy": busy, "allowed_busy": BUSY * asked}


def perturbed(
    labels: np.ndarray, original: np.ndarray, private: np.ndarray, classes: int, lost: float = LOST
) -> dict[str, Any]:
    """Hold F1 on private copies against F1 on their originals.

    labels: true ones (N,). original, private: predicted for the test images and for the copies (N,).

    Raises:
        Refused: the copies cost certainly more than `lost`.
    """
    f1, copied = macro_f1(labels, original, classes), macro_f1(labels, private, classes)
    # A bootstrap over the images: with few of them, or rare classes, F1 itself is uncertain.
    random = np.random.default_rng(0)
    drawn = (random.integers(0, len(labels), len(labels)) for _ in range(200))
    costs = [macro_f1(labels[d], original[d], classes) - macro_f1(labels[d], private[d], classes) for d in drawn]
    low = float(np.quantile(costs, 0.025))
    if low > lost:
        raise Refused(
            "perturbed",
            f"F1 on private copies of {len(labels)} test images, slightly lit and noisy, is {f1 - copied:.2f} "
            f"lower than on the images themselves ({low:.2f} at least); allowed: {lost:.2f}",
            "submit a network that has learnt the classes and not the images",
        )
    # Not the two F1 themselves: a team may see these figures, and half of the images are private.
    return {"cost": f1 - copied, "cost_low": low, "allowed": lost, "images": len(labels)}


def _apart(expected: np.ndarray, found: np.ndarray, spread: float = 0.0) -> float:
    """Return the largest difference of logits as a share of their range."""
    return float(np.abs(expected - found).max()) / max(spread or float(np.ptp(expected)), 1e-12)


def _ratio(witnesses: Sequence[Witness], kind: str) -> tuple[float, float, float]:
    """Return how a kind's time compares with that of private copies, with its 95 % interval over the processes."""
    logs = np.array([np.log(w.ms[kind] / w.ms["private"]) for w in witnesses])
    return tuple(float(np.exp(v)) for v in _interval(logs))


def _interval(values: np.ndarray) -> tuple[float, float, float]:
    """Return mean and 95 % interval (Student's)."""
    half = T95[min(len(values) - 2, len(T95) - 1)] * values.std(ddof=1) / np.sqrt(len(values))
    mean = float(values.mean())
    return mean, mean - float(half), mean + float(half)
