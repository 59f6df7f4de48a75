"""What the environment says to W&B, before a run is opened: the mode, the names, and what is left of another program.

Source: https://docs.wandb.ai/models/track/environment-variables
"""

from __future__ import annotations

import os
import re
import sys
import urllib.error
import urllib.request
from pathlib import Path

from harness.errors import HarnessError

MODES = ("offline", "online", "disabled")
SAME = {"run": "online", "dryrun": "offline"} | {mode: mode for mode in MODES}
"""Values of WANDB_MODE, with what they mean."""
ANOTHERS = (
    "SWEEP_ID", "SWEEP_PARAM_PATH", "RUN_ID", "RUN_GROUP", "NAME", "RESUME", "RESUME_FROM", "FORK_FROM", "JOB_TYPE",
    "LAUNCH",
    "LAUNCH_CONFIG_PATH", "LAUNCH_QUEUE_NAME", "LAUNCH_TRACE_ID",
)  # fmt: skip
"""Settings, less their WANDB_, that name a run of somebody else's, as a sweep's agent does: they beat arguments."""
SETTLED = ("MODE", "DISABLED")
"""What `settled` has read, in spellings that W&B itself may refuse; our mode says it."""
SERVICE = "WANDB_SERVICE"
"""Where W&B's own process is found by those who began it: in another's environment, that of one who may be dead."""
REFUSED, LONGEST = "/\\#?%:", 128
"""What a project's name can't hold, and how long it may be."""
REACH_S = 5.0
"""How long W&B's server may take to answer before a study begins."""
TRUE = ("true", "1", "yes", "on")


def settled(mode: str, folder: str | Path) -> str:
    """Return the mode that runs are mirrored in, and say why where it isn't the one that is set.

    folder: of the runs, as a shell takes it.

    Without a key or a network W&B would let each trial wait, or ask for a key where nobody sees it.

    Raises:
        HarnessError: a mode or a name is none that W&B takes.
    """
    check(mode)
    mode = _of_environment(mode)
    if mode == "disabled":
        return mode
    _check_project(os.environ.get("WANDB_PROJECT", ""))
    if left := [name for name in ANOTHERS if os.environ.get(f"WANDB_{name}")]:
        say(f"WANDB_{', WANDB_'.join(left)}: left aside: each trial is a run of its own, named by its study")
    clean()  # before W&B is imported: what it reads then holds for this process
    _check_settings()
    why = _out_of_reach() if mode == "online" else ""
    if not why:
        return mode
    later = f"to send it later:  wandb login && wandb sync {folder}/wandb/offline-run-*"
    say(f"{why}: this goes on offline\n  {later}")
    return "offline"


def say(words: str) -> None:
    """Tell the user; on stderr, as what a command prints is its result."""
    print(f"W&B: {words}", file=sys.stderr, flush=True)


def check(mode: str) -> None:
    """Refuse an unknown mode."""
    if mode not in MODES:
        raise HarnessError(f"track={mode}: allowed: {', '.join(MODES)}", "use track=offline")


def clean() -> None:
    """Forget what names a run of somebody else's, so that our own names hold; it is this process's environment."""
    for name in (*ANOTHERS, *SETTLED):
        os.environ.pop(f"WANDB_{name}", None)
    if "wandb" not in sys.modules:  # else it may be of this very process
        os.environ.pop(SERVICE, None)


def project() -> str:
    """Return the project that runs are of."""
    return os.environ.get("WANDB_PROJECT", "").strip() or "harness"


def _of_environment(mode: str) -> str:
    """Return the mode that the environment leaves: it can keep things back, not send what `track` keeps back."""
    named = os.environ.get("WANDB_MODE", "").strip().lower()
    off = os.environ.get("WANDB_DISABLED", "").strip().lower() in TRUE
    if named and named not in SAME:
        raise HarnessError(f"WANDB_MODE={named}: allowed: {', '.join(MODES)}", "unset WANDB_MODE, and set track=")
    if mode != "disabled" and (off or SAME.get(named) == "disabled"):
        say(f"{'WANDB_DISABLED' if off else 'WANDB_MODE'}={'true' if off else named}: nothing is mirrored")
        return "disabled"
    if mode == "online" and SAME.get(named) == "offline":
        say(f"WANDB_MODE={named}: this stays offline; wandb sync sends it later")
        return "offline"
    if mode == "offline" and SAME.get(named) == "online":
        say(f"WANDB_MODE={named}, but track=offline: set track=online to send at once")
    return mode


def _check_project(name: str) -> None:
    if wrong := sorted(set(name) & set(REFUSED)):
        raise HarnessError(
            f"WANDB_PROJECT={name}: W&B allows none of {' '.join(REFUSED)}; it has {' '.join(wrong)}",
            "set another WANDB_PROJECT, or unset it for 'harness'",
        )
    if len(name) > LONGEST:
        raise HarnessError(f"WANDB_PROJECT={name[:40]}...: allowed: up to {LONGEST} characters", "set a shorter one")


def _check_settings() -> None:
    """Refuse what W&B would refuse of the environment, once a trial has begun.

    Raises:
        HarnessError: a variable's value is none that it takes.
    """
    given = {k: v for k, v in os.environ.items() if k.startswith("WANDB_")}
    if not given:
        return  # W&B needn't be imported
    import wandb

    for name, value in given.items():
        try:
            wandb.Settings().update_from_env_vars({name: value})
        except (ValueError, wandb.errors.Error) as e:  # pydantic's, which is W&B's affair, is a ValueError
            fix = f"set another {name}, or unset it"
            if "KEY" in name or "TOKEN" in name or "@" in value:  # a log must not keep it
                raise HarnessError(f"{name}=...: W&B refuses it, a blank at an end included", fix) from e
            raise HarnessError(f"{name}={value}: W&B refuses it: {reason(e)}", fix) from e


def reason(e: Exception) -> str:
    """Return in one line what W&B found wrong: of pydantic's words, what is allowed; the error's name without any."""
    lines = [line.strip() for line in str(e).splitlines() if line.strip()]
    if len(lines) > 2 and "validation error" in lines[0]:
        return re.sub(r" \[type=.*", "", lines[2])
    return lines[0] if lines else type(e).__name__


def _base_url() -> str:
    """Return where W&B's server is, by its own settings."""
    import wandb

    return str(wandb.setup().settings.base_url)


def _out_of_reach() -> str:
    """Say why nothing can be sent now; '' where it can."""
    import wandb

    url = _base_url()
    try:
        known = bool(os.environ.get("WANDB_API_KEY")) or wandb.login(prompt=False)
    except Exception as e:
        return f"no key that can be used ({reason(e)})"
    if not known:
        return "no key here (wandb login, or WANDB_API_KEY)"
    try:
        urllib.request.urlopen(urllib.request.Request(url, method="HEAD"), timeout=REACH_S)
    except urllib.error.HTTPError:  # an answer, whatever it says
        return ""
    except (OSError, ValueError) as e:
        return f"{url} doesn't answer ({getattr(e, 'reason', e)})"
    return ""
