"""What torchrun has set tells a process its place; what it can't have set is one error."""

from __future__ import annotations

import pytest

from harness.data import bound
from harness.errors import HarnessError
from harness.torchrun import Place, beside, place

SET = {"RANK": "5", "WORLD_SIZE": "8", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "4", "MASTER_ADDR": "here",
       "MASTER_PORT": "29500"}  # fmt: skip


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """As torchrun leaves it on the second of two hosts."""
    for name, value in SET.items():
        monkeypatch.setenv(name, value)


def test_the_place_is_read_and_said_as_people_count() -> None:
    """Of eight in all the sixth, of four on this host the second."""
    assert place() == Place(rank=5, world=8, here=1, beside=4)
    assert str(place()) == "process 6 of 8" and beside() == 4


@pytest.mark.parametrize("name", ["RANK", "WORLD_SIZE", "MASTER_ADDR"])
def test_a_command_that_was_started_by_itself_has_none(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A RANK that something else has set is no group."""
    monkeypatch.delenv(name)
    assert place() is None and beside() == 1


def test_without_the_local_ones_all_are_of_this_host(monkeypatch: pytest.MonkeyPatch) -> None:
    """As where only what torch.distributed itself needs is set."""
    monkeypatch.delenv("LOCAL_RANK")
    monkeypatch.delenv("LOCAL_WORLD_SIZE")
    assert place() == Place(rank=5, world=8, here=5, beside=8)


@pytest.mark.parametrize(
    ("name", "value"), [("RANK", "8"), ("RANK", "x"), ("RANK", "-1"), ("WORLD_SIZE", "0"), ("LOCAL_RANK", "4")]
)
def test_numbers_out_of_range_are_refused_by_name(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """And so is a group without a port."""
    monkeypatch.setenv(name, value)
    with pytest.raises(HarnessError, match=f"{name}=.*{value}.*allowed: a whole number"):
        place()
    monkeypatch.setenv(name, SET[name])
    monkeypatch.delenv("MASTER_PORT")
    with pytest.raises(HarnessError, match="MASTER_PORT isn't"):
        place()


def test_each_process_of_a_host_may_hold_its_share_of_images(monkeypatch: pytest.MonkeyPatch) -> None:
    """Four read their own: what one alone may hold is too much for each of them, and the error says so."""
    monkeypatch.setattr(bound, "free_gb", lambda: 4.0)
    count = 300_000_000 // (32 * 32 * 3)
    with pytest.raises(HarnessError, match=r"25% of the free memory is 0\.2 for each of 4 processes"):
        bound.refuse_too_big(count, 32)
    monkeypatch.delenv("RANK")
    bound.refuse_too_big(count, 32)
