"""What doesn't fit into memory is refused before it is read."""

from __future__ import annotations

import re

import pytest

from harness.data import bound
from harness.data.bound import free_gb, refuse_too_big
from harness.data.cifar import CifarOptions, load
from harness.errors import HarnessError


@pytest.mark.parametrize(("free", "max_gb", "why"), [(8.0, 1.0, "data.max_gb allows 1"), (8.0, 4.0, "25% of the free")])
def test_the_tighter_limit_speaks(free: float, max_gb: float, why: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """And names the largest side that fits: that one does, one more pixel doesn't."""
    monkeypatch.setattr(bound, "free_gb", lambda: free)
    with pytest.raises(HarnessError, match=why) as refused:
        refuse_too_big(100_000, 256, max_gb)
    side = int(re.search(r"to (\d+) or less", str(refused.value))[1])
    refuse_too_big(100_000, side, max_gb)
    with pytest.raises(HarnessError, match=why):
        refuse_too_big(100_000, side + 1, max_gb)


def test_the_free_memory_is_that_of_this_machine() -> None:
    """What is asked for is more than any machine has, and less than the least."""
    assert free_gb() > 0.05
    with pytest.raises(HarnessError, match="of the free memory"):
        refuse_too_big(10**12, 1024)
    refuse_too_big(100, 32)


def test_cifar_asks_first(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before the files are opened, which aren't there."""
    monkeypatch.setattr(bound, "free_gb", lambda: 1.0)
    (tmp_path / "cifar-10-batches-py").mkdir()
    with pytest.raises(HarnessError, match="data.side_px=1024: 60,000 images take 188.7 GB"):
        load(CifarOptions(root=str(tmp_path), side_px=1024))
