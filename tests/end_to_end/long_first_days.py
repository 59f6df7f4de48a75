"""The first day of a team, of an engineer with photographs and of an organiser, by README's lines: `make chaos`.

Each has an environment of their own with the built wheel, and an empty folder. The lines are read from README.md; what
makes them short stands in `SMALL`. Each line is printed as it was typed, with its seconds.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import time
import urllib.request
from pathlib import Path

import numpy as np
import pytest
from fresh_environment import active, build, fresh, typed
from next_lines import ROOT, following
from PIL import Image
from readme import check, commands, days

from harness.sandbox.sandbox import own

DAYS = days()
# settings that make a line short, by its verb: they take the place of README's, or come after them
SMALL = {
    "tune": ("study.trials=1", "proxy.epochs=1"), "train": ("recipe.epochs=2",),
    "measure": ("latency_s=0.5",), "machine": ("seconds=10",), "work": ("wait=false",),
}  # fmt: skip
ELSEWHERE = ("data=cifar10", "data=taco")
"""Data sets of which the lines can't be typed without their files; `tests/test_readme.py` reads them all the same."""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the built wheel."""
    return build(tmp_path_factory.mktemp("wheel"))


class Person:
    """Somebody at a shell in a folder of their own, where a fresh environment is active."""

    def __init__(self, wheel: Path, place: Path) -> None:
        self.environment = fresh(wheel, place / "environment")
        self.folder = place / "home"
        self.folder.mkdir()
        where = typed(self.environment, self.folder, "python -c 'import harness; print(harness.__file__)'")
        assert where.startswith(str(place)), where

    def type(self, line: str, **variables: str) -> str:
        """Type a line; print it with its exit code and seconds; what it says comes next must be typable, too."""
        begin = time.monotonic()
        printed = typed(self.environment, self.folder, line, **variables)
        print(f"  {line}    rc 0, {time.monotonic() - begin:.0f} s", flush=True)
        for said in following(printed):
            assert commands(said), said
            for words in commands(said):
                check(words)
        return printed

    def starting(self, line: str, **variables: str) -> subprocess.Popen[str]:
        """Type a line into a terminal of its own, and leave it running."""
        environment = os.environ | active(self.environment) | variables
        print(f"  {line} &", flush=True)
        return subprocess.Popen(
            ["bash", "-c", f"exec {line}"], cwd=self.folder, env=environment, stdout=subprocess.PIPE, text=True
        )


@pytest.fixture
def person(wheel: Path, tmp_path: Path) -> Person:
    """Who comes new to it."""
    print()
    return Person(wheel, tmp_path)


def small(line: str, *more: str) -> str:
    """Make a line of README's short by `SMALL` and by further settings."""
    verb = commands(line)[0][0]
    words = line.split(" ")
    for setting in (*SMALL.get(verb, ()), *more):
        key = setting.partition("=")[0]
        words = [word for word in words if not word.startswith(f"{key}=")] + [setting]
    return " ".join(words)


def lines(day: str, *verbs: str) -> list[str]:
    """Return a day's lines of some verbs (all, without any), but for those of data that aren't here."""
    found = [line for line in DAYS[day] if commands(line) and not any(data in line for data in ELSEWHERE)]
    return [line for line in found if not verbs or commands(line)[0][0] in verbs]


def test_a_team_has_its_first_day(person: Person) -> None:
    """On the digits, from the search to the standings; then at the board's door, without the board."""
    day = [line for line in lines("A competitor's day") if "published" not in line and "submit" not in line]
    assert [commands(line)[0][0] for line in day] == [
        "tune", "status", "report", "front", "train", "pack", "score", "standings", "measure", "machine",
    ]  # fmt: skip
    printed = {commands(line)[0][0]: person.type(small(line)) for line in day}
    assert "1 of 1 trials finished" in printed["status"] and "ours" in printed["standings"]
    assert "harness score submissions/ours" in following(printed["pack"])[0]
    person.type(f"{following(printed['pack'])[0]} track=disabled")
    assert {path.name for path in person.folder.iterdir()} == {"runs", "submissions"}


def photographs(folder: Path) -> None:
    """Write a zip of a folder for each of three classes, and a photograph."""
    rng = np.random.default_rng(0)
    for number, kind in enumerate(("glass", "metal", "paper")):
        (folder / "photos" / kind).mkdir(parents=True)
        for i in range(30):
            pixels = rng.integers(0, 150, (60 + i, 80, 3), dtype=np.uint8)
            pixels[..., number] += 90
            Image.fromarray(pixels).save(folder / "photos" / kind / f"IMG_{i:04d}.jpg")
    shutil.make_archive(str(folder / "photos"), "zip", folder, "photos")
    shutil.copy(folder / "photos" / "paper" / "IMG_0007.jpg", folder / "photo.jpg")


def test_an_engineer_has_a_first_day(person: Person) -> None:
    """From photographs to a model that is timed and used, with the package and without."""
    photographs(person.folder)
    printed = {line: person.type(small(line)) for line in lines("An engineer's day")}
    first = [commands(line)[0][0] for line in printed]
    assert first == ["tune", "train", "pack", "measure", "predict", "train"]
    (alone,) = (line for line in DAYS["An engineer's day"] if not commands(line))
    (ours,) = (text for line, text in printed.items() if commands(line)[0][0] == "predict")
    assert person.type(alone) == ours and ours.startswith("photo.jpg: ")
    (pack,) = (text for line, text in printed.items() if commands(line)[0][0] == "pack")
    person.type(f"{following(pack)[0]} track=disabled")


def free_port() -> int:
    """Return a port that nobody listens at."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_an_organiser_has_a_first_day(person: Person) -> None:
    """From a file of rules to the board's page with a team's entry on it, which was sent as README says."""
    day, port = lines("An organiser's day"), free_port()
    verbs = [commands(line)[0][0] for line in day]
    assert verbs == ["conf", "competition", "competition", "team", "serve", "work", "standings"]
    printed = [person.type(line) for line in day[:4]]
    (token,) = re.findall(r"hb_\S+", printed[3])
    assert (person.folder / "mine.yaml").read_text() == (ROOT / "conf" / "competition" / "digits.yaml").read_text()
    url = f"http://127.0.0.1:{port}"
    server = person.starting(small(day[4], "host=127.0.0.1", f"port={port}"))
    try:
        assert server.stdout is not None and "serving" in server.stdout.readline()
        shutil.copytree(ROOT / "submissions" / "example", person.folder / "submissions" / "ours")
        (export,) = (line for line in DAYS["A competitor's day"] if "HARNESS_TOKEN" in line)
        (send,) = lines("A competitor's day", "submit")
        exported = export.replace("hb_...", token).replace("https://board.example.org", url)
        assert exported.count(token) == exported.count(url) == 1
        person.type(f"{exported} && {send} wait=false")
        person.type(small(day[5]) + own())
        assert "Team 1" in person.type(day[6])
        with urllib.request.urlopen(url, timeout=30) as page:
            assert "Team 1" in page.read().decode()
    finally:
        server.send_signal(signal.SIGINT)
        server.wait(60)
    assert shlex.split(day[6])[-1] == "--private"
    (published,) = (line for line in lines("A competitor's day", "tune") if "published" in line)
    person.type(small(published))
