"""Train three fixed networks beside idiomatic PyTorch: images a second, with RandAugment(2, 9), flip and crop.

    python benchmarks/train_throughput.py                 about 4 minutes on two cores

Ours is `harness.train.fit.fit` with what the probe chose, on all cores. The peer is what a PyTorch tutorial does:
float32, eager, DataLoader with two workers, torchvision v2 transforms on PIL images, SGD, torch's own thread settings.
Each figure comes from a fresh process that trains for some seconds after its first steps; ours, peer and peer again
take turns. The last line is one JSON object: `ratio` is for the residual network, `ratios` holds all three.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time

import torch  # before the harness, which quiets OpenMP: the peer runs with torch's own settings
from paired import compared, publish

SECONDS, SKIPPED, ROUNDS, BATCH, SIDE_PX = 4.0, 8, 3, 128, 32
NETWORKS = {
    "residual": [  # 9 layers, width 32
        {"block": "conv", "channels": 32},
        {"block": "conv", "channels": 64, "stride": 2},
        {"block": "conv", "channels": 64, "repeat": 2, "residual": True},
        {"block": "conv", "channels": 128, "stride": 2},
        {"block": "conv", "channels": 256, "stride": 2},
        {"block": "conv", "channels": 256, "repeat": 2, "residual": True},
    ],
    "airbench": [  # the widths and maps of cifar10-airbench94
        {"block": "conv", "channels": 24},
        {"block": "conv", "channels": 64},
        {"block": "maxpool", "stride": 2},
        {"block": "conv", "channels": 64},
        {"block": "conv", "channels": 256},
        {"block": "maxpool", "stride": 2},
        {"block": "conv", "channels": 256},
        {"block": "conv", "channels": 256},
        {"block": "maxpool", "stride": 2},
        {"block": "conv", "channels": 256},
    ],
    "depthwise": [
        {"block": "conv", "channels": 16, "activation": "hardswish"},
        {"block": "inverted_v2", "channels": 24, "repeat": 2, "stride": 2, "expand": 3},
        {"block": "inverted_v2", "channels": 40, "repeat": 2, "stride": 2, "expand": 3},
        {"block": "inverted_v2", "channels": 80, "repeat": 2, "stride": 2, "expand": 4},
        {"block": "conv", "channels": 256, "kernel": 1, "activation": "hardswish"},
    ],
}


class Enough(Exception):
    """The seconds are over."""


class Meter:
    """Images a second, from the first counted step on."""

    def __init__(self, dtype: str = "float32") -> None:
        self.steps, self.start, self.dtype = 0, 0.0, dtype

    def step(self) -> None:
        self.steps += 1
        now = time.perf_counter()
        if self.steps == SKIPPED:
            self.start = now
        if self.steps > SKIPPED and now - self.start > SECONDS:
            images = (self.steps - SKIPPED) * BATCH
            print(json.dumps({"images_per_s": images / (now - self.start), "dtype": self.dtype}))
            raise Enough


def photographs() -> tuple:
    """Cut 10,000 squares out of scikit-learn's two photographs; their labels mean nothing."""
    import cv2
    import numpy as np
    from sklearn.datasets import load_sample_images

    draw, photos, pixels = np.random.default_rng(0), load_sample_images().images, []
    for _ in range(10_000):
        photo, side = photos[draw.integers(2)], draw.integers(SIDE_PX, 200)
        y, x = draw.integers(photo.shape[0] - side), draw.integers(photo.shape[1] - side)
        pixels.append(cv2.resize(photo[y : y + side, x : x + side], (SIDE_PX, SIDE_PX), interpolation=cv2.INTER_AREA))
    return np.stack(pixels), draw.integers(10, size=10_000)


def network(name: str) -> torch.nn.Module:
    """Build one of the three."""
    from harness.models.build import build
    from harness.models.spec import ModelSpec

    return build(ModelSpec.from_dict({"stages": NETWORKS[name]}), 10, SIDE_PX)


def ours(name: str, threads: int) -> None:
    """Train with the harness until the meter stops it."""
    from harness.data.augment import Augment
    from harness.data.prepare import Preprocessing, statistics
    from harness.data.split import Images
    from harness.record.recipe import Recipe
    from harness.train.fit import fit
    from harness.train.probe import probe

    torch.set_num_threads(threads)
    pixels, labels = photographs()
    model, cpu = network(name), torch.device("cpu")
    precision = probe(model, SIDE_PX, BATCH, cpu)
    meter = Meter(precision.dtype)
    fit(
        model, Images(pixels, labels, tuple(map(str, range(len(labels))))), Preprocessing(SIDE_PX, *statistics(pixels)),
        Recipe(epochs=100, batch=BATCH), Augment(2, 9, True, 0.125), precision, seed=0, device=cpu,
        on_step=lambda step, loss: meter.step(),
    )  # fmt: skip


class Photographs(torch.utils.data.Dataset):
    """What a tutorial writes."""

    def __init__(self) -> None:
        from torchvision.transforms import v2

        self.pixels, self.labels = photographs()
        self.transform = v2.Compose(
            [
                v2.RandomCrop(SIDE_PX, padding=4), v2.RandomHorizontalFlip(), v2.RandAugment(2, 9), v2.ToImage(),
                v2.ToDtype(torch.float32, scale=True), v2.Normalize((0.49, 0.48, 0.45), (0.25, 0.24, 0.26)),
            ]
        )  # fmt: skip

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, i: int) -> tuple:
        from PIL import Image

        return self.transform(Image.fromarray(self.pixels[i])), int(self.labels[i])


def peer(name: str) -> None:
    """Train as a tutorial does until the meter stops it."""
    from torch.utils.data import DataLoader

    model, meter = network(name).train(), Meter()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, nesterov=True, weight_decay=5e-4)
    criterion = torch.nn.CrossEntropyLoss()
    loader = DataLoader(Photographs(), BATCH, shuffle=True, num_workers=2, drop_last=True, persistent_workers=True)
    while True:
        for images, labels in loader:
            optimizer.zero_grad()
            criterion(model(images), labels).backward()
            optimizer.step()
            meter.step()


def launch(side: str, name: str, threads: int) -> subprocess.Popen:
    """Start a side in a fresh process with an environment that the harness hasn't touched."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("OMP_", "MALLOC_"))}
    return subprocess.Popen(
        [sys.executable, __file__, side, name, str(threads)], env=environment, stdout=subprocess.PIPE, text=True
    )


def result(process: subprocess.Popen) -> dict:
    """Wait for a side and read its figure."""
    lines = process.communicate()[0].strip().splitlines()
    return json.loads(lines[-1])


def peak_gflops(dtype: torch.dtype, threads: int) -> float:
    """Measure what this machine reaches at best: a large matrix product or a wide convolution, whichever is faster."""
    torch.set_num_threads(threads)
    matrix = torch.randn(2048, 2048).to(dtype)
    images = torch.randn(64, 256, 16, 16).to(dtype).to(memory_format=torch.channels_last)
    weight = torch.randn(256, 256, 3, 3).to(dtype).to(memory_format=torch.channels_last)
    work = {
        2 * 2048**3: lambda: matrix @ matrix,
        2 * 64 * 16 * 16 * 256 * 256 * 9: lambda: torch.conv2d(images, weight, padding=1),
    }
    best = 0.0
    for flops, run in work.items():
        for _ in range(8):
            start = time.perf_counter()
            run()
            best = max(best, flops / (time.perf_counter() - start) / 1e9)
    return best


def training_gflop(name: str) -> float:
    """Count the GFLOP of a training step's share for one image: forward once, backward twice."""
    import tempfile
    from pathlib import Path

    from harness.measure.cost import macs_of_onnx
    from harness.runtime.export import export

    with tempfile.TemporaryDirectory() as folder:
        return 3 * 2 * macs_of_onnx(export(network(name), SIDE_PX, Path(folder, "model.onnx"))) / 1e9


def main() -> None:
    """Measure, print a table, and the JSON line last."""
    threads = torch.get_num_threads()
    peaks = {str(d).removeprefix("torch."): peak_gflops(d, threads) for d in (torch.float32, torch.bfloat16)}
    print(f"{threads} threads; peak " + ", ".join(f"{k} {v:.0f} GFLOP/s" for k, v in peaks.items()))
    header = ["network", "ours, images/s", "format", "of its peak", "peer, images/s", "of float32's", "ratio", "range"]
    print(f"\n| {' | '.join([*header, 'peer/peer'])} |\n|{' --- |' * (len(header) + 1)}", flush=True)
    found, shares = {}, {}
    for name in NETWORKS:
        rounds = [[result(launch(s, name, threads)) for s in ("ours", "peer", "peer")] for _ in range(ROUNDS)]
        ours_s, peer_s, again_s = ([1 / r["images_per_s"] for r in side] for side in zip(*rounds, strict=True))
        found[name] = compared(ours_s, peer_s, again_s)
        fastest, slowest = sorted(ours_s)[ROUNDS // 2], sorted([*peer_s, *again_s])[ROUNDS]
        dtype = rounds[0][0]["dtype"]
        gflop, own = training_gflop(name), peaks["float32" if dtype == "float32" else "bfloat16"]
        shares[name] = [round(gflop / fastest / own, 3), round(gflop / slowest / peaks["float32"], 3)]
        f, again = found[name], found[name]["peer_vs_peer"]
        row = [
            name,
            f"{1 / fastest:.0f}",
            dtype,
            f"{shares[name][0]:.0%}",
            f"{1 / slowest:.0f}",
            f"{shares[name][1]:.0%}",
        ]
        row += [f"{f['ratio']:.2f}", f"{f['low']:.2f}..{f['high']:.2f}", f"{again[0]:.2f}..{again[1]:.2f}"]
        print(f"| {' | '.join(row)} |", flush=True)
    one = result(launch("ours", "residual", threads))["images_per_s"]
    together = [launch("ours", "residual", 1) for _ in range(threads)]
    many = sum(result(p)["images_per_s"] for p in together)
    print(f"\nresidual, images/s: one worker x {threads} threads {one:.0f}, {threads} workers x one thread {many:.0f}")
    publish(
        "train_throughput",
        found["residual"]
        | {
            "ratios": {name: f["ratio"] for name, f in found.items()},
            "flops_share": shares,
            "peak_gflops": {k: round(v) for k, v in peaks.items()},
            "workers_over_threads": round(many / one, 3),
        },
    )


if __name__ == "__main__":
    if len(sys.argv) == 4:
        side, chosen, count = sys.argv[1:]
        try:
            ours(chosen, int(count)) if side == "ours" else peer(chosen)
        except Enough:
            sys.exit(0)
    main()
