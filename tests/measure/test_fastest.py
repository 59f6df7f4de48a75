"""The engine that is timed is the fastest of those that compute the same."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from still_clock import taking

from harness.errors import HarnessError
from harness.measure import process
from harness.measure.fastest import TOLERANCE, Attempt, choose, difference, timed, tried
from harness.measure.latency import Latency
from harness.measure.process import measure, predict
from harness.models.build import build
from harness.models.spec import ModelSpec, Stage
from harness.rules.competition import AUTO, Competition
from harness.runtime.engines import RUNTIMES
from harness.runtime.export import export

SIDE = 16


def network(folder: Path, name: str, channels: int, seed: int = 0) -> Path:
    """Write a plain network of 5 classes."""
    model = build(ModelSpec((Stage("conv", channels), Stage("conv", channels, 2, 2))), 5, SIDE, seed=seed)
    return export(model, SIDE, folder / f"{name}.onnx")


def images(count: int) -> np.ndarray:
    """Make noise in the shape of images."""
    return np.random.default_rng(2).standard_normal((count, 3, SIDE, SIDE), dtype=np.float32)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The network to be timed."""
    return network(tmp_path_factory.mktemp("model"), "model", 32)


class Engines:
    """Engines that run another file than they were given: a real ONNX Runtime, and wrong where the file is another.

    Their clock isn't real: a network takes as long as its file is large.
    """

    def __init__(self, **files: Path) -> None:
        self.files = files
        self.checked: list[str] = []

    def measure(self, runtime: str) -> Latency:
        predict(self.files[runtime], images(1))
        return taking(self.files[runtime].stat().st_size / 1000)

    def check(self, runtime: str) -> str | None:
        self.checked.append(runtime)
        expected, found = (predict(self.files[name], images(64)) for name in ("onnx", runtime))
        return difference(expected, found)

    def choose(self) -> list[Attempt]:
        return choose(tuple(self.files), self.measure, self.check)


def test_a_fast_engine_that_computes_something_else_is_refused(model: Path, tmp_path: Path) -> None:
    """It answers in a tenth of the time, with other logits; of the two that are right the faster is taken."""
    wrong, slow = network(tmp_path, "wrong", 4), network(tmp_path, "slow", 96)
    found = Engines(onnx=model, wrong=wrong, slow=slow).choose()
    assert [a.runtime for a in found] == ["onnx", "wrong", "slow"]
    chosen, refused, slower = found
    assert chosen.refused is None and chosen.latency is not None
    assert refused.latency is not None and refused.latency.ms < chosen.latency.ms
    assert "logits are up to" in str(refused.refused) and slower.refused == "slower than onnx"


def test_a_fast_engine_that_computes_the_same_is_taken(tmp_path: Path) -> None:
    """The other side of it: what is refused is refused for its logits. Slower engines aren't even asked for theirs."""
    good, right = network(tmp_path, "good", 4), network(tmp_path, "right", 96)
    engines = Engines(onnx=right, good=good, slow=network(tmp_path, "slow", 128))
    engines.check = lambda runtime: engines.checked.append(runtime)  # type: ignore[method-assign]
    assert [a.runtime for a in engines.choose()] == ["good", "onnx", "slow"]
    assert engines.checked == ["good"]


def test_an_engine_that_cant_run_the_model_is_left_out_and_the_reason_told(model: Path, tmp_path: Path) -> None:
    """Unless it is ONNX Runtime: then the model is at fault."""
    bad = tmp_path / "bad.onnx"
    bad.write_bytes(b"no model")
    good, other = Engines(onnx=model, other=bad).choose()
    assert good.runtime == "onnx" and other.latency is None and "bad.onnx" in str(other.refused)
    with pytest.raises(HarnessError, match="bad.onnx"):
        choose(("onnx",), lambda _: measure(bad, model, seconds=0.1), lambda _: None)


logits = st.integers(1, 40).flatmap(
    lambda n: st.integers(0, 2**32 - 1).map(lambda seed: np.random.default_rng(seed).normal(size=(n, 5)) * 10)
)


@given(logits, st.floats(0, 0.9))
def test_rounding_is_the_same_and_more_than_that_is_not(expected: np.ndarray, share: float) -> None:
    """Below the tolerance nothing is said, above it the distance is."""
    apart = TOLERANCE * np.ptp(expected)
    assert difference(expected, expected) is None
    assert difference(expected, expected + share * apart) is None  # all alike: the labels stay
    changed = expected.copy()
    changed[0, 0] += (2 + share) * apart
    assert "logits are up to" in str(difference(expected, changed))


def test_other_labels_are_not_the_same_however_near_the_logits() -> None:
    """A tie that falls the other way is the only way there."""
    expected = np.array([[0.0, 1.0, 1.0001], [3.0, 0.0, 0.0]])
    assert difference(expected, expected + [[0, 2e-4, 0], [0, 0, 0]]) == "50.00% of the images get ONNX Runtime's label"


@pytest.mark.parametrize("found", [np.zeros((4, 5)), np.zeros((3, 4)), np.full((3, 5), np.nan)])
def test_another_shape_and_no_number_are_not_the_same(found: np.ndarray) -> None:
    """Whatever was expected."""
    assert difference(np.ones((3, 5)), found)


@pytest.mark.parametrize("name", ["onnxx", "eager", "inductor"])
def test_a_competition_with_a_runtime_that_isnt_there_is_an_error(name: str) -> None:
    """The known ones are listed, auto among them; torch's own engines, which there were once, aren't."""
    with pytest.raises(HarnessError, match=f"competition.runtime: unknown '{name}'; allowed: auto, onnx, openvino\n"):
        Competition(runtime=name)
    assert Competition(runtime=AUTO) == replace(Competition(), runtime="auto")


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> dict[str, float]:
    """What engines take, in ms, in place of the real clock; what they compute is real."""
    takes = dict.fromkeys(RUNTIMES, 1.0)
    monkeypatch.setattr(process, "measure", lambda *_, runtime="onnx", **_how: taking(takes[runtime]))
    return takes


def test_a_named_engine_is_timed_with_its_name(model: Path, clock: dict[str, float]) -> None:
    """ONNX Runtime and OpenVINO, though another be faster."""
    pytest.importorskip("openvino", reason="OpenVINO isn't installed")
    clock |= {"onnx": 2.0, "openvino": 3.0}
    for runtime in ("onnx", "openvino"):
        name, latency = timed(model, model, Competition(runtime=runtime), 2.0, images(8))
        assert (name, latency.ms) == (runtime, pytest.approx(clock[runtime]))


@pytest.mark.parametrize("fastest", RUNTIMES)
def test_auto_is_the_fastest_of_the_engines_there_are(model: Path, clock: dict[str, float], fastest: str) -> None:
    """Of those that compute the same, which all do here; every engine is accounted for."""
    pytest.importorskip("openvino", reason="OpenVINO isn't installed")
    clock[fastest] = 0.5
    found = tried(model, model)
    assert {a.runtime for a in found} == set(RUNTIMES)
    assert (found[0].runtime, found[0].refused) == (fastest, None) and all(a.refused for a in found[1:])
    name, latency = timed(model, model, Competition(runtime=AUTO), 2.0)
    assert (name, latency.ms) == (fastest, pytest.approx(0.5))
