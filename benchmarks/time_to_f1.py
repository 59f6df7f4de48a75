"""Time to macro-F1 0.80 and 0.85 on 10,000 CIFAR-10 images, process start to test score.

    python benchmarks/time_to_f1.py              about 9 minutes: ours whole to 0.85, the rest by the seconds an epoch
    python benchmarks/time_to_f1.py --whole      everything trained whole: more than an hour

Three ways to train, each in fresh processes on all cores, each with the fewest epochs that reach the mark (EPOCHS):

- ours: a 9-layer residual network of width 32 with the harness's `fit` and the recipe of conf/proxy/fast_cifar.yaml;
- same network: the same network as a PyTorch tutorial trains it: torch's own initialisation, float32, DataLoader with
  two workers, crop and flip by torchvision v2 on PIL images, SGD 0.9 Nesterov, OneCycle;
- course: the course's baseline, MobileNetV3-Large at 32 px, batch 128, RandAugment, SGD lr 0.1, OneCycle with 5 %
  warm-up.

Where a peer doesn't reach the mark in the epochs that EPOCHS gives it, its time is a lower bound ("over").

Without --whole, a time that isn't measured whole is a run's time outside its epochs (start, data, score) plus EPOCHS
times its seconds an epoch; a peer's run has two epochs. The last line is one JSON object: `ratio` is the same network's
time to 0.85 over ours.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

import torch  # before the harness, which quiets OpenMP: the peers run with torch's own settings
from paired import compared, publish
from train_throughput import NETWORKS

MARKS = (0.80, 0.85)
SEEDS = (0, 1, 2)
# Epochs of a whole schedule after which the test F1 is at the mark, or not even then: NOT_REACHED.
EPOCHS = {
    "ours": {0.80: 9, 0.85: 23},
    "same network": {0.80: 18, 0.85: 36},
    "course": {0.80: 45, 0.85: 45},
}
NOT_REACHED = {"same network": MARKS[1:], "course": MARKS}
IMAGES, SIDE_PX, CLASSES = 10_000, 32, 10
COURSE = [  # MobileNetV3-Large: kernel, expansion, channels, SE, hard swish, stride
    (3, 1.0, 16, False, False, 1), (3, 4.0, 24, False, False, 2), (3, 3.0, 24, False, False, 1),
    (5, 3.0, 40, True, False, 2), (5, 3.0, 40, True, False, 1), (5, 3.0, 40, True, False, 1),
    (3, 6.0, 80, False, True, 2), (3, 2.5, 80, False, True, 1), (3, 2.3, 80, False, True, 1),
    (3, 2.3, 80, False, True, 1), (3, 6.0, 112, True, True, 1), (3, 6.0, 112, True, True, 1),
    (5, 6.0, 160, True, True, 2), (5, 6.0, 160, True, True, 1), (5, 6.0, 160, True, True, 1),
]  # fmt: skip


def course_network() -> list[dict]:
    """List the stages of the course's baseline."""
    names = ("kernel", "expand", "channels", "se", "hardswish", "stride")
    blocks = [{"block": "inverted_v3", **dict(zip(names, row, strict=True))} for row in COURSE]
    first = {"block": "conv", "channels": 16, "stride": 2, "activation": "hardswish"}
    return [
        first, *blocks, {"block": "conv", "channels": 960, "kernel": 1, "activation": "hardswish"},
        {"block": "globalavgpool"}, {"block": "conv", "channels": 1280, "kernel": 1, "activation": "hardswish"},
    ]  # fmt: skip


def images(root: str) -> tuple:
    """Read the stratified 10,000 training images and the test part."""
    from harness.data.cifar import CifarOptions, load
    from harness.data.split import stratified

    data = load(CifarOptions(root=root, validation=0.0))
    return data.train.take(stratified(data.train.labels, IMAGES, 0)), data.test


def network(stages: list[dict], seed: int) -> torch.nn.Module:
    """Build a network."""
    from harness.models.build import build
    from harness.models.spec import ModelSpec

    return build(ModelSpec.from_dict({"stages": stages}), CLASSES, SIDE_PX, seed=seed)


def ours(root: str, epochs: int, seed: int) -> tuple[float, list[float]]:
    """Train as a trial does; return the test F1 and the seconds of each epoch."""
    from harness import config
    from harness.data.augment import Augment
    from harness.data.prepare import Preprocessing, statistics
    from harness.measure.quality import macro_f1
    from harness.record.recipe import Recipe
    from harness.train.fit import fit, predict
    from harness.train.probe import probe

    fix = config.read_yaml(config.find("proxy", "fast_cifar"))["fix"]
    recipe = {key.removeprefix("recipe."): value for key, value in fix.items() if key.startswith("recipe.")}
    train, test = images(root)
    model = network(NETWORKS["residual"], seed)
    how = Preprocessing(SIDE_PX, *statistics(train.pixels))
    precision = probe(model, SIDE_PX, recipe["batch"], torch.device("cpu"))
    epoch_s: list[float] = []
    trained = fit(
        model, train, how, Recipe(epochs=epochs, **recipe), Augment(**fix["augment"]), precision, seed=seed,
        device=torch.device("cpu"), on_epoch=lambda epoch: epoch_s.append(epoch.seconds),
    )  # fmt: skip
    return macro_f1(test.labels, predict(trained, test.pixels, how, precision), CLASSES), epoch_s


class Pictures(torch.utils.data.Dataset):
    """What a tutorial writes."""

    def __init__(self, pixels: object, labels: object, transform: object) -> None:
        self.pixels, self.labels, self.transform = pixels, labels, transform

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, i: int) -> tuple:
        from PIL import Image

        return self.transform(Image.fromarray(self.pixels[i])), int(self.labels[i])


def peer(side: str, root: str, epochs: int, seed: int) -> tuple[float, list[float]]:
    """Train as a tutorial does; return the test F1 and the seconds of each epoch."""
    from sklearn.metrics import f1_score
    from torch.utils.data import DataLoader
    from torchvision.transforms import v2

    torch.manual_seed(seed)
    train, test = images(root)
    course = side == "course"
    model = network(course_network() if course else NETWORKS["residual"], seed)
    for module in model.modules():
        if hasattr(module, "reset_parameters"):
            module.reset_parameters()
    tail = [v2.ToImage(), v2.ToDtype(torch.float32, scale=True), v2.Normalize((0.49, 0.48, 0.45), (0.25, 0.24, 0.26))]
    vary = [v2.RandAugment(2)] if course else [v2.RandomCrop(SIDE_PX, padding=4)]
    learn = Pictures(train.pixels, train.labels, v2.Compose([*vary, v2.RandomHorizontalFlip(), *tail]))
    loader = DataLoader(learn, 128, shuffle=True, num_workers=2, drop_last=True, persistent_workers=True)
    rate = 0.1 if course else 0.2
    optimizer = torch.optim.SGD(model.parameters(), lr=rate, momentum=0.9, nesterov=not course, weight_decay=5e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, rate, total_steps=epochs * len(loader), pct_start=0.05 if course else 0.25
    )
    criterion = torch.nn.CrossEntropyLoss()
    epoch_s = []
    for _ in range(epochs):
        start = time.perf_counter()
        model.train()
        for x, y in loader:
            optimizer.zero_grad()
            criterion(model(x), y).backward()
            optimizer.step()
            schedule.step()
        epoch_s.append(time.perf_counter() - start)
    model.eval()
    with torch.no_grad():
        judged = DataLoader(Pictures(test.pixels, test.labels, v2.Compose(tail)), 500, num_workers=2)
        found = torch.cat([model(x).argmax(1) for x, _ in judged])
    return float(f1_score(test.labels, found.numpy(), average="macro")), epoch_s


def run(side: str, root: str, epochs: int, seed: int) -> dict[str, Any]:
    """Run a side in a fresh process: `f1`, `epoch_s`, `besides_s` and `seconds` of the whole process."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("OMP_", "MALLOC_"))}
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, __file__, side, root, str(epochs), str(seed)], env=environment, capture_output=True, text=True
    )
    seconds = time.perf_counter() - start
    if done.returncode:
        raise RuntimeError(f"{side}: {done.stderr.strip().splitlines()[-1]}")
    f1, epoch_s = json.loads(done.stdout.strip().splitlines()[-1])
    middle = median(epoch_s[len(epoch_s) > 1 :])  # the first epoch warms up
    print(f"{side}, seed {seed}: {epochs} epochs of {middle:.2f} s, {seconds:.1f} s in all, F1 {f1:.4f}", flush=True)
    return {"f1": f1, "epoch_s": middle, "besides_s": seconds - sum(epoch_s), "seconds": seconds}


def measured(side: str, root: str, marks: Sequence[float]) -> list[dict[float, float]]:
    """Return the seconds to each mark, once a seed: trained whole to `marks`, by the seconds an epoch to the others."""
    found = []
    for seed in SEEDS if marks else SEEDS[:2]:
        seconds = {}
        for mark in marks:
            one = run(side, root, EPOCHS[side][mark], seed)
            reached = one["f1"] >= mark or mark in NOT_REACHED.get(side, ())
            seconds[mark] = one["seconds"] if reached else float("inf")
            if not reached:
                print(f"  F1 {one['f1']:.4f} is below {mark}: this seed counts as not reaching it", flush=True)
        if not marks:
            one = run(side, root, 2, seed)
        rest = {m: one["besides_s"] + EPOCHS[side][m] * one["epoch_s"] for m in MARKS if m not in marks}
        found.append(seconds | rest)
    return found


def main(arguments: list[str]) -> None:
    """Measure, print a table, and the JSON line last."""
    home = Path(__file__).resolve().parents[1]
    packed = home / os.environ.get("HARNESS_DATA", "../shared/data")
    root = home / "build" / "cifar"
    if not (root / "cifar-10-batches-py").exists():
        if not (packed / "unpack.py").exists():
            print(json.dumps({"name": "time_to_f1", "skipped": f"no CIFAR-10 in {packed}: set HARNESS_DATA"}))
            return
        root.mkdir(parents=True, exist_ok=True)
        subprocess.run([sys.executable, packed / "unpack.py", root], check=True, capture_output=True)
    everything = "--whole" in arguments
    mine = measured("ours", str(root), MARKS if everything else MARKS[-1:])
    peers = {side: measured(side, str(root), MARKS if everything else ()) for side in ("same network", "course")}
    print(
        "\n| macro-F1 | ours, s | same network, s | ratio | course, s | ratio |\n| --- | --- | --- | --- | --- | --- |"
    )
    ratios = {}
    for mark in MARKS:
        middle = median(s[mark] for s in mine)
        row = [f"{mark:.2f}", f"{middle:.1f}"]
        for side, seconds in peers.items():
            ratios[f"{side} {mark:.2f}"] = round(median(s[mark] for s in seconds) / middle, 2)
            more = "over " if mark in NOT_REACHED[side] else ""
            row += [f"{more}{median(s[mark] for s in seconds):.0f}", f"{more}{ratios[f'{side} {mark:.2f}']:.1f}"]
        print(f"| {' | '.join(row)} |")
    same = [s[0.85] for s in peers["same network"]]
    publish(
        "time_to_f1",
        compared([s[0.85] for s in mine][: len(same)], same, same[1:] + same[:1])
        | {
            "ratios": ratios,
            "ours_s": {f"{m:.2f}": [round(s[m], 1) for s in mine] for m in MARKS},
            "trained_whole": "everything" if everything else "ours to 0.85",
            "epochs": {side: {f"{m:.2f}": n for m, n in marks.items()} for side, marks in EPOCHS.items()},
        },
    )


if __name__ == "__main__":
    if len(sys.argv) == 5:
        which, *rest = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
        print(json.dumps(ours(*rest) if which == "ours" else peer(which, *rest)))
    else:
        main(sys.argv[1:])
