"""Run and time a saved model in fresh, pinned processes."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from harness.errors import HarnessError
from harness.measure import past
from harness.measure.host_state import Best
from harness.measure.latency import LOW, Latency
from harness.measure.lock import alone
from harness.measure.machine import machine

ROOT = Path(__file__).resolve().parents[2]
NOISY = 0.1  # half an interval, as a share of the ratio, that tells nothing
PATIENCE_S = 20.0  # for a clean time, beyond the seconds of a measurement
POLL_S = 0.5  # between two looks at what the child has to say


def predict(
    model: Path, inputs: np.ndarray, threads: int = 1, timeout_s: float = 600, runtime: str = "onnx"
) -> np.ndarray:
    """Return float32 logits (N, classes) of float32 inputs (N, 3, R, R).

    Raises:
        HarnessError: the model can't be loaded, fails, or takes longer than `timeout_s`.
    """
    with tempfile.TemporaryDirectory(prefix="harness-") as folder:
        files = {"inputs": f"{folder}/inputs.npy", "logits": f"{folder}/logits.npy"}
        np.save(files["inputs"], inputs)
        job = {"verb": "predict", "model": str(model), "threads": threads, "runtime": runtime, **files}
        _child(job, folder, timeout_s)
        return np.load(files["logits"])


def measure(
    model: Path,
    reference: Path,
    threads: int = 1,
    seconds: float = 2.0,
    runtime: str = "onnx",
    patience_s: float = PATIENCE_S,
) -> Latency:
    """Time a model against the reference network, by turns, on one image; one measurement a host at a time.

    seconds: about the most it takes, the start of its processes included; it ends as soon as the interval is narrow.
    patience_s: how much longer it may take while a neighbour shares the processor or too little can be told.

    Raises:
        HarnessError: a model can't be loaded or fails, or the machine is too noisy to tell its time.
    """
    job = {"verb": "measure", "model": str(model), "reference": str(reference), "threads": threads, "runtime": runtime}
    of = past.key(reference, threads, "trial")
    with alone() as waited_s, tempfile.TemporaryDirectory(prefix="harness-") as folder:
        known = past.read(past.path())
        job |= {"best": asdict(known.best) if known.best else None, "apart": known.apart(of)}
        job |= {"seconds": seconds, "patience_s": patience_s, "noisy": NOISY, "waiting": f"{folder}/waiting"}
        raw = _child(job, folder, timeout_s=60 + 20 * seconds + 2 * patience_s)
        latency = latency_of(raw, waited_s, threads, Best(**raw["best"]), job["apart"])
        past.add(past.path(), of, latency)
    check_quiet(model, latency)
    return latency


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
    return Latency.of(raw["processes"], threads, machine(), seen, best=best, apart=apart)


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


def end_to_end(model: Path, threads: int = 1, seconds: float = 0.6, runtime: str = "onnx") -> float:
    """Return the CPU ms from one image's JPEG, twice the model's side, to logits; no part of a score.

    Decoding, resizing and normalising are the harness's own, the photograph is made up.

    Raises:
        HarnessError: the model can't be loaded or fails.
    """
    job = {"verb": "end_to_end", "model": str(model), "threads": threads, "runtime": runtime}
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
