"""What a person sees of a long training, in a terminal and out of one."""

from __future__ import annotations

import re
import sys
from datetime import datetime, timedelta

import pytest
from display_fixtures import Terminal

from harness.train.display import Display


def train(standing_clock: list[float], *, done: int = 0, **before: float | None) -> None:
    """Train 100 epochs of 5 steps of 32 images, a second each; F1 is looked at after every tenth."""
    rest = {"loss": None, "f1": None} | before
    with Display("net", epochs=100, steps=5, batch=32, done=done, **rest) as display:
        for epoch in range(done + 1, 101):
            for step in range(5):
                standing_clock[0] += 0.2
                display.step((epoch - 1) * 5 + step + 1, 2.0)
            display.epoch(1 / epoch, 0.5 if epoch % 10 == 0 else None)


def test_out_of_a_terminal_it_is_a_line_in_ten_seconds(
    standing_clock: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    """With epoch, loss, the last F1, the rate and the expected end; the last epoch has one, too."""
    train(standing_clock)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[1] for line in lines] == [f"{n}/100" for n in (*range(1, 100, 10), 100)]
    assert "F1" not in lines[0] and "loss 1.0000" in lines[0]
    assert lines[1].startswith("epoch 11/100  loss 0.0909  F1 0.5000  160 images/s  expected end in 0:01:29, ")
    end = datetime.now() + timedelta(seconds=89)
    assert any(f"{end + timedelta(minutes=m):%a %H:%M}" in lines[1] for m in (-1, 0))
    assert "expected end" not in lines[-1]


def test_a_resumed_training_reckons_with_its_own_sitting(
    standing_clock: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    """Neither rate nor end count the epochs of before; loss and F1 are known from the start."""
    train(standing_clock, done=50, loss=0.02, f1=0.4)
    first = capsys.readouterr().out.splitlines()[0]
    assert first.startswith("epoch 51/100  loss 0.0196  F1 0.4000  160 images/s  expected end in 0:00:49, ")


def test_a_terminal_has_a_bar_that_says_the_same(standing_clock: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    """It begins where an earlier sitting ended."""
    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    monkeypatch.setattr("tqdm.std.tqdm.__del__", lambda bar: None)
    train(standing_clock, done=50, loss=0.02, f1=0.4)
    frames = [frame for frame in re.sub(r"\x1b\[[A-Za-z]", "", terminal.getvalue()).split("\r") if frame.strip()]
    assert frames[0].startswith("net  50%|") and "epoch 51/100  loss 0.0200  F1 0.4000" in frames[0]
    assert frames[-1].startswith("net 100%|") and "epoch 100/100" in frames[-1] and "F1 0.5000" in frames[-1]
