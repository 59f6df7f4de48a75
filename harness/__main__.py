"""`python -m harness VERB ...`: what is not one of the three root scripts."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence

from harness.errors import HarnessError, of_files, pick

USAGE = """python -m harness VERB [key=value ...] [--json]

  front study=NAME                 the Pareto set of a study, as a table and as candidate files
  status study=NAME                how it stands: workers, leases, budget, rate, expected end; live in a terminal
  report study=NAME                pictures of a study: history and Pareto set
  score submissions/NAME           judge a submission as the organiser would; the verdict goes to the board
  standings [competition=NAME]     the board: yours, or that of a hosted competition (--private: its private part)
  submit submissions/NAME          send it to a competition's server and watch it (url=... debug=true wait=false;
                                   the token comes from HARNESS_TOKEN)
  measure FILE.onnx [...]          time models beside the competition's reference network, and from JPEG to logits
                                   (runtime=onnx|openvino|auto, threads=N, latency_s=S)
  machine                          is this a machine to rank on: a minute of rulers, and of the reference beside itself
                                   (seconds=60 competition=NAME)
  db start                         a PostgreSQL for a team, in the folder runs/db (host=0.0.0.0 port=N folder=DIR)
  db stop                          stop it
  db url                           its storage.url, with the password

 the organiser's (docs/organiser.md):
  competition create FILE          host a competition: a YAML file, or a name in conf/competition
  competition publish DIR          the teams' copy of its data, without labels of the test images (data.root=DIR)
  competition close|reopen|export  end it now; go on (closes=TIME); the standings as csv (to=FILE --private)
  team add|list|revoke NAME        a team and its token, which is shown once (url=https://... baseline=true)
  team token NAME                  a new token for one that was lost; the old one lets nobody in any more
  work                             judge what comes in, in a sandbox (workers=N wait=false data.root=DIR latency_s=S)
  serve                            the board, its API and the upload (host=0.0.0.0 port=N hosts=NAME,NAME)
  submissions                      the entries and how they stand (team=NAME last=N)
  requeue ENTRY [...]              have entries judged again
  rescore FORMULA                  rank by another formula from now on (f1_target=X ...); no model is run
  backup                           database and files, while all runs on (to=FOLDER)
  log, audit                       what was done (last=N); is it whole, and do the tables agree (head=HASH)

--json prints JSON where a table would stand. Settings are Hydra's: `storage.url=...`, `competition=taco2021`.
"""


def shell(main: Callable[[list[str]], None], arguments: list[str], text: str, root: str = "") -> None:
    """Run a script's main function: --help teaches, a user's mistake is one error without a traceback.

    Exit code 0 for success, 2 for a user's mistake, 130 after Ctrl-C.
    """
    if "--help" in arguments or "-h" in arguments:
        print(text.strip())
        if root:
            print(_settings(root, [a for a in arguments if not a.startswith("-")]))
        return
    try:
        main(arguments)
    except HarnessError as e:
        print(f"error: {e}", file=sys.stderr)
        sys.exit(2)
    except (OSError, UnicodeEncodeError) as e:
        if (said := of_files(e)) is None:
            raise
        print(f"error: {said}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)


def _settings(root: str, overrides: Sequence[str]) -> str:
    """Show a root's settings as they would be, and the choices of each group."""
    from harness import config

    groups = "\n".join(f"  {name}={'|'.join(choices)}" for name, choices in config.groups().items())
    try:
        settings = config.as_text(config.load(root, overrides))
    except HarnessError as e:
        settings = f"error: {e}"
    return f"\nGroups (conf/):\n{groups}\n\nSettings, as this command line leaves them:\n{settings}"


def main(arguments: list[str]) -> None:
    """Run a verb."""
    if not arguments:
        print(USAGE)
        return
    from harness import organiser, verbs

    verb, rest = arguments[0], [a for a in arguments[1:] if a != "--json"]
    pick(verbs.VERBS | organiser.VERBS, verb, "python -m harness")(rest, "--json" in arguments)


if __name__ == "__main__":
    shell(main, sys.argv[1:], USAGE)
