"""Run the same torch networks with ONNX Runtime, OpenVINO, eager torch, and torch's ahead-of-time compiler.

    python benchmarks/engines.py                 about 3 minutes on two cores; needs a C++ compiler

One image, one thread, float32; batch normalisation is folded into the convolutions for all. In each round a fresh
process loads every engine and runs them by turns, each twice: the second time is the engine against itself. The last
line is one JSON object: `ratio` is the time of the compiled network over that of ONNX Runtime on the residual network
(above 1: ONNX Runtime is faster), `ratios` holds those of all networks and engines.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

import numpy as np
import torch
import torchvision
from paired import compared, publish
from torch.fx.experimental.optimization import fuse
from train_throughput import NETWORKS as TRAINED

from harness.models.build import build, export_ready
from harness.models.spec import ModelSpec
from harness.runtime import engines
from harness.runtime.export import export

ROUNDS, TURNS, TURN_S, WARM_UP_S = 7, 9, 0.02, 0.3
OURS, PEERS = "onnx", ("openvino", "eager", "inductor")
TOLERANCE = 1e-3
"""The most that a logit may differ from eager torch's, as a share of their range."""
NETWORKS = {
    "plain, 32 px": [
        {"block": "conv", "channels": 16, "stride": 2},
        {"block": "conv", "channels": 32, "stride": 2},
        {"block": "conv", "channels": 64, "stride": 2},
    ],
    "residual, 32 px": TRAINED["residual"],  # 9 layers, width 32
    "mobilenet_v3_small, 64 px": None,  # torchvision's
}
HEADLINE = "residual, 32 px"

Run = Callable[[], np.ndarray]


def network(name: str) -> torch.nn.Module:
    """Build a network as it is exported, batch normalisation folded."""
    stages = NETWORKS[name]
    torch.manual_seed(0)
    made = (
        torchvision.models.mobilenet_v3_small(num_classes=10)
        if stages is None
        else build(ModelSpec.from_dict({"stages": stages}), 10, side_px(name))
    )
    return fuse(export_ready(made).eval())


def side_px(name: str) -> int:
    """Read the side of a network's images off its name."""
    return int(name.split()[-2])


def prepare(name: str, folder: Path) -> float:
    """Write a network as ONNX and as torch compiles it; return the seconds of compilation."""
    model, side = network(name), side_px(name)
    export(model, side, folder / "model.onnx")
    begin = time.perf_counter()
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.export.export(model, (torch.zeros(1, 3, side, side),))
        torch._inductor.aoti_compile_and_package(program, package_path=str(folder / "model.pt2"))
    return time.perf_counter() - begin


def load(engine: str, name: str, folder: Path, images: np.ndarray) -> Run:
    """Open a network with an engine; return what runs one image."""
    if engine in engines.RUNTIMES:
        predict = engines.load(engine, folder / "model.onnx")
        return lambda: predict(images)
    model = (
        network(name)
        if engine == "eager"
        else torch._inductor.aoti_load_package(str(folder / "model.pt2"), run_single_threaded=True)
    )

    def run() -> np.ndarray:
        with torch.inference_mode():
            return model(torch.from_numpy(images)).numpy()

    return run


def one_round(name: str, folder: Path) -> dict[str, float]:
    """Time every engine twice, by turns; return the median CPU us of one image, and of the second time as "X again"."""
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    side = side_px(name)
    images = np.random.default_rng(0).standard_normal((1, 3, side, side), dtype=np.float32)
    runs = {engine: load(engine, name, folder, images) for engine in (OURS, *PEERS)}
    expected = runs["eager"]()
    for engine, run in runs.items():
        apart = np.abs(run() - expected).max() / np.ptp(expected)
        if apart > TOLERANCE:
            sys.exit(f"{name}: {engine} computes something else: {apart:.2g} of the logits' range apart")
    counts = {engine: counted(run) for engine, run in runs.items()}
    spent: dict[str, list[float]] = {key: [] for engine in runs for key in (engine, f"{engine} again")}
    for turn in range(TURNS):
        for key in list(spent)[:: (-1) ** turn]:  # to and fro: who is first gains or loses
            engine = key.removesuffix(" again")
            run, count = runs[engine], counts[engine]
            run()  # the others have just had the caches
            start = time.process_time()
            for _ in range(count):
                run()
            spent[key].append((time.process_time() - start) / count * 1e6)
    return {key: float(np.median(values)) for key, values in spent.items()}


def counted(run: Run) -> int:
    """Warm an engine; return how many runs a turn takes."""
    runs, begin = 0, time.process_time()
    while (spent := time.process_time() - begin) < WARM_UP_S:
        run()
        runs += 1
    return max(1, round(TURN_S * runs / spent))


def apart(name: str, folder: Path) -> dict[str, float]:
    """Time a round in a fresh process."""
    done = subprocess.run([sys.executable, __file__, name, str(folder)], stdout=subprocess.PIPE, text=True)
    if done.returncode:
        sys.exit(done.returncode)
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    """Measure, print a table, and the JSON line last."""
    print(f"one image, one thread, float32, {ROUNDS} rounds; us, median of the rounds\n")
    print(f"| network | {OURS} | {' | '.join(PEERS)} | {' | '.join(f'{p}/{OURS} (range; {p}/{p})' for p in PEERS)} |")
    print(f"|{' --- |' * (2 + 2 * len(PEERS))}", flush=True)
    ratios: dict[str, dict[str, dict]] = {}
    compile_s = {}
    for name in NETWORKS:
        with tempfile.TemporaryDirectory() as folder:
            compile_s[name] = round(prepare(name, Path(folder)), 1)
            rounds = [apart(name, Path(folder)) for _ in range(ROUNDS)]
        costs = {key: [r[key] for r in rounds] for key in rounds[0]}
        ratios[name] = {p: compared(costs[OURS], costs[p], costs[f"{p} again"]) for p in PEERS}
        cells = [f"{np.median(costs[engine]):.1f}" for engine in (OURS, *PEERS)]
        for found in ratios[name].values():
            low, high = found["peer_vs_peer"]
            cells.append(f"{found['ratio']:.2f} ({found['low']:.2f}..{found['high']:.2f}; {low:.2f}..{high:.2f})")
        print(f"| {name} | {' | '.join(cells)} |", flush=True)
    figures = {"ratios": ratios, "compile_s": compile_s, "openvino": metadata.version("openvino")}
    publish("engines", ratios[HEADLINE]["inductor"] | figures)


if __name__ == "__main__":
    if len(sys.argv) == 3:
        print(json.dumps(one_round(sys.argv[1], Path(sys.argv[2]))))
    else:
        main()
