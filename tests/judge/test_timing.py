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
from harness.measure.pinning import away_from
from harness.measure.process import measure
from harness.models.build import build
from harness.models.spec import ModelSpec
from harness.runtime.export import export
from harness.sandbox.refused import Refused
from harness.sandbox.remote import Mode

pytestmark = pytest.mark.alone
TAKEN = Path(__file__).with_name("taken.py")
SIDE = 16
SHORT_S, LONG_S = 0.0003, 0.003
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
    side = Side(None, images, 1, chain(np.random.default_rng(1).permutation(10), count(10)))
    shown, index = zip(*(side.take(4) for _ in range(5)), strict=True)
    shown, index = np.concatenate(shown), np.concatenate(index)
    assert len({image.tobytes() for image in shown}) == 20
    assert sorted(index[:10]) == list(range(10)) and set(index[10:]) == {-1}
    assert np.abs(shown[10:] - images).max() < 0.1


def test_what_a_run_takes_does_not_hang_on_how_many_are_in_a_batch(
    tmp_path: Path, mode: Mode, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A batch follows a sleep, which the smallest network pays most for: its start is no part of its runs."""
    images = np.random.default_rng(0).standard_normal((200, 3, SIDE, SIDE), dtype=np.float32)
    with Entrant(network(tmp_path, "tiny", 8, 1), mode=mode).opened() as remote, away_from(remote.pid):
        side = Side(remote, images, 1, count())
        ours, usual = {}, {}
        for batch_s in (SHORT_S, LONG_S) * 6:  # by turns, for a neighbour that comes
            monkeypatch.setattr(timing, "BATCH_S", batch_s)
            batch = side.warm(0.0)
            blank_ms = np.median([remote.time(0, 0)[0] for _ in range(15)])
            for _ in range(20):
                ours.setdefault(batch_s, []).append(batch(0.0)[0])
                usual.setdefault(batch_s, []).append((side.inside[-1][0] - blank_ms) / side.size)
    apart = [math.log(np.quantile(ms[SHORT_S], 0.2) / np.quantile(ms[LONG_S], 0.2)) for ms in (ours, usual)]
    assert abs(apart[0]) < 0.05  # seen: up to 0.03
    assert apart[1] > apart[0] + 0.03  # where a round trip without a run is taken off, as it was; seen: 0.05 and more


def test_a_process_that_never_sleeps_has_no_time(duel: Duel, tmp_path: Path) -> None:
    """The kernel brings another's clock up to date when it sleeps: one that polls instead would be timed too low."""
    program = tmp_path / "taken.py"
    program.write_text(f"CHEAT = 'Sleepless'\n{TAKEN.read_text()}")
    entrant = Entrant(duel.entrant.model, mode=duel.entrant.mode, program=program)
    with entrant.opened() as remote, pytest.raises(Refused) as refused:
        remote.load()
    assert refused.value.reason == "outside"
