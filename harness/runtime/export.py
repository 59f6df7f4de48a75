"""Write a network as the artefact that is timed, scored and submitted."""

from __future__ import annotations

import io
import warnings
from pathlib import Path

import torch
from torch import nn

from harness.models.build import export_ready
from harness.record import files

OPSET = 17


def export(model: nn.Module, resolution_px: int, path: Path) -> Path:
    """Write `model` to ONNX: input `images` float32 (N, 3, R, R), output `logits` (N, classes), N free.

    Re-parameterised blocks are fused first; the file appears whole or not at all.
    """
    network = io.BytesIO()
    ready = export_ready(model).cpu().float().to(memory_format=torch.contiguous_format)

    with warnings.catch_warnings(), torch.no_grad():
        # The tracing exporter is deprecated but needs 0.3 s where the new one needs 5 s and onnxscript.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            ready,
            (torch.zeros(1, 3, resolution_px, resolution_px),),
            network,
            dynamo=False,
            opset_version=OPSET,
            input_names=["images"],
            output_names=["logits"],
            dynamic_axes={"images": {0: "N"}, "logits": {0: "N"}},
        )
    files.write(path, network.getvalue())
    return path
