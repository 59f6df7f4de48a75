"""Time RandAugment (N=2, M=9) beside torchvision and albumentations, and beside a training step, in one run.

    python benchmarks/randaugment.py

One thread everywhere, uint8 images cut from scikit-learn's two photographs, all contenders by turns, nine rounds. All
draw anew for every image, but torchvision on a whole batch: one draw for all of its images, and marked so. The last
line is one JSON object: `ratio` is the time of torchvision on Pillow images over ours at 32 px (above 1: ours is
faster), `low` and `high` its range over the rounds, `peer_vs_peer` torchvision against itself, `ratio_128` the same at
128 px, `us_per_image` everybody's time, and `share_of_step` what our augmentation, crop and flip included, costs beside
one training step of a 9-layer residual net of width 32.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import albumentations as A
import cv2
import numpy as np
import torch
import torch.nn.functional as F
from paired import compared, publish
from PIL import Image
from sklearn.datasets import load_sample_images
from torchvision.transforms import v2
from train_throughput import NETWORKS

from harness.data.augment import Augment, augment
from harness.data.loader import normalised
from harness.data.prepare import Preprocessing
from harness.models.build import build
from harness.models.spec import ModelSpec

ROUNDS = 9
BATCH = 128
SIDES_PX = (32, 128)
REPEATS = {32: 50, 128: 8}  # of our batch in a round: as many draws as the peers see, and longer than a clock tick
PEER_IMAGES = 256

FORMATS = (torch.float32, torch.bfloat16)

OURS, PIL, AGAIN = "ours", "torchvision, PIL", "torchvision, PIL, again"
TENSOR, ALBUMENTATIONS = "torchvision, tensor", "albumentations"
WHOLE = "torchvision, tensor: same operation for the whole batch"
SHOWN = (OURS, PIL, TENSOR, ALBUMENTATIONS, WHOLE)

RESIDUAL_NET = ModelSpec.from_dict({"stages": NETWORKS["residual"]})


def photographs(count: int, side_px: int, rng: np.random.Generator) -> np.ndarray:
    """Cut squares of many sizes from the two photographs, shrunk to uint8 (count, side, side, 3)."""
    made = np.empty((count, side_px, side_px, 3), np.uint8)
    for i, photo in enumerate(load_sample_images().images[j] for j in rng.integers(2, size=count)):
        size = int(rng.integers(128, 400))
        y, x = rng.integers(len(photo) - size), rng.integers(photo.shape[1] - size)
        made[i] = cv2.resize(photo[y : y + size, x : x + size], (side_px, side_px), interpolation=cv2.INTER_AREA)
    return made


def albumentations_policy(side_px: int) -> A.Compose:
    """Draw two of the nearest equivalents of the 14 operations, at the strengths of M=9."""
    shift_px = int(150 / 331 * side_px * 9 / 30)
    nearest = {"interpolation": cv2.INTER_NEAREST, "p": 1}
    still = {"brightness": (1, 1), "contrast": (1, 1), "hue": (0, 0)}
    policy = [
        A.NoOp(p=1),
        A.Affine(shear={"x": (-5.1, 5.1), "y": (0, 0)}, **nearest),
        A.Affine(shear={"x": (0, 0), "y": (-5.1, 5.1)}, **nearest),
        A.Affine(translate_px={"x": (-shift_px, shift_px), "y": (0, 0)}, **nearest),
        A.Affine(translate_px={"x": (0, 0), "y": (-shift_px, shift_px)}, **nearest),
        A.Affine(rotate=(-9, 9), **nearest),
        A.RandomBrightnessContrast(brightness_limit=0.27, contrast_limit=0, p=1),
        A.ColorJitter(saturation=(0.73, 1.27), **still, p=1),
        A.RandomBrightnessContrast(brightness_limit=0, contrast_limit=0.27, p=1),
        A.Sharpen(alpha=(0, 0.27), lightness=(1, 1), kernel_size=3, p=1),
        A.Posterize(num_bits=7, p=1),
        A.Solarize(threshold_range=(0.7, 0.7), p=1),
        A.AutoContrast(p=1),
        A.Equalize(p=1),
    ]
    return A.Compose([A.SomeOf(policy, n=2, replace=True, p=1)])


def contenders(side_px: int) -> dict[str, tuple[Callable[[], object], int]]:
    """Return each contender's run and how many images it handles."""
    rng = np.random.default_rng(side_px)
    pixels = photographs(PEER_IMAGES, side_px, rng)
    pictures = [Image.fromarray(image) for image in pixels]
    tensors = torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous()
    theirs, policy, how = v2.RandAugment(2, 9), albumentations_policy(side_px), Augment(flip=False, crop=0.0)

    def run_ours() -> None:
        for k in range(REPEATS[side_px]):
            augment(pixels[k % 2 * BATCH :][:BATCH], how, rng)

    def run_whole() -> None:
        for k in range(REPEATS[side_px]):
            theirs(tensors[k % 2 * BATCH :][:BATCH])

    def run_pil() -> None:
        for picture in pictures:
            theirs(picture)

    return {
        OURS: (run_ours, BATCH * REPEATS[side_px]),
        PIL: (run_pil, PEER_IMAGES),
        AGAIN: (run_pil, PEER_IMAGES),
        TENSOR: (lambda: [theirs(tensor) for tensor in tensors], PEER_IMAGES),
        ALBUMENTATIONS: (lambda: [policy(image=image) for image in pixels], PEER_IMAGES),
        WHOLE: (run_whole, BATCH * REPEATS[side_px]),
    }


def training(dtype: torch.dtype) -> Callable[[], None]:
    """Return one training step of the residual net on 128 images of 32 px, channels last, in the given format."""
    model = build(RESIDUAL_NET, 10, 32).to(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    images = torch.from_numpy(photographs(BATCH, 32, np.random.default_rng(0)))
    labels = torch.arange(BATCH) % 10
    how = Preprocessing(32, mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25))

    def step() -> None:
        with torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
            logits = model(normalised(images, how, torch.device("cpu")))
        loss = F.cross_entropy(logits.float(), labels)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()

    return step


def seconds(run: Callable[[], object]) -> float:
    """Time one run."""
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def main() -> None:
    """Measure by turns, print a table, and the JSON line last."""
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    runs = {(side, name): run for side in SIDES_PX for name, run in contenders(side).items()}
    rng, how = np.random.default_rng(0), Augment()
    pixels = photographs(BATCH, 32, rng)
    runs["augment"] = (lambda: [augment(pixels, how, rng) for _ in range(50)], 50 * BATCH)
    for dtype in FORMATS:
        runs[dtype] = (training(dtype), BATCH)
    for run, _ in runs.values():
        run()  # to compile, to fill caches
    cost_us = {key: [] for key in runs}
    for number in range(ROUNDS):
        for key, (run, count) in list(runs.items())[:: (-1) ** number]:  # to and fro: who is first gains or loses
            cost_us[key].append(seconds(run) / count * 1e6)

    middle = {key: float(np.median(values)) for key, values in cost_us.items()}
    print(f"RandAugment N=2 M=9, one thread, {ROUNDS} rounds; us an image, median (lowest..highest)\n")
    print("| | 32 px | 128 px |\n| --- | --- | --- |")
    for name in SHOWN:
        cells = [f"{middle[s, name]:.2f} ({min(cost_us[s, name]):.2f}..{max(cost_us[s, name]):.2f})" for s in SIDES_PX]
        print(f"| {name} | {cells[0]} | {cells[1]} |")
    step_us = min(middle[dtype] for dtype in FORMATS)  # the faster step, beside which we look worst
    print(f"\nwith crop and flip {middle['augment']:.2f} us an image; a training step {step_us:.0f} us an image\n")

    small, large = (compared(*(cost_us[side, name] for name in (OURS, PIL, AGAIN))) for side in SIDES_PX)
    figures = {
        "us_per_image": {str(side): {name: round(middle[side, name], 2) for name in SHOWN} for side in SIDES_PX},
        "share_of_step": round(middle["augment"] / step_us, 5),
        "step_images_per_s": {f"{d}".removeprefix("torch."): round(1e6 / middle[d], 1) for d in FORMATS},
    }
    publish("randaugment", small | {f"{key}_128": value for key, value in large.items()} | figures)


if __name__ == "__main__":
    main()
