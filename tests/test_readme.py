"""What README.md says can be typed: each command, verb and setting exists, each file and target that it names."""

from __future__ import annotations

import re
import shlex

import pytest
from next_lines import ROOT
from readme import README, check, commands, days, within

from harness.errors import HarnessError
from harness.help import PAGES

LINES = [line for lines in days().values() for line in lines]
PEOPLE = ("A competitor's day", "An engineer's day", "An organiser's day")


def test_each_person_has_a_day() -> None:
    """And most of what there is stands in one of them."""
    assert set(PEOPLE) <= set(days())
    verbs = {words[0] for person in PEOPLE for line in days()[person] for words in commands(line)}
    assert verbs <= set(PAGES) and {"tune", "train", "pack", "score", "predict", "measure", "work", "serve"} <= verbs


@pytest.mark.parametrize("line", LINES)
def test_a_line_of_a_block_can_be_typed(line: str) -> None:
    """It is a command of a shell's, of make's or of ours, whose verb and settings exist."""
    words = shlex.split(line)
    if words[0] == "make":
        assert re.search(rf"^{words[1]}:", (ROOT / "Makefile").read_text(), re.MULTILINE), line
        return
    assert commands(line) or words[0] in ("export", "$EDITOR", "python", "pip"), line
    for found in commands(line):
        check(found)


@pytest.mark.parametrize("line", within())
def test_a_command_within_the_text_can_be_typed(line: str) -> None:
    """So can these."""
    for words in commands(line):
        check(words)


@pytest.mark.parametrize(
    "line",
    [
        "harness tuen study.name=ours",
        "harness tune study.nam=ours",
        "harness tune data=fodler",
        "harness train trials=best",
        "harness team ad 'Team 1'",
        "harness standings --privat",
        "harness work hots=board",
    ],
)
def test_a_misspelt_one_would_be_found(line: str) -> None:
    """A verb, a setting, a choice, an action, a flag."""
    with pytest.raises(HarnessError):
        for words in commands(line):
            check(words)


def test_all_that_it_links_to_is_there() -> None:
    """Files and pictures of this repository."""
    links = re.findall(r"\]\(([^)#]+)", README.read_text(encoding="utf-8"))
    lacking = [link for link in links if "://" not in link and not (ROOT / link).exists()]
    assert links and not lacking
