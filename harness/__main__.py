"""The `harness` command, `python -m harness` and the three scripts: what is asked for, and how a mistake is said."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from importlib import import_module

from harness.errors import HarnessError, of_files, pick
from harness.help import PAGES, overview, page

COMMANDS = ("tune", "train", "pack")
"""What is also a script."""


def run() -> None:
    """Do what the command line says: the console command's own entry."""
    shell(sys.argv[1:])


def shell(arguments: list[str]) -> None:
    """Do what the command line says: --help teaches, a user's mistake is one error without a traceback.

    Exit code 0 for success, 2 for a user's mistake, 130 after Ctrl-C.
    """
    try:
        _check_system()
        main(arguments)
        sys.stdout.flush()
    except HarnessError as e:
        print(f"error: {_located(e, arguments)}", file=sys.stderr)
        sys.exit(2)
    except ModuleNotFoundError as e:
        if (e.name or "harness").partition(".")[0] == "harness":
            raise
        from harness import extras

        print(f"error: {extras.explained(e)}", file=sys.stderr)
        sys.exit(2)
    except BrokenPipeError:  # as with `| head`: who reads has had enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except (OSError, UnicodeEncodeError) as e:
        if (said := of_files(e)) is None:
            raise
        print(f"error: {said}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)


def main(arguments: list[str]) -> None:
    """Run a verb, or say what it does."""
    words = [a for a in arguments if not a.startswith("-")]
    if "--help" in arguments or "-h" in arguments or not words:
        print(_helped(arguments, words))
        return
    verb, rest = arguments[0], arguments[1:]
    if verb in COMMANDS:
        act: Callable[[list[str]], None] = getattr(import_module(f"harness.commands.{verb}"), verb)
        act(rest)
        return
    from harness import organiser, verbs

    without = [a for a in rest if a != "--json"]
    pick(verbs.VERBS | organiser.VERBS | dict.fromkeys(COMMANDS), verb, "harness")(without, "--json" in rest)


def _helped(arguments: list[str], words: list[str]) -> str:
    verb = words[0] if words else ""
    if verb in ("", "help", "all"):
        return overview()
    pick(PAGES, verb, "harness")
    asked = next(number for number, word in enumerate(arguments) if word in ("--help", "-h"))
    if arguments[asked + 1 : asked + 2] != ["all"]:
        return page(verb)
    from harness import config

    overrides = [a for a in arguments if "=" in a]
    groups = "\n".join(f"  {name}={'|'.join(choices)}" for name, choices in config.groups(overrides).items())
    try:
        settings = config.as_text(config.load(PAGES[verb].root, overrides))
    except HarnessError as e:
        settings = f"error: {e}"
    return f"{page(verb)}\n\nGroups (conf/):\n{groups}\n\nAll settings, as this command line leaves them:\n{settings}"


def _check_system() -> None:
    if sys.platform == "win32":
        raise HarnessError(
            "Windows: the harness needs a POSIX system: Linux, macOS or WSL",
            "run `wsl --install` in a terminal, and install the harness in the Linux that it brings (docs/install.md)",
        )


def _located(e: HarnessError, arguments: list[str]) -> HarnessError:
    """Add the file and the line of a setting that is wrong in a file."""
    known = PAGES.get(arguments[0]) if arguments else None
    if known is None:
        return e
    from harness import config

    return config.located(e, known.root, arguments[1:])


if __name__ == "__main__":
    run()
