"""Latencies that this machine has measured already."""

from __future__ import annotations

import hashlib
import json
from importlib import metadata
from pathlib import Path

import onnx

from harness.measure import fastest
from harness.measure.latency import Latency
from harness.measure.machine import cpu_name
from harness.measure.process import PATIENCE_S
from harness.record import files
from harness.rules.competition import Competition

ENGINES = ("onnxruntime", "openvino")
WEIGHTS = (onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16, onnx.TensorProto.BFLOAT16, onnx.TensorProto.DOUBLE)
VALUES = ("raw_data", "float_data", "int32_data", "double_data")


def timed(
    cache: Path,
    model: Path,
    reference: Path,
    competition: Competition,
    seconds: float,
    patience_s: float = PATIENCE_S,
) -> tuple[str, Latency, str | None]:
    """Return a network's engine and latency, as `fastest.timed`, and the file they were measured of, if not this one.

    A network of the same graph that was measured here in the same way has the same latency, whatever its weights.
    For trials alone: a judge measures each entry. cache: folder of the JSON files; a damaged one is measured again.

    Raises:
        HarnessError: as `fastest.timed`.
    """
    path = cache / f"latency-{key(model, reference, competition, seconds)}.json"
    if kept := read(path):
        return kept
    runtime, latency = fastest.timed(model, reference, competition, seconds, patience_s=patience_s)
    cache.mkdir(parents=True, exist_ok=True)
    files.write_json(path, {"model": str(model), "runtime": runtime, "latency": latency.to_dict()})
    return runtime, latency, None


def read(path: Path) -> tuple[str, Latency, str] | None:
    """Return engine, latency and the file that was measured; None where there is no such record, or no whole one."""
    try:
        kept = json.loads(path.read_text())
        return str(kept["runtime"]), Latency.from_dict(kept["latency"]), str(kept["model"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError):  # what damage can do to a file of JSON
        return None


def key(model: Path, reference: Path, competition: Competition, seconds: float) -> str:
    """Hash all that a latency hangs on: both graphs, how it is measured, processor and engines."""
    installed = {name: d.version for name in ENGINES if (d := _distribution(name))}
    how = [competition.threads, competition.runtime, seconds]
    facts = [graph(model), graph(reference), *how, cpu_name(), installed]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:32]


def graph(model: Path) -> str:
    """Hash an ONNX file without the values of its weights and without its names (sha256, 64 hex digits).

    Weights are initialisers of floating-point numbers with at least one axis: whole numbers and scalars are shapes,
    axes and limits, which belong to the operations. Names tell from which description the network was built.
    """
    described = onnx.load(model)
    described.ClearField("doc_string")
    numbers: dict[str, str] = {"": ""}  # of the values, in the order in which the operations use them
    for node in described.graph.node:
        node.ClearField("doc_string")
        node.ClearField("name")
        for values in (node.input, node.output):
            values[:] = [numbers.setdefault(name, str(len(numbers))) for name in values]
    for value in (*described.graph.input, *described.graph.output, *described.graph.value_info):
        value.name = numbers.get(value.name, "unused")
    for tensor in described.graph.initializer:
        tensor.name = numbers.get(tensor.name, "unused")
    weights = sorted(described.graph.initializer, key=lambda tensor: tensor.name)
    shapes = sorted(described.graph.value_info, key=lambda value: value.name)
    for field, ordered in (("initializer", weights), ("value_info", shapes)):
        copies = [type(part).FromString(part.SerializeToString()) for part in ordered]
        described.graph.ClearField(field)
        getattr(described.graph, field).extend(copies)
    for tensor in described.graph.initializer:
        if tensor.data_type in WEIGHTS and tensor.dims:
            for field in VALUES:
                tensor.ClearField(field)
    return hashlib.sha256(described.SerializeToString(deterministic=True)).hexdigest()


def _distribution(name: str) -> metadata.Distribution | None:
    try:
        return metadata.distribution(name)
    except metadata.PackageNotFoundError:
        return None
