"""The child's side of a measurement: run by `process` in a fresh, pinned interpreter without torch."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from harness.errors import HarnessError
from harness.runtime.onnx import input_shape, load

BATCH_S = 0.004  # long enough for the clock's cost to vanish, short enough to fall between interruptions
WARM_UP_S = (0.15, 1.5)  # least and most
WIDTH = 0.004  # stop when the low quantile stands still to this share


def main() -> None:
    """Read a job as JSON from stdin, do it, write the result as JSON to the path it names."""
    job = json.load(sys.stdin)
    pin(job["threads"])
    try:
        result = {"predict": predict, "measure": measure}[job["verb"]](job)
    except HarnessError as e:
        result = {"error": [e.what, e.fix]}
    Path(job["result"]).write_text(json.dumps(result))


def pin(threads: int) -> None:
    """Keep this process on its last `threads` processors, where the system allows it."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[-threads:])


def predict(job: dict) -> dict:
    """Run the model over an array of inputs, in batches, and save the logits."""
    run = load(Path(job["model"]), job["threads"])
    inputs = np.load(job["inputs"], mmap_mode="r")
    size = max(1, min(256, 8_000_000 // max(1, int(np.prod(inputs.shape[1:])))))
    logits = [_run(run, inputs[i : i + size]) for i in range(0, len(inputs), size)]
    np.save(job["logits"], np.concatenate(logits))
    return {"rows": len(inputs)}


def _run(run: Callable, batch: np.ndarray) -> np.ndarray:
    try:
        logits = run(np.ascontiguousarray(batch))
    except Exception as e:  # whatever the engine says of a bad model is the model's fault, and is passed on
        reason = str(e).splitlines()[0]
        raise HarnessError(f"the model fails on inputs of shape {batch.shape}: {reason}", "export it again") from e
    if logits.ndim != 2 or len(logits) != len(batch) or not np.isfinite(logits).all():
        raise HarnessError(
            f"the model returned shape {logits.shape} for {len(batch)} images, or values that aren't finite",
            "return one finite row of logits for each image",
        )
    return logits


def measure(job: dict) -> dict:
    """Time model and reference by turns until the ratio stands still or the time is up."""
    single = job["threads"] == 1
    clock = time.thread_time_ns if single else time.perf_counter_ns
    model, reference = (_timer(Path(job[k]), job["threads"], clock) for k in ("model", "reference"))
    pairs: list[tuple[float, float, float]] = []
    end = time.perf_counter() + job["seconds"]
    while time.perf_counter() < end or len(pairs) < 10:
        first_is_model = len(pairs) % 2 == 0  # A B B A: a drift meets both alike
        if first_is_model:
            (mine, wall), (other, _) = model(), reference()
        else:
            (other, _), (mine, wall) = reference(), model()
        pairs.append((mine, other, wall))
        if len(pairs) >= 60 and len(pairs) % 10 == 0 and _steady(pairs):
            break
    samples, references, walls = zip(*pairs, strict=True)
    return {"samples_ms": samples, "reference_ms": references, "wall_ms": walls}


def _steady(pairs: list[tuple[float, float, float]]) -> bool:
    """Tell whether both halves give the same ratio at the low quantile."""
    half = np.array(pairs)
    low = [np.quantile(part[:, :2], 0.2, axis=0) for part in (half[::2], half[1::2])]
    ratios = [q[0] / q[1] for q in low]
    return abs(ratios[0] / ratios[1] - 1) < WIDTH


def _timer(path: Path, threads: int, clock: Callable[[], int]) -> Callable[[], tuple[float, float]]:
    """Load and warm a model; return a function that times one short batch: (CPU ms, wall ms) for one image."""
    run = load(path, threads)
    image = np.random.default_rng(0).standard_normal((1, *input_shape(path)), dtype=np.float32)
    _run(run, image)
    once = _warm_up(run, image)
    count = max(1, round(BATCH_S / once))

    def batch() -> tuple[float, float]:
        run(image)  # the other model has just had the caches
        start, wall = clock(), time.perf_counter_ns()
        for _ in range(count):
            run(image)
        stop, wall_stop = clock(), time.perf_counter_ns()
        return (stop - start) / count / 1e6, (wall_stop - wall) / count / 1e6

    return batch


def _warm_up(run: Callable, image: np.ndarray) -> float:
    """Run until the last runs are no faster than those before; return the seconds of one run."""
    begin, times = time.perf_counter(), []
    while True:
        start = time.perf_counter()
        run(image)
        times.append(time.perf_counter() - start)
        spent = start - begin
        quarter = len(times) // 4
        if spent > WARM_UP_S[1] and len(times) > 2:
            break
        if spent > WARM_UP_S[0] and quarter >= 4:
            before, last = np.median(times[-2 * quarter : -quarter]), np.median(times[-quarter:])
            if last > 0.97 * before:
                break
    return float(np.quantile(times, 0.2))


if __name__ == "__main__":
    main()
