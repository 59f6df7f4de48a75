"""The child's side of a measurement: run by `process` in a fresh, pinned interpreter without torch."""

from __future__ import annotations

import json
import os
import resource
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path

import numpy as np

from harness.errors import HarnessError
from harness.measure import paired_timing
from harness.measure.host_state import Best
from harness.measure.machine import steal_s
from harness.measure.paired_timing import calibrate, wait_for_clean
from harness.measure.pinning import chosen
from harness.measure.rulers import rulers
from harness.parent import die_with
from harness.runtime.engines import load
from harness.runtime.model_input import ModelInput
from harness.runtime.onnx import inputs_of

WARM_RUNS = 6
LOOK_S = 0.005
"""Between two runs of the rulers, when they alone are looked at."""


def main() -> None:
    """Read a job as JSON from stdin, do it, write the result as JSON to the path it names."""
    job = json.load(sys.stdin)
    die_with(job["parent"], signal.SIGKILL)
    pin(job["threads"])
    verb = {"predict": predict, "measure": measure, "end_to_end": end_to_end, "look": look}[job["verb"]]
    Path(job["result"]).write_text(json.dumps(_answer(verb, job)))


def _answer(verb: Callable[[dict], dict], job: dict) -> dict:
    try:
        return verb(job)
    except HarnessError as e:
        return {"error": [e.what, e.fix]}
    except Exception as e:  # what no engine and no model should do: said, for the process has nobody else to tell
        reason = (str(e).splitlines() or [""])[0]
        return {"error": [f"{job['model']}: {type(e).__name__}: {reason}", "export the model again"]}


def pin(threads: int) -> None:
    """Keep this process on processors that are idle, one a thread, where the system allows it."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, chosen(threads))


def predict(job: dict) -> dict:
    """Run the model over an array of inputs, in batches, and save the logits."""
    takes = [ModelInput(**one) for one in job["takes"]]
    run = load(job["runtime"], Path(job["model"]), job["threads"], takes[1:])
    inputs = np.load(job["inputs"], mmap_mode="r")
    fixed = takes[0].batch if takes else None
    size = fixed or max(1, min(256, 8_000_000 // max(1, int(np.prod(inputs.shape[1:])))))
    read = partial(_flat, takes[0]) if takes else _logits
    logits = [read(run, inputs[i : i + size]) for i in range(0, len(inputs), size)]
    np.save(job["logits"], np.concatenate(logits))
    return {"rows": len(inputs)}


def _run(run: Callable, batch: np.ndarray) -> np.ndarray:
    try:
        return run(np.ascontiguousarray(batch))
    except Exception as e:  # whatever the engine says of a bad model is the model's fault, and is passed on
        reason = (str(e).splitlines() or [""])[0]
        raise HarnessError(f"the model fails on inputs of shape {batch.shape}: {reason}", "export it again") from e


def _flat(takes: ModelInput, run: Callable, batch: np.ndarray) -> np.ndarray:
    """Run a model that isn't one of ours: float32 (N, all that its output holds for an image)."""
    return np.asarray(_run(run, batch), dtype=np.float32).reshape(1 if takes.alone else len(batch), -1)


def _logits(run: Callable, batch: np.ndarray) -> np.ndarray:
    logits = _run(run, batch)
    if logits.ndim != 2 or len(logits) != len(batch) or not np.isfinite(logits).all():
        raise HarnessError(
            f"the model returned shape {logits.shape} for {len(batch)} images, or values that aren't finite",
            "return one finite row of logits for each image",
        )
    return logits


def measure(job: dict) -> dict:
    """Time model and reference in forked processes, one after another, until the interval is narrow or the time up."""
    begin = time.monotonic()
    inputs = _apart(_inputs, job)
    best = Best(**job["best"]) if job["best"] else calibrate(rulers())

    def process(until: float, patience_s: float) -> dict:
        return _apart(_loads, job | inputs | {"until": until, "best": asdict(best), "wait_s": patience_s})

    found = paired_timing.repeated(
        process, seconds=job["seconds"], patience_s=job["patience_s"], noisy=job["noisy"], begin=begin, best=best,
        apart=job["apart"],
    )  # fmt: skip
    return found | {"best": asdict(best)}


def _apart(verb: Callable[[dict], dict], job: dict) -> dict:
    """Do a job in a forked copy of this process, which has itself loaded no model and so has no threads."""
    end, start = os.pipe()
    job = job | {"parent": os.getpid()}
    if pid := os.fork():
        os.close(start)
        with open(end, "rb") as pipe:
            answer = pipe.read()
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        if status:
            raise RuntimeError(f"exit code {status}")
        found = json.loads(answer)
        if "error" in found:
            raise HarnessError(*found["error"])
        return found
    try:
        die_with(job["parent"], signal.SIGKILL)
        signal.setitimer(signal.ITIMER_REAL, job["timeout_s"])  # an engine that hangs must not outlive whoever asked
        with open(start, "wb") as pipe:
            pipe.write(json.dumps(_answer(verb, job)).encode())
        os._exit(0)
    finally:
        sys.excepthook(*sys.exc_info())  # reached by an exception alone
        os._exit(1)


def _inputs(job: dict) -> dict:
    """Read what both networks take, once for all processes: it takes as long as a load."""
    sizes = {"model": job["size"], "reference": None}
    return {"takes": [[asdict(one) for one in inputs_of(Path(job[name]), sizes[name])] for name in sizes]}


def _loads(job: dict) -> dict:
    """Load both and time them by turns, several times over, until the process's time is up."""
    clock = time.process_time_ns if job["threads"] == 1 else time.perf_counter_ns
    names = ("model", "reference")
    paths = [Path(job[name]) for name in names]
    takes = [[ModelInput(**one) for one in inputs] for inputs in job["takes"]]
    images = [inputs[0].noise(inputs[0].shape[0]) for inputs in takes]
    pads, ruler = [], rulers()

    def fresh(least_s: float) -> list[paired_timing.Batch]:
        pads.append(np.ones(np.random.default_rng().integers(1 << 16), dtype=np.uint8))
        # The reference is a ruler for all engines, so it always runs on the same.
        engines = (job["runtime"], "onnx")
        runs = [load(e, path, job["threads"], i[1:]) for e, path, i in zip(engines, paths, takes, strict=True)]
        return [_timer(run, image, clock, least_s) for run, image in zip(runs, images, strict=True)]

    waited_s = wait_for_clean(ruler, _interruptions, Best(**job["best"]), job["wait_s"], Path(job["waiting"]).touch)
    before, begin = _seen(), time.perf_counter()
    loads = paired_timing.loads(fresh, ruler, job["until"] + waited_s, time.process_time)
    seen = {name: value - before[name] for name, value in _seen().items()}
    return {"loads": loads, "seen": seen | {"wall_s": time.perf_counter() - begin}, "waited_s": waited_s}


def _timer(run: Callable, image: np.ndarray, clock: Callable[[], int], least_s: float) -> paired_timing.Batch:
    """Warm a model; return a function that times one short batch: (CPU ms, wall ms) for one image."""
    _run(run, image)
    each_s = paired_timing.warm_up(lambda: run(image), clock, least_s)
    count = max(1, round(paired_timing.BATCH_S / each_s))

    def batch(warm_s: float) -> tuple[float, float, int]:
        for _ in range(max(1, round(warm_s / each_s))):  # the other model has just had the caches
            run(image)
        before = _interruptions()
        start, wall = clock(), time.perf_counter_ns()
        for _ in range(count):
            run(image)
        stop, wall_stop = clock(), time.perf_counter_ns()
        broken = paired_timing.broken_into(_interruptions() - before, (stop - start) / 1e6)
        return round((stop - start) / count / 1e6, 6), round((wall_stop - wall) / count / 1e6, 6), broken

    return batch


def prepared(pixels: np.ndarray, images: ModelInput) -> np.ndarray:
    """Turn uint8 (2H, 2W, 3), blue first, into one image as a model takes it: scaled, unless it takes whole numbers."""
    import cv2  # as in `end_to_end`

    from harness.data.prepare import Preprocessing, prepare

    height, width = images.size
    if (*images.shape, images.dtype) == (1, 3, height, height, "float32"):  # as all of ours
        how = Preprocessing(height, (0.5, 0.5, 0.5), (0.25, 0.25, 0.25))
        return prepare(cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB)[None], how)
    pixels = cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA)
    gray = images.shape[images.colour_axis] == 1
    found = cv2.cvtColor(pixels, cv2.COLOR_BGR2GRAY)[..., None] if gray else cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB)
    if np.dtype(images.dtype).kind == "f":
        found = found.astype(np.float32) * np.float32(1 / (255 * 0.25)) - np.float32(0.5 / 0.25)
    found = found.transpose(2, 0, 1) if images.colour_axis == len(images.shape) - 3 else found
    return np.ascontiguousarray(found.reshape(images.shape), dtype=images.dtype)


def _seen() -> dict[str, float]:
    """Count what this process has used and what was taken from it."""
    return {
        "cpu_s": time.process_time(),
        "steal_s": steal_s(),
        "interruptions": _interruptions(),
    }


def _interruptions() -> int:
    """Count how often the system has taken the processor from this process."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw


def look(job: dict) -> dict:
    """Run the rulers every few milliseconds; return rows of seconds, chain ms and vector ms."""
    ruler, rows, begin = rulers(), [], time.monotonic()
    best = Best(**job["best"]) if job["best"] else calibrate(ruler)
    while (at_s := time.monotonic() - begin) < job["seconds"]:
        for _ in range(WARM_RUNS):  # who has slept finds everything cold
            ruler()
        rows.append([round(at_s, 4), *ruler()])
        time.sleep(LOOK_S)
    return {"rows": rows, "best": asdict(best)}


def end_to_end(job: dict) -> dict:
    """Time one image from its JPEG, twice the model's side, to logits: decode, resize, normalise, forward."""
    import cv2  # here alone: every trial would pay for it

    cv2.setNumThreads(job["threads"])
    path = Path(job["model"])
    takes = inputs_of(path, job["size"])
    run, images = load(job["runtime"], path, job["threads"], takes[1:]), takes[0]
    if images.colour_axis is None or images.images != 1:
        what = f"{path}: takes {images.dtype} {list(images.shape)}; from a JPEG on: one image of 1 or 3 channels"
        raise HarnessError(what, "its own time is measured all the same")
    height, width = images.size
    rough = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    photo = cv2.resize(rough, (2 * width, 2 * height), interpolation=cv2.INTER_CUBIC)  # smooth, as photographs are
    files = cv2.imencode(".jpg", photo)[1][None]

    def whole(files: np.ndarray) -> np.ndarray:
        return run(prepared(cv2.imdecode(files[0], cv2.IMREAD_COLOR), images))

    clock = time.process_time_ns if job["threads"] == 1 else time.perf_counter_ns
    batch = _timer(whole, files, clock, paired_timing.WARM_UP_S)
    times = []
    end = time.perf_counter() + job["seconds"]
    while len(times) < 10 or time.perf_counter() < end:
        times.append(batch(0.0)[0])
    return {"samples_ms": times}


if __name__ == "__main__":
    main()
