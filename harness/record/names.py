"""Names of studies and runs, each a folder's: on any file system, and in W&B."""

from __future__ import annotations

import re

from harness.errors import HarnessError

WRONG = re.compile(r"""[\s/\\'"`:;,#?%*<>|&$!(){}\[\]]""")
"""What no name holds: W&B refuses `: ; , # ? / '`, Windows `< > : " | ? *`, and shells read the rest."""
DEVICES = re.compile(r"(?i)(con|prn|aux|nul|com[0-9]|lpt[0-9])(\..*)?")
"""Windows' names of devices, whatever ends them."""
LONGEST, LONGEST_BYTES = 100, 200


def check(name: str, setting: str, taken: tuple[str, ...] = ()) -> None:
    """Refuse what can't be a folder's name. taken: names that stand for something else there.

    Raises:
        HarnessError: it can't; file systems count its bytes.
    """
    if name in taken:
        raise HarnessError(f"{setting}={name!r}: that folder is the harness's own", f"set {setting}=my-{name}")
    fit = name.isprintable() and not WRONG.search(name) and not DEVICES.fullmatch(name)
    edges = name.startswith((".", "-", "~", "=", "+")) or name.endswith(".")
    if not name or not fit or edges or len(name) > LONGEST or len(name.encode(errors="replace")) > LONGEST_BYTES:
        raise HarnessError(
            f"{setting}={name!r}: allowed: a folder's name of up to {LONGEST} characters, without blanks, quotes, "
            "slashes and : ; , # ? % * < > |, no dot at its ends, and none of Windows' devices",
            f"set {setting}=my-study",
        )
