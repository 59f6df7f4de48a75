"""Each check passes what an honest network shows, and names what a cheat would show."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from squares import squares

from harness.judge import audit
from harness.judge.audit import Witness
from harness.sandbox.refused import Refused

RANDOM = np.random.default_rng(0)
SCORED = RANDOM.standard_normal((40, 5)).astype(np.float32)


def witness(**changed: float | np.ndarray) -> Witness:
    """What an honest network's process shows, but for noise of a per cent."""
    near = dict(zip(audit.KINDS, 0.5 * np.exp(0.01 * RANDOM.standard_normal(4)), strict=True))
    ms = {kind: changed.pop(kind, 1.0) * ms for kind, ms in near.items()}
    images = RANDOM.permutation(40)[:20]
    honest = Witness(ms, images, SCORED[images], 0.01, 0.98, 1, 1)
    return replace(honest, **changed)


def six(**changed: float | np.ndarray) -> list[Witness]:
    """Six processes alike."""
    return [witness(**changed) for _ in range(6)]


def test_an_honest_network_passes() -> None:
    """With figures that say how far from the limits it is."""
    found = [
        audit.outputs(SCORED, six()), audit.repeat(six()), audit.unseen(six()), audit.outside(six()),
        audit.threads(six(), 1), audit.determinism(SCORED, SCORED),
    ]  # fmt: skip
    assert all(any(name.startswith("allowed") for name in figures) for figures in found)


CHEATS: dict[str, Callable[[], object]] = {
    "determinism": lambda: audit.determinism(SCORED, SCORED + 0.1),
    "outputs": lambda: audit.outputs(SCORED, [*six()[1:], witness(logits=np.zeros((20, 5), dtype=np.float32))]),
    "repeat": lambda: audit.repeat(six(same=0.8)),
    "unseen": lambda: audit.unseen(six(plain=0.9)),
    "outside": lambda: audit.outside(six(outside=0.5)),
    "threads": lambda: audit.threads([*six()[1:], witness(threads=3)], 1),
}


@pytest.mark.parametrize("reason", CHEATS)
def test_a_cheat_is_refused_with_a_reason(reason: str) -> None:
    """The machine's name of the check, and figures for people."""
    with pytest.raises(Refused, match="allowed") as refused:
        CHEATS[reason]()
    assert refused.value.reason == reason


def test_who_does_nothing_inside_its_runs_is_caught_though_the_clock_is_noisy() -> None:
    """As a share of all it is certain; as a quotient by what is inside, which is noise, it wouldn't be."""
    inside_ms, outside_ms = np.array([0.02, -0.01, 0.001, 0.03, 0.002, 0.01]), np.array([3.0, 2.5, 3.1, 2.9, 3.0, 2.8])
    shares = [audit.outside_share(*pair) for pair in zip(inside_ms, outside_ms, strict=True)]
    with pytest.raises(Refused, match="allowed"):
        audit.outside([witness(outside=share) for share in shares])
    audit.outside([witness(outside=quotient) for quotient in outside_ms / inside_ms])
    assert audit.outside_share(100.0, 9.0) < audit.OUTSIDE < audit.outside_share(100.0, 10.1)


@pytest.mark.parametrize("kind", ["plain", "noise"])
@pytest.mark.parametrize(("ms", "times"), [(0.5, 1.08), (0.5, 0.92), (0.1, 1.25)])
def test_other_images_may_take_no_other_time(kind: str, ms: float, times: float) -> None:
    """Neither longer nor shorter, by 5 %, or by 20 % where a run takes 0.2 ms or less."""
    calm = [replace(w, ms={k: v * ms / 0.5 for k, v in w.ms.items()}) for w in six(**{kind: times})]
    with pytest.raises(Refused):
        audit.unseen(calm)
    if ms < audit.SMALL_MS:
        audit.unseen([replace(w, ms=w.ms | {kind: w.ms[kind] / times * 1.1}) for w in calm])


def test_a_doubt_is_no_proof() -> None:
    """What is over the limit in one process of six, and hardly on average, isn't certain."""
    repeated = audit.repeat([*six()[1:], witness(same=0.6)])
    assert repeated["low"] < repeated["allowed_low"] < repeated["high"]
    busy = audit.outside([*six()[1:], witness(outside=0.4)])
    assert busy["low"] < busy["allowed"] < busy["high"]


def test_copies_are_near_their_originals_and_none_is_one() -> None:
    """Every copy differs from its original, by little; they differ from one time to the next."""
    images = squares(120, "t", 3)
    copies, origin = audit.copies(images, 100, np.random.default_rng())
    apart = np.abs(copies.astype(int) - images.pixels[origin])
    assert copies.shape == (100, *images.pixels.shape[1:]) and len(set(origin)) == 100
    assert (apart.max(axis=(1, 2, 3)) > 0).all() and apart.mean() < 6
    assert (copies != audit.copies(images, 100, np.random.default_rng())[0]).any()


def test_a_table_of_answers_loses_its_f1_on_copies() -> None:
    """While a few other labels, or few images to tell by, are no proof."""
    labels = np.arange(300) % 3
    few = np.where(np.arange(300) % 50 == 0, (labels + 1) % 3, labels)
    assert audit.perturbed(labels, labels, few, 3)["cost"] == pytest.approx(0.02, abs=0.005)
    audit.perturbed(labels[:12], labels[:12], np.where(np.arange(12) == 5, 0, labels[:12]), 3)
    with pytest.raises(Refused) as refused:
        audit.perturbed(labels, labels, np.zeros(300, dtype=int), 3)
    assert refused.value.reason == "perturbed"
