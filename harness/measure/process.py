"""Run and time a saved model in a fresh, pinned process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from harness.errors import HarnessError
from harness.measure.latency import Latency
from harness.measure.lock import host_lock
from harness.measure.machine import machine

ROOT = Path(__file__).resolve().parents[2]


def predict(model: Path, inputs: np.ndarray, threads: int = 1, timeout_s: float = 600) -> np.ndarray:
    """Return float32 logits (N, classes) of float32 inputs (N, 3, R, R).

    Raises:
        HarnessError: the model can't be loaded, fails, or takes longer than `timeout_s`.
    """
    with tempfile.TemporaryDirectory(prefix="harness-") as folder:
        files = {"inputs": f"{folder}/inputs.npy", "logits": f"{folder}/logits.npy"}
        np.save(files["inputs"], inputs)
        _child({"verb": "predict", "model": str(model), "threads": threads, **files}, folder, timeout_s)
        return np.load(files["logits"])


def measure(model: Path, reference: Path, threads: int = 1, seconds: float = 2.0) -> Latency:
    """Time a model against the reference network, by turns, on one image; one measurement a host at a time.

    seconds: the most it takes after warm-up.
    """
    job = {"verb": "measure", "model": str(model), "reference": str(reference), "threads": threads, "seconds": seconds}
    with host_lock(), tempfile.TemporaryDirectory(prefix="harness-") as folder:
        raw = _child(job, folder, timeout_s=60 + 20 * seconds)
    samples = (tuple(round(x, 6) for x in raw[k]) for k in ("samples_ms", "reference_ms", "wall_ms"))
    return Latency(*samples, threads=threads, machine=machine())


def _child(job: dict, folder: str, timeout_s: float) -> dict:
    result = Path(folder, "result.json")
    quiet = {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "PATH": os.environ.get("PATH", "")}
    try:
        done = subprocess.run(
            [sys.executable, "-m", "harness.measure.clock"],
            input=json.dumps(job | {"result": str(result)}),
            capture_output=True,
            text=True,
            timeout=timeout_s,
            env=quiet,
        )
    except subprocess.TimeoutExpired as e:
        raise HarnessError(f"{job['model']}: still running after {timeout_s:.0f} s", "submit a faster model") from e
    if not result.exists():
        reason = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        raise HarnessError(f"{job['model']}: the process that ran it died: {reason}", "export the model again")
    raw = json.loads(result.read_text())
    if "error" in raw:
        raise HarnessError(*raw["error"])
    return raw
