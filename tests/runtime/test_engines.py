"""Every engine runs the same file and computes what the torch network does."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchvision
from torch import Tensor, nn

from harness.errors import HarnessError
from harness.models.activation import ACTIVATIONS
from harness.models.build import BLOCKS, build
from harness.models.spec import ModelSpec, Stage
from harness.runtime import engines
from harness.runtime.export import export

ROOT = Path(__file__).resolve().parents[2]
KEEPS = ("maxpool", "avgpool", "globalavgpool", "flatten", "dropout")  # keep their channels
UNSTRIDED = ("globalavgpool", "flatten", "linear", "dropout")
CASES: list[tuple[str, int, dict[str, Any]]] = [
    *((block, stride, {}) for block in BLOCKS for stride in (1, 2) if stride == 1 or block not in UNSTRIDED),
    *(("conv", 1, {"activation": name}) for name in ACTIVATIONS),
    ("conv", 1, {"residual": True, "groups": 2}),
    ("inverted_v3", 2, {"se": True, "hardswish": True}),
    ("ghost", 2, {"se": True}),
    ("mbconv", 1, {"activation": "hardswish"}),
    ("avgpool", 1, {"padding": 0}),
]


def settled(model: nn.Module) -> nn.Module:
    """Give every batch normalisation statistics and weights of its own, as training would."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for norm in (m for m in model.modules() if isinstance(m, nn.BatchNorm2d)):
            norm.running_mean.normal_(0, 0.3, generator=generator)
            norm.running_var.uniform_(0.5, 2, generator=generator)
            norm.weight.uniform_(0.5, 1.5, generator=generator)
            norm.bias.normal_(0, 0.3, generator=generator)
    return model


def network(block: str, stride: int, **options: Any) -> nn.Module:
    """Build one block twice, once where shapes change and once where they agree."""
    before = [Stage("flatten")] if block == "linear" else []
    stage = Stage(block, 0 if block in KEEPS else 16, 2, stride, options=options)
    return settled(build(ModelSpec((Stage("conv", 8), *before, stage)), 5, 8))


class Others(nn.Module):
    """What no block needs and other classifiers do: a normalisation alone, a product, a mean, moved dimensions."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(3)
        self.mix = nn.Parameter(torch.randn(3, 4, generator=torch.Generator().manual_seed(3)))

    def forward(self, x: Tensor) -> Tensor:
        return (self.norm(x).permute(0, 2, 3, 1) @ self.mix - 0.25).mean((1, 2))


def images(count: int, side_px: int) -> np.ndarray:
    """Make noise in the shape of images."""
    return np.random.default_rng(2).standard_normal((count, 3, side_px, side_px), dtype=np.float32)


def assert_same(runtime: str, model: nn.Module, path: Path, side_px: int) -> None:
    """Compare an engine on the exported file with the torch network itself, for one image and for five."""
    found = engines.load(runtime, export(model, side_px, path))
    model.eval()
    for count in (1, 5):
        x = images(count, side_px)
        with torch.inference_mode():
            expected = model(torch.from_numpy(x)).numpy()
        logits = found(x)
        assert logits.dtype == np.float32 and logits.shape == expected.shape
        np.testing.assert_allclose(logits, expected, rtol=0, atol=1e-3 * np.abs(expected).max())


def run(code: str, *arguments: Any, **environment: str) -> str:
    """Run code in a fresh interpreter; return what it printed."""
    quiet = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), **environment}
    command = [sys.executable, "-c", code, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, env=quiet, timeout=600)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def has(runtime: str) -> None:
    """Skip where an engine isn't installed."""
    if runtime == "openvino":
        pytest.importorskip("openvino", reason="OpenVINO isn't installed")


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small network's file."""
    return export(network("conv", 1), 8, tmp_path_factory.mktemp("small") / "small.onnx")


@pytest.mark.parametrize("runtime", list(engines.RUNTIMES))
@pytest.mark.parametrize(("block", "stride", "options"), CASES)
def test_every_engine_gives_the_torch_networks_logits_for_every_block(
    block: str, stride: int, options: dict[str, Any], runtime: str, tmp_path: Path
) -> None:
    """Within a thousandth of the largest logit, for one image and for five."""
    has(runtime)
    assert_same(runtime, network(block, stride, **options), tmp_path / "model.onnx", 8)


@pytest.mark.parametrize("runtime", list(engines.RUNTIMES))
@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v3_small"])
def test_every_engine_gives_the_torch_networks_logits_for_torchvisions_networks(
    name: str, runtime: str, tmp_path: Path
) -> None:
    """A network that isn't ours runs as well."""
    has(runtime)
    model = settled(getattr(torchvision.models, name)(num_classes=10))
    assert_same(runtime, model, tmp_path / "model.onnx", 32)


@pytest.mark.parametrize("runtime", list(engines.RUNTIMES))
def test_every_engine_knows_what_other_classifiers_need(runtime: str, tmp_path: Path) -> None:
    """Operators that no block of ours writes."""
    has(runtime)
    assert_same(runtime, settled(Others()), tmp_path / "model.onnx", 8)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("runtime", list(engines.RUNTIMES))
def test_images_in_a_mapped_file_are_read_where_they_lie(runtime: str, small: Path, tmp_path: Path) -> None:
    """Memory that can't be written is as good as any other, and is left as it was."""
    has(runtime)
    x = images(3, 8)
    np.save(tmp_path / "x.npy", x)
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    predict = engines.load(runtime, small)
    np.testing.assert_array_equal(predict(mapped), predict(x))
    np.testing.assert_array_equal(mapped, x)


@pytest.mark.parametrize("runtime", list(engines.RUNTIMES))
@pytest.mark.parametrize("content", [None, b"", b"garbage" * 1000])
def test_a_file_that_is_no_model_is_an_error(content: bytes | None, runtime: str, tmp_path: Path) -> None:
    """Whichever engine; the path is named."""
    has(runtime)
    path = tmp_path / "bad.onnx"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(HarnessError, match="bad.onnx"):
        engines.load(runtime, path)


def test_an_unknown_engine_is_an_error_that_lists_the_known(small: Path) -> None:
    """And names the nearest."""
    with pytest.raises(HarnessError, match="(?s)allowed: onnx, openvino\n.*did you mean 'openvino'"):
        engines.load("openvin", small)


def test_timing_onnx_runtime_needs_no_other_engine(small: Path) -> None:
    """Neither torch nor OpenVINO is imported: the timed process stays as small as it can be."""
    code = """if True:
        import sys
        from pathlib import Path
        from harness.runtime import engines
        engines.load("onnx", Path(sys.argv[1]))
        print([name for name in ("torch", "openvino", "onnxruntime") if name in sys.modules])
    """
    assert run(code, small) == "['onnxruntime']"


def test_openvino_needs_no_torch_and_calls_nobody(small: Path) -> None:
    """It brings a package for telemetry, which must have nothing to tell."""
    has("openvino")
    code = """if True:
        import sys
        from pathlib import Path
        import numpy as np
        calls = []
        sys.addaudithook(lambda name, _: calls.append(name) if name.startswith("socket.") else None)
        from harness.runtime import engines
        engines.load("openvino", Path(sys.argv[1]))(np.zeros((1, 3, 8, 8), dtype=np.float32))
        print("torch" in sys.modules, [c for c in calls if c in ("socket.connect", "socket.getaddrinfo")])
    """
    assert run(code, small) == "False []"


def test_openvino_that_isnt_installed_is_an_error_that_says_what_to_install(small: Path) -> None:
    """Where Python can't find it, nothing else changes."""
    code = """if True:
        import sys
        from pathlib import Path
        from harness.errors import HarnessError
        from harness.runtime import engines
        sys.modules["openvino"] = None
        engines.load("onnx", Path(sys.argv[1]))
        try:
            engines.load("openvino", Path(sys.argv[1]))
        except HarnessError as e:
            print(e)
    """
    said = run(code, small)
    assert "OpenVINO isn't installed" in said and "pip install 'latency-cup[openvino]'" in said


SHARE = """if True:
    import sys, time
    from pathlib import Path
    import numpy as np
    from harness.runtime import engines
    predict = engines.load(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]))
    x = np.zeros((1, 3, 64, 64), dtype=np.float32)
    for _ in range(20):
        predict(x)
    for _ in range(3):
        whole, mine = time.process_time(), time.thread_time()
        for _ in range(100):
            predict(x)
        print((time.thread_time() - mine) / (time.process_time() - whole))
"""
"""Print three times which share of an engine's CPU time is spent by the thread that calls it."""


@pytest.mark.parametrize("runtime", list(engines.RUNTIMES))
def test_threads_are_as_many_as_asked_for(runtime: str, tmp_path: Path) -> None:
    """With one, the calling thread does everything; with two, the other does its part (the negative control)."""
    has(runtime)
    if (os.cpu_count() or 1) < 2:
        pytest.skip("one processor: nothing to share")
    model = build(ModelSpec((Stage("conv", 32), Stage("conv", 64, 4, 2))), 5, 64)
    path = export(model, 64, tmp_path / "model.onnx")
    shares = [[float(line) for line in run(SHARE, runtime, path, threads).split()] for threads in (1, 2)]
    # On a busy machine a thread of the process's own start may still be at work in one of the three.
    one, two = max(shares[0]), min(shares[1])
    assert one > 0.99 and 1 - two > 5 * (1 - one)  # beside busy neighbours the second thread gets little to do
