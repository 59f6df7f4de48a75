"""Weights to start from, fitted to the training images."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from harness.data.loader import normalised
from harness.data.prepare import Preprocessing

IMAGES = 2_000  # enough for the covariance of small patches
FLOOR = 5e-4  # added to the variances: directions that hardly occur aren't blown up


@torch.no_grad()
def whitened(model: nn.Module, pixels: np.ndarray, how: Preprocessing) -> None:
    """Let the first convolution whiten patches of the images, and the later ones pass their input on, in place.

    pixels: uint8 (N, R, R, 3). The first layer's filters become the principal directions of its patches, each scaled
    to variance 1 and with both signs; of every later 3x3 convolution (or larger) that doesn't narrow, the first filters
    become the identity. Convolutions with groups stay.

    Source: cifar10-airbench, https://arxiv.org/abs/2404.00498
    """
    convolutions = [m for m in model.modules() if isinstance(m, nn.Conv2d) and m.groups == 1]
    for layer in convolutions[1:]:
        outputs, inputs, height, _ = layer.weight.shape
        if height > 1 and outputs >= inputs:
            nn.init.dirac_(layer.weight[:inputs])
    first = convolutions[0]
    outputs, inputs, height, width = first.weight.shape
    if inputs != 3:
        return
    chosen = pixels[:: max(1, len(pixels) // IMAGES)]
    images = normalised(torch.from_numpy(chosen), how, torch.device("cpu"))
    patches = F.unfold(images[:IMAGES], (height, width), stride=2).transpose(1, 2).flatten(0, 1)
    variances, directions = torch.linalg.eigh(patches.T @ patches / len(patches))
    filters = (directions / (variances + FLOOR).sqrt()).T.flip(0)[: outputs // 2].reshape(-1, inputs, height, width)
    both = torch.cat([filters, -filters]).to(first.weight.device)
    first.weight[: len(both)] = both


STARTS: dict[str, Callable[[nn.Module, np.ndarray, Preprocessing], None]] = {
    "he": lambda model, pixels, how: None,  # as the network was built
    "whitened": whitened,
}
