"""How far repeated measurements of the same networks lie apart: ours and four usual ways, quiet and beside training.

    python benchmarks/latency_repeatability.py [--repeats 10] [--seconds 3.0] [--conditions quiet busy]

Seven networks from 0.04 to 5 ms; two pairs of them differ by one layer in 20 (5 %) and in 50 (2 %), all layers alike.
Each repeat times each network in fresh processes: ours, then a plain stream of single runs by the wall clock for the
same seconds (its mean, its median and its 90th percentile, which is MLPerf's single-stream figure; beside them mean and
median of its first 100 runs, as competitions take them), then, in every fourth repeat, `torch.utils.benchmark` for as
long. "busy" is beside two processes that train a dense network in bfloat16, one on each of two processors.

Spread: highest over lowest of the repeats - 1, of what is scored: our ratio to the reference, their ms. "heavy" has
7 MB of weights, which live on a cache that is shared with the host's other guests; `spread_quiet` and `spread_busy` are
the worst of all seven, `cached_quiet` and `cached_busy` the worst of those whose weights fit a processor's own cache.

The last line is one JSON object. `ratio`: the worst network's spread of the stream's mean over the worst network's
spread of ours, busy; `low`, `high`: the least and greatest of these over the networks; `peer_vs_peer`: spread of the
mean's even repeats over that of its odd ones, least and greatest over the networks. `pairs_2`, `pairs_5`: the share of
all pairs of measurements that are in the right order, in the worse condition. `coverage`: the share of our 95 %
intervals that contain the median of the repeats.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from paired import publish

WAYS = ("ours", "ours_ms", "mean", "median", "mlperf_p90", "mean_of_100", "median_of_100", "torch_benchmark")
PAIRS = {"pairs_5": ("20 layers", "21 layers"), "pairs_2": ("50 layers", "51 layers")}
TORCH_EVERY = 4
HEAVY = "heavy"
DENSE = [
    {"block": "conv", "channels": 64},
    {"block": "conv", "channels": 128, "stride": 2},
    {"block": "conv", "channels": 128, "repeat": 2},
    {"block": "conv", "channels": 256, "stride": 2},
    {"block": "conv", "channels": 256, "repeat": 2},
]
SMALL = [
    {"block": "conv", "channels": 32},
    {"block": "conv", "channels": 64, "stride": 2},
    {"block": "conv", "channels": 64},
    {"block": "conv", "channels": 64, "stride": 2},
]
NETWORKS: dict[str, tuple[list[dict[str, Any]], int]] = {
    "small": (SMALL, 16),
    **{f"{n} layers": ([{"block": "conv", "channels": 16, "repeat": n}], 16) for n in (20, 21, 50, 51)},
    "light": ([{"block": "conv", "channels": 32, "repeat": 14}], 64),
    HEAVY: (DENSE, 64),
}


def main() -> None:
    """Measure, print a table, and the JSON line last."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=10)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--conditions", nargs="+", choices=["quiet", "busy"], default=["quiet", "busy"])
    arguments = parser.parse_args()
    if arguments.repeats < 4:
        parser.error("--repeats: a spread and its own spread need at least 4")
    begin = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        reference, files = _files(Path(folder))
        found, seconds = {}, []
        for condition in arguments.conditions:
            with _neighbours(0 if condition == "quiet" else 2), _peers() as ask:
                found[condition] = {name: {way: [] for way in (*WAYS, "low", "high")} for name in files}
                for repeat in range(arguments.repeats):
                    for name, file in files.items():
                        with_torch = repeat % TORCH_EVERY == 0
                        one = _once(file, reference, arguments.seconds, ask, with_torch, seconds)
                        for way, value in one.items():
                            found[condition][name][way].append(value)
    for condition, networks in found.items():
        print(f"\n{condition}: spread over {arguments.repeats} processes, %\n")
        print(f"| network | {' | '.join(WAYS)} | our median |\n|{' --- |' * (len(WAYS) + 2)}")
        for name, ways in networks.items():
            cells = [f"{100 * _spread(ways[way]):.2f}" for way in WAYS]
            middle = f"{np.median(ways['ours_ms']):.4f} ms, {np.median(ways['ours']):.4f}"
            print(f"| {name} | {' | '.join(cells)} | {middle} |")
        for label in PAIRS:
            print(f"{label}:", {way: _ordered(networks, label, way) for way in WAYS})
    publish("latency_repeatability", _figures(found, seconds) | {"took_s": round(time.perf_counter() - begin)})


def _files(folder: Path) -> tuple[Path, dict[str, Path]]:
    from harness import config
    from harness.models.build import build
    from harness.models.spec import ModelSpec
    from harness.rules.reference import reference_model
    from harness.runtime.export import export

    reference = reference_model(config.load("submit", ["competition=digits"]).competition.reference, folder)
    files = {}
    for name, (stages, side_px) in NETWORKS.items():
        model = build(ModelSpec.from_dict({"stages": stages}), 10, side_px)
        files[name] = export(model, side_px, folder / f"{name.replace(' ', '-')}.onnx")
    return reference, files


def _once(
    file: Path, reference: Path, seconds: float, ask: Any, with_torch: bool, spent: list[float]
) -> dict[str, float]:
    """Measure one network our way and the others'; adds the seconds that ours took to `spent`."""
    from harness.measure.process import measure

    begin = time.perf_counter()
    latency = measure(file, reference, seconds=seconds)
    spent.append(time.perf_counter() - begin)
    ours = {"ours": latency.ratio, "ours_ms": latency.ms, "low": latency.ratio_low, "high": latency.ratio_high}
    return ours | ask(file, spent[-1], with_torch)


def _spread(values: list[float]) -> float:
    return max(values) / min(values) - 1


def _ordered(networks: dict[str, dict[str, list[float]]], label: str, way: str) -> float:
    """Share of all pairs of measurements, one of each network, in which the network with a layer less is faster."""
    less, more = (networks[name][way] for name in PAIRS[label])
    return round(float(np.mean([a < b for a, b in product(less, more)])), 3)


def _covered(ways: dict[str, list[float]]) -> float:
    """Share of our 95 % intervals that contain the median of all repeats."""
    middle = np.median(ways["ours"])
    return float(np.mean([low <= middle <= high for low, high in zip(ways["low"], ways["high"], strict=True)]))


def _figures(found: dict[str, Any], seconds: list[float]) -> dict[str, Any]:
    worst = {c: {way: max(_spread(n[way]) for n in networks.values()) for way in WAYS} for c, networks in found.items()}
    noisiest = found.get("busy", found[next(iter(found))])
    mean = {name: ways["mean"] for name, ways in noisiest.items()}
    ratios = [_spread(mean[name]) / _spread(ways["ours"]) for name, ways in noisiest.items()]
    again = [_spread(values[::2]) / _spread(values[1::2]) for values in mean.values()]
    loudest = worst.get("busy", worst[next(iter(worst))])
    figures: dict[str, Any] = {
        "ratio": round(loudest["mean"] / loudest["ours"], 2),
        "low": round(min(ratios), 2),
        "high": round(max(ratios), 2),
        "peer_vs_peer": [round(min(again), 2), round(max(again), 2)],
    }
    for condition, ways in worst.items():
        each = {name: round(_spread(networks["ours"]), 4) for name, networks in found[condition].items()}
        figures[f"spread_{condition}"] = max(each.values())
        figures[f"cached_{condition}"] = max(value for name, value in each.items() if name != HEAVY)
        figures[f"networks_{condition}"] = each
        figures[f"spreads_{condition}"] = {way: round(value, 4) for way, value in ways.items()}
    for label in PAIRS:
        figures[label] = min(_ordered(networks, label, "ours") for networks in found.values())
        figures[f"{label}_mean"] = min(_ordered(networks, label, "mean") for networks in found.values())
    figures["coverage"] = round(float(np.mean([_covered(n) for c in found.values() for n in c.values()])), 3)
    return figures | {"seconds_per_model": round(float(np.mean(seconds)), 2), "seconds_most": round(max(seconds), 2)}


@contextmanager
def _neighbours(count: int) -> Iterator[None]:
    """Let `count` processes train beside what follows, each on a processor of its own."""
    started = [_start("train", str(i), stdout=subprocess.PIPE) for i in range(count)]
    try:
        for process in started:
            process.stdout.readline()  # it trains
        yield
    finally:
        for process in started:
            process.kill()
            process.wait()


@contextmanager
def _peers() -> Iterator[Any]:
    """Give a function that times a file by the usual ways in a fresh process: a fork of one that has imported torch."""
    server = _start("serve", stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def ask(file: Path, seconds: float, with_torch: bool) -> dict[str, float]:
        server.stdin.write(json.dumps([str(file), seconds, with_torch]) + "\n")
        server.stdin.flush()
        return json.loads(server.stdout.readline())

    try:
        yield ask
    finally:
        server.stdin.close()
        server.wait()


def _start(*arguments: str, **pipes: int) -> subprocess.Popen:
    # The kernels' own threads would wait by spinning; the harness's workers train without that too.
    environment = os.environ | {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
    return subprocess.Popen([sys.executable, __file__, *arguments], text=True, env=environment, **pipes)


def train(processor: int) -> None:
    """Train a dense network in bfloat16 as long as the benchmark lives, on the given one of the processors."""
    mine = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {mine[processor % len(mine)]})
    import torch

    from harness.models.build import build
    from harness.models.spec import ModelSpec

    torch.set_num_threads(1)
    model = build(ModelSpec.from_dict({"stages": DENSE}), 10, 32).to(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    images = torch.randn(2048, 3, 32, 32).to(memory_format=torch.channels_last)
    labels = torch.randint(0, 10, (2048,))
    step, parent = 0, os.getppid()
    while os.getppid() == parent:  # a benchmark that is killed leaves nobody behind
        batch = slice(128 * step % 2048, 128 * step % 2048 + 128)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            loss = torch.nn.functional.cross_entropy(model(images[batch]), labels[batch])
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        step += 1
        if step == 3:
            print("training", flush=True)


def serve() -> None:
    """Answer each line of stdin, a file to time, from a process forked for it."""
    import torch.utils.benchmark  # noqa: F401  before the forks: they needn't wait for it

    for line in sys.stdin:
        if pid := os.fork():
            os.waitpid(pid, 0)
            continue
        print(json.dumps(_usual(*json.loads(line))), flush=True)
        os._exit(0)


def _usual(file: str, seconds: float, with_torch: bool) -> dict[str, float]:
    """Time a file by the usual ways, in ms."""
    from torch.utils.benchmark import Timer

    from harness.runtime.onnx import inputs_of, load

    run = load(Path(file), 1)
    image = np.random.default_rng(0).standard_normal((1, *inputs_of(Path(file))[0].shape[1:]), dtype=np.float32)
    for _ in range(10):
        run(image)
    times, end = [], time.perf_counter() + seconds
    while time.perf_counter() < end or len(times) < 100:
        start = time.perf_counter_ns()
        run(image)
        times.append((time.perf_counter_ns() - start) / 1e6)
    found = {
        "mean": np.mean(times),
        "median": np.median(times),
        "mlperf_p90": np.quantile(times, 0.9),
        "mean_of_100": np.mean(times[:100]),
        "median_of_100": np.median(times[:100]),
    }
    if with_torch:
        timer = Timer("run(image)", globals={"run": run, "image": image}, num_threads=1)
        found["torch_benchmark"] = timer.blocked_autorange(min_run_time=seconds).median * 1e3
    return {way: float(value) for way, value in found.items()}


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["train", processor]:
            train(int(processor))
        case ["serve"]:
            serve()
        case _:
            main()
