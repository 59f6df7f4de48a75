"""Where the training runs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from harness.errors import HarnessError

AMPERE = (8, 0)
"""The compute capability from which CUDA cards have fast bfloat16, and TF32.

Source: https://docs.nvidia.com/cuda/cuda-c-programming-guide/#arithmetic-instructions"""


def device_of(name: str) -> torch.device:
    """Turn `auto`, `cpu`, `cuda` or `mps` into a device; `auto` takes a CUDA card where there is one, else the CPU.

    `mps`, the graphics of a Mac, is taken by its name alone: it lacks operators.

    Raises:
        HarnessError: there is no such device here.
    """
    here = ["cpu"] + ["cuda"] * torch.cuda.is_available() + ["mps"] * torch.backends.mps.is_available()
    if name == "auto":
        name = "cuda" if "cuda" in here else "cpu"
    if name not in here:
        allowed = ", ".join(["auto", *here]) + ("" if "cuda" in here else " (no CUDA device is seen here)")
        raise HarnessError(f"device={name}: not available; allowed: {allowed}", "use device=auto")
    return torch.device(name)


def allow_tf32(device: torch.device) -> None:
    """Multiply what is left in float32 as TF32 on CUDA cards that have it, in this process."""
    if device.type == "cuda":
        torch.set_float32_matmul_precision("high")  # convolutions are TF32 by default, products of matrices aren't


def half(capability: tuple[int, int]) -> str:
    """Name the 16-bit format that is fast on a CUDA card of this compute capability: V100 and T4 have float16 alone."""
    return "bfloat16" if capability >= AMPERE else "float16"


@contextmanager
def operators_of(device: torch.device) -> Iterator[None]:
    """Say in one error which operator an accelerator doesn't have.

    Raises:
        HarnessError: torch has no such operator for the device.
    """
    try:
        yield
    except NotImplementedError as e:
        if device.type == "cpu":
            raise
        what = f"device={device.type}: {str(e).splitlines()[0]}"
        raise HarnessError(what, "use device=cpu, or leave out the block that needs it") from e
