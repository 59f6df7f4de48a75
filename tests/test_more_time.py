"""A machine too noisy to time a model on: what the refusal advises exists wherever it is read, and does something."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness.__main__ import main
from harness.board import worker
from harness.commands import train as commands
from harness.errors import HarnessError
from harness.judge import timing
from harness.launch import judges
from harness.measure import fastest, process
from harness.measure.latency import Latency

ROOT = Path(__file__).resolve().parents[1]
EXAMPLE = ROOT / "submissions" / "example"
COURSE = "input_channel: 3\ndepth_multiple: 1.0\nwidth_multiple: 1.0\nbackbone:\n  - [1, Conv, [8, 3, 2]]\n"


class Asked(Exception):
    """What the clock was given."""


def clock(*_: Any, **__: Any) -> Any:
    """Tell how many seconds there are, the first of the figures, instead of timing."""
    seconds, *_patience_s = [value for value in (*_, *__.values()) if isinstance(value, float)]
    raise Asked(seconds)


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., float]:
    """Run a command up to the clock; return the seconds that it is given."""
    monkeypatch.setattr(process, "measure", clock)
    monkeypatch.setattr(timing, "measure", clock)
    monkeypatch.setattr(worker, "work", lambda *_, judge, **__: clock(judge.keywords["latency_s"]))
    monkeypatch.setattr(judges, "run", lambda workers, work: work(threading.Event()))  # in this process
    monkeypatch.setenv("HARNESS_BOARD_URL", f"sqlite:///{tmp_path}/board.db")

    def run(act: Callable[[list[str]], Any], *arguments: str) -> float:
        with pytest.raises(Asked) as asked:
            act([*arguments, f"runs={tmp_path}/runs"])
        return asked.value.args[0]

    return run


def train(arguments: list[str]) -> None:
    """Be train.py."""
    commands.train(arguments)


def test_training_gives_the_clock_what_it_is_given(told: Callable[..., float], tmp_path: Path) -> None:
    """Takes a second or two: a small network is trained before it is timed."""
    (tmp_path / "net.yaml").write_text(COURSE)
    command = [f"model={tmp_path}/net.yaml", "resolution_px=8", "recipe.epochs=1", "threads=1", "track=disabled"]
    assert told(train, *command, "latency_s=7.5") == 7.5


def test_score_gives_the_clock_what_it_is_given(told: Callable[..., float]) -> None:
    """As `measure` does."""
    assert told(main, "score", str(EXAMPLE), "latency_s=7.5", "sandbox=unsafe") == 7.5
    assert told(main, "measure", str(EXAMPLE / "model.onnx"), "latency_s=7.5") == 7.5


def test_the_organisers_judge_gives_the_clock_what_it_is_given(told: Callable[..., float]) -> None:
    """By default four seconds."""
    main(["competition", "create", "digits"])
    assert told(main, "work", "latency_s=7.5", "sandbox=unsafe") == 7.5
    assert told(main, "work", "sandbox=unsafe") == 4.0


def test_the_choice_of_an_engine_gets_more_time_too(told: Callable[..., float]) -> None:
    """A glance is an eighth of the whole, and half a second at least."""
    measure = ["measure", str(EXAMPLE / "model.onnx"), "runtime=auto"]
    assert told(main, *measure, "latency_s=40.0") == 5.0
    assert told(main, *measure, "latency_s=1.0") == fastest.GLANCE_S


def test_the_refusal_advises_it() -> None:
    """By the setting's name."""
    load = [[1.0, 1.0], [1.0, 1.0], [1.0, 1.0], [1.0, 1.0]]
    seen = {"steal_s": 0.0, "interruptions": 0.0, "wall_s": 1.0, "load": 9.0}
    latency = Latency.of([[load], [[[9.0, 9.0], *load[1:]]]], seen=seen)
    with pytest.raises(HarnessError, match="too noisy to time it(.|\n)*give it more time with latency_s"):
        process.check_quiet(Path("x.onnx"), latency)
