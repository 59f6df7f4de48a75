"""Run an ONNX file with torch's ahead-of-time compiler on the CPU."""

from __future__ import annotations

import hashlib
import os
import warnings
from pathlib import Path

import numpy as np
import torch
from torch._inductor import aoti_compile_and_package, aoti_load_package
from torch._inductor.runtime.cache_dir_utils import cache_dir

from harness.errors import HarnessError
from harness.runtime.engines import Predict
from harness.runtime.network import network
from harness.runtime.onnx import input_shape


def load(path: Path, threads: int = 1) -> Predict:
    """Open a model compiled for one image; other batches run image by image.

    The first load of a file compiles it, which takes a C++ compiler and 4 to 30 s; torch's cache keeps it. Not
    TorchScript, which loads at once: it is deprecated, and took 2.7 times as long on a tiny and on a depthwise network
    (0.6 times on a dense one).

    threads: hold for torch in the whole process, as flushed denormals do.

    Raises:
        HarnessError: torch can't run or compile the file.
    """
    torch.set_num_threads(threads)
    torch.set_flush_denormal(True)
    try:
        compiled = aoti_load_package(str(_compiled(path, threads)), run_single_threaded=True)
    except RuntimeError as e:
        reason = (str(e).strip() or type(e).__name__).splitlines()[0]
        fix = "install a C++ compiler (Debian: apt-get install g++), or choose runtime=onnx"
        raise HarnessError(f"{path}: torch can't compile it: {reason}", fix) from e

    def predict(inputs: np.ndarray) -> np.ndarray:
        whole = inputs if inputs.flags.writeable else inputs.copy()  # torch warns of memory that it may not write
        with torch.inference_mode():
            return torch.cat([compiled(one) for one in torch.from_numpy(whole).split(1)]).numpy()

    return predict


def _compiled(path: Path, threads: int) -> Path:
    """Return the compiled file, after compiling it where torch's cache has none of this model, version and machine."""
    model = network(path)
    terms = repr((torch.__version__, torch.backends.cpu.get_cpu_capability(), threads)).encode()
    key = hashlib.sha256(path.read_bytes() + terms).hexdigest()[:32]
    package = Path(cache_dir(), f"harness-{key}.pt2")
    if not package.exists():
        part = package.with_name(f"harness-{key}-{os.getpid()}.pt2")
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            program = torch.export.export(model, (torch.zeros(1, *input_shape(path)),))
            aoti_compile_and_package(program, package_path=str(part), inductor_configs={"compile_threads": 1})
        part.replace(package)
    return package
