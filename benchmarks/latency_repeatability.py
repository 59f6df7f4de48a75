"""How far repeated measurements of the same networks lie apart: ours and four usual ways, in three conditions.

    python benchmarks/latency_repeatability.py [--repeats 10] [--seconds 3.0] [--conditions quiet busy shared]
                                               [--warm] [--save FILE.jsonl]

Seven networks from 0.04 to 5 ms; two pairs of them differ by one layer in 20 (5 %) and in 50 (2 %), all layers alike.
The eighth is the reference network itself, timed beside itself: what this machine makes of two networks that are one
(A/A).

All of it runs on the last two of the processors that it is allowed, so that whichever one a measurement is pinned to,
the neighbours are there too. "quiet": nobody is beside it. "busy": on each of the two a process trains a dense
network in bfloat16. "shared": on each of the two a process comes and goes, both at once, in spells of 1 to 10 s that
are drawn by a seed; in a spell it streams memory and multiplies matrices for a tenth of a millisecond at a time, so
that it meets every batch. Between spells it sleeps.

Each repeat times each network in fresh processes: ours, then a plain stream of single runs by the wall clock (its
mean, its median and its 90th percentile, which is MLPerf's single-stream figure; beside them mean and median of its
first 100 runs, as competitions take them) for as long as ours took, at most --seconds: what ours takes beyond them,
it waits. Then, in every fourth repeat, `torch.utils.benchmark` for as long. Ten repeats take about 40 minutes. A
measurement that is refused counts as that, and is in no other figure.

Spread: highest over lowest of the repeats - 1, of what is scored: our ratio to the reference, their ms. "heavy" has 7
MB of weights, which live on a cache that is shared with the host's other guests; `spread` is the worst of the seven,
`cached` the worst of those whose weights fit a processor's own cache. --warm times a control network for a minute
before anything counts, as `python -m harness machine` does. --save writes one line of JSON a measurement, every raw
value among it, as they come.

The last line is one JSON object. `ratio`: the worst network's spread of the stream's mean over the worst network's
spread of ours, in the last condition; `low`, `high`: the least and greatest of these over the networks;
`peer_vs_peer`: spread of the mean's even repeats over that of its odd ones, least and greatest over the networks.
`conditions` has for each: `spread`, `cached`, `networks` (our spread of each), `ways` (the worst network's spread by
each way), `aa` (our spread of the reference against itself) and `aa_coverage` (the share of its intervals that
contain 1), `coverage` (the share of our 95 % intervals that contain the median of that network's repeats), `pairs_5`
and `pairs_2` (by way: the share of all pairs of measurements in the right order), `seconds_median` and `seconds_most`
of ours for a network, `refused`, and `beside` (the share of ours' time in which the neighbours worked).
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any, TextIO

import numpy as np
from neighbours import DENSE, coming_and_going, quietened, training
from paired import publish

WAYS = ("ours", "ours_ms", "mean", "median", "mlperf_p90", "mean_of_100", "median_of_100", "torch_benchmark")
PAIRS = {"pairs_5": ("20 layers", "21 layers"), "pairs_2": ("50 layers", "51 layers")}
TORCH_EVERY = 4
HEAVY = "heavy"
SAME = "reference"
"""The network that is timed against itself."""
SEED = 12
"""Of the spells in which neighbours come and go."""
WARM_S = 60.0
Beside = Callable[[float, float], float]
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


@dataclass
class Bench:
    """What a run measures with. ask: times a file by the usual ways. raw: where each measurement is written, if any."""

    reference: Path
    files: dict[str, Path]
    seconds: float
    ask: Callable[[Path, float, bool], dict[str, float]]
    raw: TextIO | None


@dataclass
class Found:
    """What a condition has shown. values: by network and way, one a repeat; seconds, beside: one a measurement."""

    values: dict[str, dict[str, list[float]]]
    seconds: list[float] = field(default_factory=list)
    beside: list[float] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)

    @property
    def contenders(self) -> dict[str, dict[str, list[float]]]:
        """The networks without the reference."""
        return {name: ways for name, ways in self.values.items() if name != SAME}


def main() -> None:
    """Measure, print tables, and the JSON line last."""
    from harness.measure.machine import machine

    conditions = ["quiet", "busy", "shared"]
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=10)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--conditions", nargs="+", choices=conditions, default=conditions)
    parser.add_argument("--warm", action="store_true", help=f"get to know the machine for {WARM_S:.0f} s at first")
    parser.add_argument("--save", type=Path, help="a file for the raw values, one line of JSON a measurement")
    arguments = parser.parse_args()
    if arguments.repeats < 4:
        parser.error("--repeats: a spread and its own spread need at least 4")
    begin = time.perf_counter()
    processors = sorted(os.sched_getaffinity(0))[-2:]
    os.sched_setaffinity(0, processors)
    print(
        f"on processors {processors} of", ", ".join(f"{name} {value}" for name, value in machine().items()), flush=True
    )
    raw = arguments.save.open("w") if arguments.save else nullcontext()
    with tempfile.TemporaryDirectory() as folder, raw as file, _peers() as ask:
        reference, files = _files(Path(folder))
        bench = Bench(reference, files, arguments.seconds, ask, file)
        if arguments.warm:
            _warm(bench)
        found = {name: _condition(bench, name, arguments.repeats, processors) for name in arguments.conditions}
    publish("latency_repeatability", _figures(found) | {"took_s": round(time.perf_counter() - begin)})


def _warm(bench: Bench) -> None:
    """Let the machine be known before anything counts, as `python -m harness machine` does."""
    from harness.measure.process import control

    end = time.monotonic() + WARM_S
    while time.monotonic() < end:
        control(bench.reference)


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
    return reference, files | {SAME: reference}


def _condition(bench: Bench, condition: str, repeats: int, processors: list[int]) -> Found:
    """Measure all networks so many times, and print what came of it."""
    found = Found({name: {way: [] for way in (*WAYS, "low", "high")} for name in bench.files})
    with _neighbours(condition, processors) as beside:
        for repeat in range(repeats):
            for name in bench.files:
                row = _once(bench, name, repeat % TORCH_EVERY == 0, beside)
                _note(found, name, row)
                if bench.raw:
                    print(json.dumps({"condition": condition, "repeat": repeat, **row}), file=bench.raw, flush=True)
    _print(condition, repeats, found)
    return found


@contextmanager
def _neighbours(condition: str, processors: list[int]) -> Iterator[Beside]:
    """Have a condition's neighbours; gives the share of a time (begin, end) in which they work."""
    if condition == "shared":
        with coming_and_going(processors, SEED) as spells:
            yield spells.share
        return
    with training(processors) if condition == "busy" else nullcontext():
        yield lambda _begin, _end: float(condition == "busy")


def _once(bench: Bench, name: str, with_torch: bool, beside: Beside) -> dict[str, Any]:
    """Measure one network our way and the others'; `beside` says for how much of a time the neighbours worked."""
    from harness.errors import HarnessError
    from harness.measure.process import measure

    begin = time.monotonic()
    row: dict[str, Any] = {"network": name, "at": time.time()}
    try:
        latency = measure(bench.files[name], bench.reference, seconds=bench.seconds)
    except HarnessError as e:
        row |= {"refused": str(e)}
    else:
        ours = {"ours": latency.ratio, "ours_ms": latency.ms, "low": latency.ratio_low, "high": latency.ratio_high}
        row |= {"ways": ours, "latency": latency.to_dict()}
    end = time.monotonic()
    row |= {"seconds": end - begin, "beside": beside(begin, end)}
    if "ways" in row:
        row["ways"] |= bench.ask(bench.files[name], min(end - begin, bench.seconds), with_torch)
    return row


def _note(found: Found, name: str, row: dict[str, Any]) -> None:
    found.seconds.append(row["seconds"])
    found.beside.append(row["beside"])
    if "refused" in row:
        found.refused.append(name)
        print(f"refused: {row['refused']}", flush=True)
    for way, value in row.get("ways", {}).items():
        found.values[name][way].append(value)


def _print(condition: str, repeats: int, found: Found) -> None:
    print(f"\n{condition}: spread over {repeats} repeats, %\n")
    print(f"| network | {' | '.join(WAYS)} | covered | our median |\n|{' --- |' * (len(WAYS) + 3)}")
    for name, ways in found.values.items():
        cells = [f"{100 * _spread(ways[way]):.2f}" for way in WAYS]
        middle = f"{np.median(ways['ours_ms']):.4f} ms, {np.median(ways['ours']):.4f}" if ways["ours"] else ""
        print(f"| {name} | {' | '.join(cells)} | {_covered(ways):.2f} | {middle} |")
    for name, value in _of_condition(found).items():
        if name not in ("networks", "ways"):
            print(f"{name}: {value}")
    sys.stdout.flush()


def _spread(values: list[float]) -> float:
    """Highest over lowest - 1; not a number where fewer than two were measured."""
    return max(values) / min(values) - 1 if len(values) > 1 else float("nan")


def _ordered(found: Found, label: str, way: str) -> float:
    """Share of all pairs of measurements, one of each network, in which the network with a layer less is faster."""
    less, more = (found.values[name][way] for name in PAIRS[label])
    return _plain(np.mean([a < b for a, b in product(less, more)] or [np.nan]), 3)


def _covered(ways: dict[str, list[float]], truth: float | None = None) -> float:
    """Share of our 95 % intervals that contain the truth: the median of all repeats, where it isn't known."""
    truth = np.median(ways["ours"] or [np.nan]) if truth is None else truth
    return float(np.mean([a <= truth <= b for a, b in zip(ways["low"], ways["high"], strict=True)] or [np.nan]))


def _plain(value: float, digits: int = 4) -> float | None:
    """Round for JSON, which knows no NaN."""
    return None if np.isnan(value) else round(float(value), digits)


def _worst(spreads: Iterable[float]) -> float | None:
    """Return the widest spread of the networks that were measured more than once."""
    return _plain(max((value for value in spreads if not np.isnan(value)), default=np.nan))


def _of_condition(found: Found) -> dict[str, Any]:
    each = {name: _spread(ways["ours"]) for name, ways in found.contenders.items()}
    same = found.values[SAME]
    return {
        "spread": _worst(each.values()),
        "cached": _worst(value for name, value in each.items() if name != HEAVY),
        "networks": {name: _plain(value) for name, value in each.items()},
        "ways": {way: _worst(_spread(ways[way]) for ways in found.contenders.values()) for way in WAYS},
        "aa": _plain(_spread(same["ours"])),
        "aa_coverage": _plain(_covered(same, 1.0), 3),
        "coverage": _plain(np.mean([_covered(ways) for ways in found.contenders.values()]), 3),
        **{label: {way: _ordered(found, label, way) for way in WAYS} for label in PAIRS},
        "seconds_median": round(float(np.median(found.seconds)), 2),
        "seconds_most": round(max(found.seconds), 2),
        "refused": len(found.refused),
        "beside": round(float(np.average(found.beside, weights=found.seconds)), 3),
    }


def _figures(found: dict[str, Found]) -> dict[str, Any]:
    noisiest = list(found.values())[-1].contenders.values()
    ours, mean = ([_spread(ways[way]) for ways in noisiest] for way in ("ours", "mean"))
    ratios = np.divide(mean, ours)
    again = [_spread(ways["mean"][::2]) / _spread(ways["mean"][1::2]) for ways in noisiest]
    return {
        "ratio": _plain(max(mean) / max(ours), 2),
        "low": _plain(min(ratios), 2),
        "high": _plain(max(ratios), 2),
        "peer_vs_peer": [_plain(min(again), 2), _plain(max(again), 2)],
        "conditions": {condition: _of_condition(one) for condition, one in found.items()},
    }


@contextmanager
def _peers() -> Iterator[Any]:
    """Give a function that times a file by the usual ways in a fresh process: a fork of one that has imported torch."""
    server = subprocess.Popen(
        [sys.executable, __file__, "serve"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=quietened()
    )

    def ask(file: Path, seconds: float, with_torch: bool) -> dict[str, float]:
        server.stdin.write(json.dumps([str(file), seconds, with_torch]) + "\n")
        server.stdin.flush()
        return json.loads(server.stdout.readline())

    try:
        yield ask
    finally:
        server.stdin.close()
        server.wait()


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
    serve() if sys.argv[1:] == ["serve"] else main()
