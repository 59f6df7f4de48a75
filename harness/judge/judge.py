"""The judge: from an entry's folder to a verdict; the same for the competitor and the organiser.

And from the folder of an entry that has its verdict to one more session of its time, taken in the same way.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, get_args

import numpy as np

from harness.data.prepare import prepare
from harness.data.split import Dataset
from harness.errors import pick
from harness.judge import audit, timing
from harness.judge.audit import Witness
from harness.judge.bootstrap import classes_to_text, draws, f1_to_text
from harness.judge.scoring import Entrant, answers
from harness.measure.cost import cost as cost_of
from harness.measure.cost import parameters_of_onnx
from harness.measure.fastest import GLANCE_S, choose, difference
from harness.measure.latency import Latency
from harness.measure.machine import versions
from harness.measure.process import PATIENCE_S, check_quiet
from harness.measure.quality import f1_by_class
from harness.measure.result import result
from harness.processors import check_threads
from harness.record.manifest import MODEL, PREDICTIONS, Manifest
from harness.record.result import Cost, Result
from harness.record.verdict import Session, Verdict
from harness.rules.competition import AUTO, Competition
from harness.rules.formulas import formula_of
from harness.rules.reference import reference_model
from harness.runtime.engines import RUNTIMES
from harness.sandbox import sandbox as sandboxes
from harness.sandbox.box import WATCHED
from harness.sandbox.limits import Limits
from harness.sandbox.refused import Refused
from harness.sandbox.remote import RUNNER, Mode
from harness.submission.entry import read
from harness.submission.terms import AGAIN

LATENCY_S = 4.0
"""The most that timing an entry takes, about, unless somebody gives it more."""
COPIES = 1024
"""The most private copies of test images."""
LIMITS = Limits()
STAGES = ("gate", "score", "time", "audit")
"""What a judgement goes through, in this order."""


def judge(
    folder: Path,
    dataset: Dataset,
    competition: Competition,
    cache: Path,
    *,
    limits: Limits = LIMITS,
    public: np.ndarray | None = None,
    published: Sequence[str] = (),
    sandbox: Mode = "strict",
    debug: bool = False,
    latency_s: float = LATENCY_S,
    patience_s: float = PATIENCE_S,
    progress: Callable[[str], None] = lambda stage: None,
    program: Path = RUNNER,
) -> Verdict:
    """Check an entry, run it over the test images, time it, audit it and score it.

    cache: where the built reference network is kept. public: of the test images, true (N,) for the public part; without
    it both parts are all of them. published: names of the test images in a team's copy, as `data.published` gives
    them. sandbox: "unsafe" is for one's own models. debug: score, time and audit on the validation images, whose labels
    everybody has, with F1 by class; the test images are for `agreement` alone. latency_s: the most that timing takes,
    about; patience_s: how much longer while something else shares the processor. progress: is told each of `STAGES`
    when it begins. program: as `scoring.Entrant`.

    Raises:
        Refused: the entry breaks a rule; the message names the file, what was found and what is allowed.
        HarnessError: no fault of the entry's: it can't be judged here, or the machine is too noisy.
    """
    start = time.monotonic()
    if not debug:
        dataset.check_labels()
    reference = _ready(competition, cache, sandbox)
    progress("gate")
    entry, submitted, macs = read(folder, dataset, competition, limits, published)
    progress("score")
    entrant = Entrant(folder / MODEL, "onnx", competition.threads, limits, sandbox, program)
    judged, public = (replace(dataset, test=dataset.validation), None) if debug else (dataset, public)
    shown = _shown(judged)
    logits, checks = _scored(entrant, shown, entry, judged)
    found = logits[: len(judged.test)].argmax(axis=1)
    again = answers(entrant, dataset.test.pixels, entry.prepared())[0].argmax(axis=1) if debug else found
    agreement = _agreement(folder / PREDICTIONS, submitted, again, competition.agreement)
    checks |= _learnt(shown, logits, judged)
    progress("time")
    duel, runtime = _duel(entrant, reference, competition, shown, entry, logits)
    latency, witnesses = timing.measure(duel, latency_s, patience_s)
    progress("audit")
    checks |= _audited(shown, logits, witnesses, competition.threads)
    if debug:
        checks["classes"] = _by_class(judged, found)
    check_quiet(folder / MODEL, latency)
    cost = cost_of(macs, parameters_of_onnx(folder / MODEL), runtime, latency)
    return Verdict.of(
        *_parts(competition, judged, found, public, cost),
        entry=entry.name,
        model_sha256=entry.files[MODEL],
        size_bytes=(folder / MODEL).stat().st_size,
        agreement=agreement,
        checks=checks,
        sandbox=sandbox,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        seconds=round(time.monotonic() - start, 3),
        competition=competition.name,
        competition_digest=competition.digest(),
        formula=competition.formula,
        samples={"runtime": runtime} | latency.to_dict(),
        machine=dict(latency.machine) | {"versions": versions()},
        **_kept(competition, judged, found, public),
    )


def retime(
    folder: Path,
    dataset: Dataset,
    competition: Competition,
    cache: Path,
    *,
    runtime: str,
    limits: Limits = LIMITS,
    published: Sequence[str] = (),
    sandbox: Mode = "strict",
    latency_s: float = LATENCY_S,
    patience_s: float = 0.0,
    program: Path = RUNNER,
) -> Session:
    """Time an entry that was judged before once more: in the same sandbox, by the same loop, with the same audits.

    Its images are new private copies, and what it answers for them is what it must answer while it is timed.

    runtime: the engine that it was timed by. patience_s: none as a rule, for another minute is as good, and an entry
    may come in meanwhile. The others are as `judge`'s.

    Raises:
        Refused: the entry breaks a rule, now.
        HarnessError: no fault of the entry's: it can't be timed here, or the machine is too noisy.
    """
    start = time.monotonic()
    reference = _ready(competition, cache, sandbox)
    entry = read(folder, dataset, competition, limits, published)[0]
    entrant = Entrant(folder / MODEL, "onnx", competition.threads, limits, sandbox, program)
    shown = _copied(dataset)
    logits, _ = _scored(entrant, shown, entry, dataset)
    duel = _against(entrant, reference, competition, shown, entry).by(runtime)
    latency, witnesses = timing.measure(duel, latency_s, patience_s)
    checks = _audited(shown, logits, witnesses, competition.threads)
    check_quiet(folder / MODEL, latency)
    return Session(
        ratio=latency.ratio, ratio_low=latency.ratio_low, ratio_high=latency.ratio_high,
        latency_ms=latency.ms, latency_low_ms=latency.low_ms, latency_high_ms=latency.high_ms,
        checks=checks,
        samples={"runtime": runtime} | latency.to_dict(),
        machine=dict(latency.machine) | {"versions": versions()},
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        seconds=round(time.monotonic() - start, 3),
    )  # fmt: skip


def _ready(competition: Competition, cache: Path, mode: Mode) -> Path:
    """Make sure that this competition can be judged here; return its reference network."""
    pick(dict.fromkeys(get_args(Mode)), mode, "sandbox")
    formula_of(competition)  # a misspelt formula stops here, not after the measurement
    check_threads(competition.threads)
    if mode == "strict":
        sandboxes.check()
    return reference_model(competition.reference, cache)


@dataclass(frozen=True)
class _Shown:
    """The test images and, after them, private copies of some: uint8 (N + M, S, S, 3); the positions copied (M,)."""

    pixels: np.ndarray
    origin: np.ndarray

    @property
    def copies(self) -> np.ndarray:
        """Positions of the copies (M,)."""
        return np.arange(len(self.pixels) - len(self.origin), len(self.pixels))


def _shown(dataset: Dataset) -> _Shown:
    private, origin = audit.copies(dataset.test, COPIES, np.random.default_rng())
    return _Shown(np.concatenate([dataset.test.pixels, private]), origin)


def _copied(dataset: Dataset) -> _Shown:
    """Show only what timing takes: some of the test images, and their private copies."""
    private, origin = audit.copies(dataset.test, COPIES, np.random.default_rng())
    return _Shown(np.concatenate([dataset.test.pixels[origin], private]), np.arange(len(origin)))


def _scored(entrant: Entrant, shown: _Shown, entry: Manifest, dataset: Dataset) -> tuple[np.ndarray, dict[str, Any]]:
    """Return the logits of all that is shown, and the figures of the checks on them."""
    classes = len(dataset.classes)
    logits, again, twice = answers(entrant, shown.pixels, entry.prepared())
    if logits.shape[1] != classes:
        what = f"{entrant.model}: {logits.shape[1]} outputs; the data set has {classes} classes"
        raise Refused("classes", what, "train on this data set, or name the one that the model was trained on")
    return logits, {"determinism": audit.determinism(logits[twice], again)}


def _learnt(shown: _Shown, logits: np.ndarray, dataset: Dataset) -> dict[str, Any]:
    """Return the figures of the check that an entry knows classes, and not images."""
    labels, found = dataset.test.labels[shown.origin], logits.argmax(axis=1)
    return {"perturbed": audit.perturbed(labels, found[shown.origin], found[shown.copies], len(dataset.classes))}


def _by_class(dataset: Dataset, found: np.ndarray) -> dict[str, Any]:
    """Return how many images there were, and F1 of each class."""
    scores = f1_by_class(dataset.test.labels, found, len(dataset.classes))
    return {"images": len(found)} | {f"F1 of {name}": f1 for name, f1 in zip(dataset.classes, scores, strict=True)}


def _duel(
    entrant: Entrant, reference: Path, competition: Competition, shown: _Shown, entry: Manifest, logits: np.ndarray
) -> tuple[timing.Duel, str]:
    """Return what is to be timed, with the engine that the competition names or the fastest that computes the same."""
    duel = _against(entrant, reference, competition, shown, entry)
    if competition.runtime != AUTO:
        return duel.by(competition.runtime), competition.runtime

    def glance(runtime: str) -> Latency:
        return timing.measure(duel.by(runtime), GLANCE_S)[0]

    def check(runtime: str) -> str | None:
        found = answers(replace(entrant, runtime=runtime), shown.pixels[shown.copies], entry.prepared())[0]
        return difference(logits[shown.copies], found)

    chosen = choose(tuple(RUNTIMES), glance, check)[0].runtime
    return duel.by(chosen), chosen


def _against(
    entrant: Entrant, reference: Path, competition: Competition, shown: _Shown, entry: Manifest
) -> timing.Duel:
    private, plain = (prepare(shown.pixels[which], entry.prepared()) for which in (shown.copies, shown.origin))
    return timing.Duel(entrant, reference, private, plain, competition.reference["resolution_px"])


def _audited(shown: _Shown, logits: np.ndarray, witnesses: list[Witness], threads: int) -> dict[str, Any]:
    """Return the figures of the checks on what was seen while time was taken."""
    timed = logits[np.concatenate([shown.copies, shown.origin])]
    return {
        "outputs": audit.outputs(timed, witnesses),
        "threads": audit.threads(witnesses, threads),
        # where nobody can read another's clock, each question for it is work outside, and the answer the entry's own
        **({"outside": audit.outside(witnesses)} if WATCHED else {}),
        "repeat": audit.repeat(witnesses),
        "unseen": audit.unseen(witnesses),
    }


def _parts(
    competition: Competition, dataset: Dataset, found: np.ndarray, public: np.ndarray | None, cost: Cost
) -> tuple[Result, Result, Result]:
    """Score the whole, the public and the private part of the test images."""
    whole = np.ones(len(found), dtype=bool)
    parts = (whole, whole, whole) if public is None else (whole, public, ~public)
    labels, classes = dataset.test.labels, len(dataset.classes)
    scored = [result(competition, cost, labels[part], found[part], classes) for part in parts]
    return scored[0], scored[1], scored[2]


def _kept(competition: Competition, dataset: Dataset, found: np.ndarray, public: np.ndarray | None) -> dict[str, str]:
    """Return the predictions, and what F1 would have been with other images: of the whole and of its two parts."""

    def drawn(which: np.ndarray) -> str:
        labels, classes = dataset.test.labels[which], len(dataset.classes)
        return f1_to_text(draws(labels, found[which], classes, competition.name))

    whole = drawn(np.ones(len(found), dtype=bool))
    parts = (whole, whole) if public is None else (drawn(public), drawn(~public))
    packed = {"predicted": classes_to_text(found), "f1_draws": whole}
    return packed | dict(zip(("f1_public_draws", "f1_private_draws"), parts, strict=True))


def _agreement(path: Path, submitted: np.ndarray, found: np.ndarray, least: float) -> float:
    share = float(np.mean(submitted == found))
    if share < least:
        what = f"{path}: {share:.4f} of the labels come out again from {MODEL}; allowed: {least} or more"
        raise Refused("agreement", what, f"submit the model's own predictions: {AGAIN}")
    return share
