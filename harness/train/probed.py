"""What this machine has found to be the fastest way to train a network, so that none is probed twice."""

from __future__ import annotations

import hashlib
import json
import logging
import time
from pathlib import Path

import torch
from platformdirs import user_cache_path
from torch import nn

from harness.measure.machine import cpu_name
from harness.models.training_graph import training_graph
from harness.record import files
from harness.train.precision import Precision

AGE_S = 30 * 86_400.0
"""After which an answer no longer counts, and its file goes: kernels' settings and hosts change unseen."""
KIND = 1
"""Of the probe: with another way of finding out, old answers aren't believed."""


def file(model: nn.Module, resolution_px: int, batch: int) -> Path:
    """Return where a network's answer is kept: by its graph, images, threads, processor and torch's version."""
    facts = [
        training_graph(model, resolution_px), resolution_px, batch, torch.get_num_threads(),
        cpu_name(), dict(torch.cpu.get_capabilities()), torch.__version__, KIND,
    ]  # fmt: skip
    name = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:32]
    return user_cache_path("latency-cup") / "precision" / f"{name}.json"


def read(path: Path) -> Precision | None:
    """Return what was found; None where nothing was, too long ago, or the file is damaged."""
    try:
        kept = json.loads(path.read_text())
        return Precision(**kept["precision"]) if time.time() - kept["when"] < AGE_S else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):  # what damage can do to a file of JSON
        return None


def write(path: Path, precision: Precision) -> None:
    """Keep what was found, and remove what is too old."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        files.write_json(path, {"precision": precision.to_dict(), "when": time.time()})
        for other in path.parent.glob("*.json"):
            if time.time() - other.stat().st_mtime > AGE_S:
                files.remove(other)
    except OSError as e:  # the training itself is none the worse
        logging.getLogger(__name__).warning("%s can't be written (%s): the next probe knows nothing of it", path, e)
