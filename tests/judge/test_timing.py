"""The judge's clock says what a trial's says, from outside, of images that were never shown."""

from __future__ import annotations

import math
from itertools import chain, count
from pathlib import Path

import numpy as np
import pytest

from harness.judge import timing
from harness.judge.audit import KINDS
from harness.judge.scoring import Entrant
from harness.judge.timing import Duel, Side
from harness.measure import process
from harness.measure.process import measure
from harness.models.build import build
from harness.models.spec import ModelSpec
from harness.runtime.export import export
from harness.sandbox.refused import Refused
from harness.sandbox.remote import Mode

pytestmark = pytest.mark.alone
TAKEN = Path(__file__).with_name("taken.py")
SIDE = 16
BETWEEN = 0.03
"""What the two clocks may differ by beyond what each is unsure of: by experiment, 1 to 2 % (docs/measuring.md)."""


def network(folder: Path, name: str, channels: int, repeat: int) -> Path:
    """Write a plain network."""
    stages = [{"block": "conv", "channels": channels, "repeat": repeat}]
    return export(build(ModelSpec.from_dict({"stages": stages}), 5, SIDE), SIDE, folder / f"{name}.onnx")


@pytest.fixture(scope="module")
def duel(tmp_path_factory: pytest.TempPathFactory, mode: Mode) -> Duel:
    """A network of about half a millisecond beside a smaller one."""
    folder = tmp_path_factory.mktemp("networks")
    entrant = Entrant(network(folder, "entry", 32, 4), mode=mode)
    private, plain = np.random.default_rng(0).standard_normal((2, 200, 3, SIDE, SIDE), dtype=np.float32)
    return Duel(entrant, network(folder, "reference", 24, 2), private, plain, SIDE)


def test_both_clocks_agree(duel: Duel, monkeypatch: pytest.MonkeyPatch) -> None:
    """Within 3 % and what either is unsure of, however much that is (about 8 s: two whole measurements)."""
    monkeypatch.setattr(process, "NOISY", 1.0)
    inside = measure(duel.entrant.model, duel.reference, seconds=3.0)
    outside, witnesses = timing.measure(duel, 4.0)
    allowed = BETWEEN + inside.doubt + outside.doubt
    assert abs(math.log(outside.ratio / inside.ratio)) < allowed
    assert len(outside.processes) == len(witnesses) >= 6
    for witness in witnesses:
        assert set(witness.ms) == set(KINDS) and min(witness.ms.values()) > 0
        assert len(witness.images) == len(witness.logits) and witness.threads == witness.threads_allowed
        assert 0 < witness.busy <= 1.05


def test_no_image_is_shown_twice() -> None:
    """When all were shown, they come again altered, and what they gave is compared with nothing."""
    images = np.random.default_rng(0).standard_normal((10, 3, 2, 2), dtype=np.float32)
    side = Side(None, images, 1, (0.0, 0.0), chain(np.random.default_rng(1).permutation(10), count(10)))
    shown, index = zip(*(side.take(4) for _ in range(5)), strict=True)
    shown, index = np.concatenate(shown), np.concatenate(index)
    assert len({image.tobytes() for image in shown}) == 20
    assert sorted(index[:10]) == list(range(10)) and set(index[10:]) == {-1}
    assert np.abs(shown[10:] - images).max() < 0.1


def test_a_process_that_never_sleeps_has_no_time(duel: Duel, tmp_path: Path) -> None:
    """The kernel brings another's clock up to date when it sleeps: one that polls instead would be timed too low."""
    program = tmp_path / "taken.py"
    program.write_text(f"CHEAT = 'Sleepless'\n{TAKEN.read_text()}")
    entrant = Entrant(duel.entrant.model, mode=duel.entrant.mode, program=program)
    with entrant.opened() as remote, pytest.raises(Refused) as refused:
        remote.load()
    assert refused.value.reason == "outside"
