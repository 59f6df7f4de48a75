"""One process with all threads beside as many as `train` starts by itself: images a second, with the same batches.

    python benchmarks/distributed_training.py             about 3 minutes on two cores

Both are `harness.train.fit.fit` with RandAugment(2, 9), flip and crop, in the precision that one probe chose for both.
Each figure comes from a fresh command that trains for some seconds after its first steps; the processes together, one,
and one again take turns. The last line is one JSON object: `ratio` is for the residual network, `ratios` holds all
three.
"""

from __future__ import annotations

import json
import subprocess
import sys
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from paired import compared, publish
from train_throughput import BATCH, NETWORKS, SIDE_PX, Enough, Meter, network, photographs

from harness.data.augment import Augment
from harness.data.prepare import Preprocessing, statistics
from harness.data.split import Images
from harness.processors import cores
from harness.record.recipe import Recipe
from harness.train.distributed import numbers, started
from harness.train.fit import fit
from harness.train.precision import Precision
from harness.train.probe import probe

ROUNDS = 3
CPU = torch.device("cpu")
SIDES = ("together", "one", "again")


def train(name: str, precision: Precision, processes: int, meter: Meter | None, rank: int) -> None:
    """Train as one of the processes until the meter stops the first, and with it all."""
    torch.set_num_threads(max(1, cores() // processes))
    pixels, labels = photographs()
    fit(
        network(name), Images(pixels, labels, tuple(map(str, range(len(labels))))),
        Preprocessing(SIDE_PX, *statistics(pixels)), Recipe(epochs=100, batch=BATCH), Augment(2, 9, True, 0.125),
        precision, seed=0, device=CPU, on_step=lambda step, loss: meter and meter.step(), rank=rank, world=processes,
    )  # fmt: skip


def run(name: str, processes: int, precision: Precision) -> None:
    """Train with so many processes and print what the meter has seen."""
    work = partial(train, name, precision, processes, None)
    meter = Meter(precision.dtype)
    try:
        if processes == 1:
            train(name, precision, 1, meter, 0)
        with TemporaryDirectory() as folder, started(processes, CPU, work, Path(folder, "meeting")):
            train(name, precision, processes, meter, 0)
    except Enough:
        pass


def images_per_s(name: str, processes: int, precision: Precision) -> float:
    """Have a fresh command train, whose OpenMP is as quiet as the harness has set it for this one's environment."""
    words = [sys.executable, __file__, name, str(processes), json.dumps(precision.to_dict())]
    done = subprocess.run(words, stdout=subprocess.PIPE, text=True, check=True)
    return float(json.loads(done.stdout.splitlines()[-1])["images_per_s"])


def main() -> None:
    """Measure, print and write results/distributed_training.json."""
    torch.set_num_threads(1)
    processes = numbers(cores(), BATCH, CPU)[0]
    figures: dict[str, Any] = {}
    for name in NETWORKS:
        precision = probe(network(name), SIDE_PX, BATCH // processes, CPU)
        seen: dict[str, list[float]] = {side: [] for side in SIDES}
        for number in range(ROUNDS):
            for side in SIDES if number % 2 else reversed(SIDES):
                seen[side].append(images_per_s(name, processes if side == "together" else 1, precision))
        cost = {side: [1 / rate for rate in rates] for side, rates in seen.items()}
        figures[name] = compared(cost["together"], cost["one"], cost["again"]) | {"dtype": precision.dtype}
        figures[name] |= {f"{side}_images_per_s": [round(rate) for rate in seen[side]] for side in SIDES}
        print(f"{name}: {figures[name]}", flush=True)
    ratios = {name: found["ratio"] for name, found in figures.items()}
    about = {"processes": processes, "cores": cores(), "ratios": ratios, "networks": figures}
    publish("distributed_training", figures["residual"] | about)


if __name__ == "__main__":
    if sys.argv[1:]:
        run(sys.argv[1], int(sys.argv[2]), Precision(**json.loads(sys.argv[3])))
    else:
        main()
