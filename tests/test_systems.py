"""On which systems it runs: Linux whole, macOS a team's way, Windows by WSL."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from next_lines import ROOT, following, run_line

from harness.__main__ import shell

SMALL = "proxy.epochs=1 proxy.images=300 study.trials=1 track=disabled"
NO_LINUX = f"{ROOT}/tests/no_linux:{ROOT}"


@pytest.mark.alone
def test_a_teams_way_needs_nothing_that_linux_alone_has(tmp_path: Path) -> None:
    """Over 5 s: a search, a training, an entry and its verdict, in real processes whose Python lacks Linux' own calls.

    Without a processor to be pinned to, without /proc, prctl, a limit of the address space, a process watched from
    outside: each line is the one that the step before printed.
    """
    lacks = {"PYTHONPATH": NO_LINUX}
    probe = f'{sys.executable} -c \'import os; print(hasattr(os, "sched_getaffinity"), os.path.exists("/proc/stat"))\''
    assert run_line(tmp_path, probe, **lacks).stdout.split() == ["False", "False"]
    tuned = run_line(tmp_path, f"{sys.executable} {ROOT}/tune.py {SMALL}", **lacks)
    assert following(tuned.stdout), tuned.stdout + tuned.stderr
    trained = run_line(tmp_path, f"{following(tuned.stdout)[0]} recipe.epochs=1 track=disabled", **lacks)
    packed = run_line(tmp_path, following(trained.stdout)[0], **lacks)
    judged = run_line(tmp_path, f"{following(packed.stdout)[0]} sandbox=unsafe track=disabled", **lacks)
    assert "audit: all passed" in judged.stdout and "│ outside" not in judged.stdout
    (entry,) = (tmp_path / "submissions").iterdir()
    with pytest.raises(AssertionError, match="sandbox=strict: is made of what Linux alone has"):
        run_line(tmp_path, f"{sys.executable} -m harness score {entry} track=disabled", **lacks)


@pytest.mark.parametrize("arguments", [[], ["tune"], ["measure", "model.onnx"]])
def test_windows_is_told_of_wsl_at_once(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Before anything is imported that can't be there."""
    monkeypatch.setattr(sys, "platform", "win32")
    with pytest.raises(SystemExit) as ended:
        shell(arguments)
    assert ended.value.code == 2
    assert "wsl --install" in capsys.readouterr().err
