"""Time a model beside torchvision's mobilenet_v3_small and resnet18, at the model's own input size, in one run.

    python benchmarks/latency_beside_torchvision.py [FILE.onnx]      default: the committed example entry

ONNX Runtime, one thread, one image, fresh pinned processes, by turns, five rounds. The last line is one JSON object:
`ratio` is resnet18's time over the model's (above 1: the model is faster), `low` and `high` its range over the rounds,
`peer_vs_peer` resnet18 against itself, measured in the same rounds.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

import numpy as np
import torchvision

from harness.measure.cost import macs_of_onnx
from harness.measure.machine import machine, versions
from harness.measure.process import measure
from harness.runtime.export import export
from harness.runtime.onnx import inputs_of

ROUNDS = 5
PEERS = ("mobilenet_v3_small", "resnet18")


def main() -> None:
    """Measure, print a table, and the JSON line last."""
    model = Path(sys.argv[1] if len(sys.argv) > 1 else "submissions/example/model.onnx")
    side = inputs_of(model)[0].shape[2]
    with tempfile.TemporaryDirectory() as folder:
        files = {"this model": model}
        for name in PEERS:
            network = getattr(torchvision.models, name)(num_classes=10)
            files[name] = export(network, side, Path(folder, f"{name}.onnx"))
        files["resnet18 again"] = files["resnet18"]
        rounds = [{n: measure(f, files["resnet18"], seconds=1.0) for n, f in files.items()} for _ in range(ROUNDS)]
        macs = {n: macs_of_onnx(f) / 1e6 for n, f in files.items()}
    print(f"{side} px, one thread, {ROUNDS} rounds, {machine()['cpu']}\n")
    print("| network | ms, median of rounds | lowest..highest | MMACs |\n| --- | --- | --- | --- |")
    for name in files:
        ms = [r[name].ms for r in rounds]
        print(f"| {name} | {np.median(ms):.4f} | {min(ms):.4f}..{max(ms):.4f} | {macs[name]:.2f} |")
    ratios = [1 / r["this model"].ratio for r in rounds]
    again = [r["resnet18 again"].ratio for r in rounds]
    result = {
        "name": "latency_beside_torchvision",
        "ratio": round(float(np.median(ratios)), 4),
        "low": round(min(ratios), 4),
        "high": round(max(ratios), 4),
        "peer_vs_peer": [round(min(again), 4), round(max(again), 4)],
        "ms": {name: round(float(np.median([r[name].ms for r in rounds])), 5) for name in files},
        "resolution_px": side,
        "machine": machine(),
        "versions": versions(),
    }
    Path("benchmarks/results").mkdir(exist_ok=True)
    Path("benchmarks/results/latency_beside_torchvision.json").write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result))


if __name__ == "__main__":
    main()
