"""Weights to start from: random, of a file, or fitted to the training images."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from harness.data.loader import normalised
from harness.data.prepare import Preprocessing
from harness.errors import HarnessError
from harness.models.build import build
from harness.record.candidate import Candidate, Weights
from harness.record.files import sha256
from harness.train import checkpoint

IMAGES = 2_000  # enough for the covariance of small patches
HEAD = "head."  # of the names of the last layer's weights
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


def network(candidate: Candidate, classes: int, seed: int) -> nn.Module:
    """Build a candidate's network, with the weights that it names; without, random ones from `seed`.

    The head stays random where the weights' is of another number of classes.

    Raises:
        HarnessError: the network can't be built; the file isn't there, isn't the one that was recorded, or its weights
            are another network's.
    """
    model = build(candidate.model, classes, candidate.resolution_px, seed=seed)
    if candidate.weights is None:
        return model
    own, given = model.state_dict(), _read(candidate.weights)
    other = [
        name for name in own.keys() | given.keys()
        if name not in own or name not in given or (own[name].shape != given[name].shape and not name.startswith(HEAD))
    ]  # fmt: skip
    if other:
        raise HarnessError(
            f"weights={candidate.weights.name}: of another network: {min(other)} differs, and {len(other) - 1} more",
            "give the weights.pt of a run of this network",
        )
    model.load_state_dict({name: given[name] if given[name].shape == own[name].shape else own[name] for name in own})
    return model


def source(path: Path) -> Weights:
    """Name a file of weights by its path and its hash.

    Raises:
        HarnessError: it isn't there.
    """
    if not path.is_file():
        raise HarnessError(f"weights={path}: no such file", "give the weights.pt of a run folder")
    return Weights(str(path), sha256(path))


def _read(weights: Weights) -> dict[str, torch.Tensor]:
    found = source(Path(weights.name)).sha256
    if found != weights.sha256:
        raise HarnessError(
            f"weights={weights.name}: sha256 is {found}, the candidate names {weights.sha256}",
            "put the file back that it was recorded with, or give weights= again",
        )
    try:
        return checkpoint.load(Path(weights.name))
    except HarnessError as e:
        what = f"weights={weights.name}: not a file of weights that train.py wrote"
        raise HarnessError(what, "give the weights.pt of a run folder") from e


STARTS: dict[str, Callable[[nn.Module, np.ndarray, Preprocessing], None]] = {
    "he": lambda model, pixels, how: None,  # as the network was built
    "whitened": whitened,
}
