"""The lines of README.md that people copy, read from it, so that it and the tests never disagree."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence

from next_lines import ROOT

from harness import config, organiser
from harness.errors import pick
from harness.help import PAGES

README = ROOT / "README.md"
TREE = "Where things are"
SCRIPTS = {"tune.py": "tune", "train.py": "train", "inference.py": "pack"}
ACTIONS = {
    "competition": tuple(organiser.COMPETITION), "team": tuple(organiser.TEAM), "db": ("start", "stop", "url"),
}  # fmt: skip
FLAGS = ("--help", "--json", "--private")
# settings that a verb takes from the command line before the files of settings are read
OWN = {
    "measure": ("runtime", "threads", "size"), "machine": ("seconds",), "predict": ("run",),
    "rescore": organiser.FORMULAS_TAKE, "standings": ("competition",),
}  # fmt: skip


def days() -> dict[str, list[str]]:
    """Return the lines of the indented blocks by the section that they stand in, without what comes after a `#`."""
    found: dict[str, list[str]] = {}
    section = ""
    for line in README.read_text(encoding="utf-8").splitlines():
        if line.startswith("## "):
            section = line[3:]
        elif line.startswith("    ") and section != TREE:
            found.setdefault(section, []).append(re.sub(r"\s+#.*", "", line[4:]))
    return found


def within() -> list[str]:
    """Return the commands that stand within the text."""
    text = " ".join(README.read_text(encoding="utf-8").split())
    return [code for code in re.findall(r"`([^`]+)`", text) if code.startswith(("harness ", "python -m harness "))]


def commands(line: str) -> list[list[str]]:
    """Return the words of each command of ours on a line, from its verb on; redirections go."""
    found = []
    for part in re.split(r"&&|\||;", line):
        words = shlex.split(part.split(">")[0])
        if words[:1] == ["harness"]:
            found.append(words[1:])
        elif words[:3] == ["python", "-m", "harness"]:
            found.append(words[3:])
        elif words[:1] == ["python"] and words[1:] and words[1] in SCRIPTS:
            found.append([SCRIPTS[words[1]], *words[2:]])
    return found


def check(words: Sequence[str]) -> None:
    """Make sure that a command's verb, its action and all its settings are known.

    Raises:
        HarnessError: one isn't.
    """
    verb, *rest = words
    if verb == "VERB":
        return
    told = pick(PAGES, verb, "harness")
    settings = [word for word in rest if "=" in word]
    own = [word for word in settings if word.partition("=")[0] in OWN.get(verb, ())]
    names = [word for word in rest if word not in settings]
    settings = [word for word in settings if word not in own]
    if "--help" in names:
        names = [name for name in names if name not in ("--help", "all")]
    if verb in ACTIONS:
        pick(dict.fromkeys(ACTIONS[verb]), names[0] if names else "", verb)
    for flag in (name for name in names if name.startswith("-")):
        pick(dict.fromkeys(FLAGS), flag, verb)
    data = [_with_files(setting) for setting in settings if setting.partition("=")[0].split(".")[0] == "data"]
    settings = [setting for setting in settings if setting.partition("=")[0].split(".")[0] != "data"]
    if data and not any(setting.startswith("data=") for setting in data):
        data.insert(0, "data=folder")  # where it isn't said, it is the study's, the run's or the competition's
    # an organiser's verb parts what is said of the data from the other settings
    loaded = [config.load("submit", data)] if told.root == "board" else []
    loaded += [config.load(told.root, settings if loaded else [*data, *settings])]
    if data:
        config.data_options(loaded[0].data)


def _with_files(setting: str) -> str:
    """A copy that a competition published would be looked at at once."""
    return "data=folder" if setting == "data=published" else setting
