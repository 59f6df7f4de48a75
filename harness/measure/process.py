"""Run and time a saved model in fresh, pinned processes."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from harness.errors import HarnessError
from harness.measure import past
from harness.measure.control import PATIENCE_S as CONTROL_PATIENCE_S
from harness.measure.control import SECONDS, control_model
from harness.measure.host_state import Best
from harness.measure.latency import LOW, Latency
from harness.measure.lock import alone
from harness.measure.machine import machine
from harness.runtime.model_input import ModelInput

ROOT = Path(__file__).resolve().parents[2]
NOISY = 0.1  # half an interval, as a share of the ratio, that tells nothing
PATIENCE_S = 20.0  # for a clean time, beyond the seconds of a measurement
POLL_S = 0.5  # between two looks at what the child has to say


def predict(
    model: Path,
    inputs: np.ndarray,
    threads: int = 1,
    timeout_s: float = 600,
    runtime: str = "onnx",
    takes: Sequence[ModelInput] = (),
) -> np.ndarray:
    """Return float32 logits (N, classes) of float32 inputs (N, 3, R, R).

    takes: what a model takes that isn't one of ours; its logits may have any shape, and come as (N, all of it).

    Raises:
        HarnessError: the model can't be loaded, fails, or takes longer than `timeout_s`.
    """
    with tempfile.TemporaryDirectory(prefix="harness-") as folder:
        files = {"inputs": f"{folder}/inputs.npy", "logits": f"{folder}/logits.npy"}
        np.save(files["inputs"], inputs)
        job = {"verb": "predict", "model": str(model), "threads": threads, "runtime": runtime, **files}
        _child(job | {"takes": [asdict(one) for one in takes]}, folder, timeout_s)
        return np.load(files["logits"])


def measure(
    model: Path,
    reference: Path,
    threads: int = 1,
    seconds: float = 2.0,
    runtime: str = "onnx",
    patience_s: float = PATIENCE_S,
    size: Sequence[int] | None = None,
) -> Latency:
    """Time a model against the reference network, by turns, on one image; one measurement a host at a time.

    A model whose batch is fixed is timed on such a batch.

    seconds: about the most it takes, the start of its processes included; it ends as soon as the interval is narrow.
    patience_s: how much longer it may take while a neighbour shares the processor or too little can be told.
    size: of the images of a model whose sizes are free, as of `model_input.sized`.

    Raises:
        HarnessError: a model can't be loaded or fails, or the machine is too noisy to tell its time.
    """
    job = {"verb": "measure", "model": str(model), "reference": str(reference), "threads": threads, "runtime": runtime}
    job |= {"size": size, "seconds": seconds, "patience_s": patience_s, "noisy": NOISY}
    of = past.key(reference, threads, "trial")
    with alone() as waited_s:
        for _ in range(past.read(past.path()).due(of)):
            _control(reference, threads, seconds, patience_s)
        latency = _timed(job, of, waited_s)
        past.add(past.path(), latency)
    check_quiet(model, latency)
    return latency


def control(reference: Path) -> None:
    """Time the control network beside the reference, so that the machine's next measurements know how sure they are."""
    with alone():
        _control(reference, 1, SECONDS, CONTROL_PATIENCE_S)


def _control(reference: Path, threads: int, seconds: float, patience_s: float) -> None:
    job = {"verb": "measure", "model": str(control_model(reference.parent)), "reference": str(reference)}
    job |= {"threads": threads, "runtime": "onnx", "size": None, "noisy": NOISY}
    job |= {"seconds": min(seconds, SECONDS), "patience_s": min(patience_s, CONTROL_PATIENCE_S)}
    of = past.key(reference, threads, "trial")
    past.add(past.path(), _timed(job, of, 0.0), of)


def _timed(job: dict[str, Any], of: str, waited_s: float) -> Latency:
    known = past.read(past.path())
    job |= {"best": asdict(known.best) if known.best else None, "apart": known.apart(of)}
    with tempfile.TemporaryDirectory(prefix="harness-") as folder:
        timeout_s = 60 + 20 * job["seconds"] + 2 * job["patience_s"]
        raw = _child(job | {"waiting": f"{folder}/waiting"}, folder, timeout_s)
    return latency_of(raw, waited_s, job["threads"], Best(**raw["best"]), job["apart"])


def look(seconds: float) -> tuple[list[list[float]], Best]:
    """Watch the rulers for so long; return rows of seconds, chain ms and vector ms, and this machine's best."""
    with alone(), tempfile.TemporaryDirectory(prefix="harness-") as folder:
        known = past.read(past.path()).best
        job = {"verb": "look", "model": "rulers", "threads": 1, "best": asdict(known) if known else None}
        raw = _child(job | {"seconds": seconds}, folder, timeout_s=60 + 2 * seconds)
    return raw["rows"], Best(**raw["best"])


def latency_of(raw: dict[str, Any], waited_s: float, threads: int, best: Best, apart: float) -> Latency:
    """Build a latency from what `paired_timing.repeated` returns."""
    seen = {name: round(value, 3) for name, value in raw["seen"].items()}
    seen |= {"load": round(os.getloadavg()[0], 2), "waited_s": round(waited_s, 3)}
    found = past.read(past.path()).assessment
    clock = {"clock": {name: found[name] for name in ("fit", "clean", "spread", "when")}} if found else {}
    return Latency.of(raw["processes"], threads, machine() | clock, seen, best=best, apart=apart)


def say_waiting(model: str, patience_s: float) -> None:
    """Tell that a measurement waits."""
    logging.getLogger(__name__).warning(
        "%s: something else shares the processor; its timing waits up to %.0f s for a time when nothing does "
        "(measure.patience_s)", model, patience_s,
    )  # fmt: skip


def check_quiet(model: Path, latency: Latency) -> None:
    """Refuse a latency that tells nothing.

    Raises:
        HarnessError: the machine was too noisy to tell.
    """
    if latency.doubt > NOISY:
        raise HarnessError(_noise(model, latency), "stop other programs here, or give it more time with latency_s")


def _noise(model: Path, latency: Latency) -> str:
    seen = latency.seen
    return (
        f"{model}: the machine is too noisy to time it: {latency.ratio:.4g} times the reference, but anything from "
        f"{latency.ratio_low:.4g} to {latency.ratio_high:.4g} is likely (allowed: {NOISY:.0%} either way); "
        f"{latency.clean_processes} of {len(latency.processes)} processes had the processor to themselves; load "
        f"{seen['load']}, {seen['steal_s']} s stolen by the host and {seen['interruptions']:.0f} interruptions in "
        f"{seen['wall_s']:.1f} s"
    )


def end_to_end(
    model: Path, threads: int = 1, seconds: float = 0.6, runtime: str = "onnx", size: Sequence[int] | None = None
) -> float:
    """Return the CPU ms from one image's JPEG, twice the model's sides, to logits; no part of a score.

    Decoding, resizing and normalising are the harness's own, the photograph is made up.

    size: as of `measure`.

    Raises:
        HarnessError: the model can't be loaded or fails, or takes no images, or more than one at a time.
    """
    job = {"verb": "end_to_end", "size": size, "model": str(model), "threads": threads, "runtime": runtime}
    with alone(), tempfile.TemporaryDirectory(prefix="harness-") as folder:
        raw = _child(job | {"seconds": seconds}, folder, timeout_s=60 + 20 * seconds)
    return float(np.quantile(raw["samples_ms"], LOW))


def _child(job: dict[str, Any], folder: str, timeout_s: float) -> dict[str, Any]:
    result = Path(folder, "result.json")
    quiet = {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "PATH": os.environ.get("PATH", "")}
    pipes = {name: subprocess.PIPE for name in ("stdin", "stdout", "stderr")}
    order = json.dumps(job | {"result": str(result), "timeout_s": timeout_s, "parent": os.getpid()})
    with subprocess.Popen([sys.executable, "-m", "harness.measure.clock"], text=True, env=quiet, **pipes) as child:
        try:
            said = _heard(child, job, order, timeout_s)
        except BaseException:
            child.kill()
            raise
    if not result.exists():
        reason = (said.strip().splitlines() or [f"exit code {child.returncode}"])[-1]
        raise HarnessError(f"{job['model']}: the process that ran it died: {reason}", "export the model again")
    raw = json.loads(result.read_text())
    if "error" in raw:
        raise HarnessError(*raw["error"])
    return raw


def _heard(child: subprocess.Popen, job: dict[str, Any], order: str, timeout_s: float) -> str:
    """Return what the child has written to stderr when it ends; tell meanwhile that it waits, if it does."""
    end, waiting = time.monotonic() + timeout_s, Path(job.get("waiting", os.devnull))
    given: str | None = order
    while True:
        try:
            return child.communicate(given, timeout=min(POLL_S, max(0.0, end - time.monotonic())))[1]
        except subprocess.TimeoutExpired as e:
            if time.monotonic() >= end:
                what = f"{job['model']}: still running after {timeout_s:.0f} s"
                raise HarnessError(what, "submit a faster model") from e
        given = None  # it has been sent
        if waiting.is_file():
            waiting.unlink()
            say_waiting(job["model"], job["patience_s"])
